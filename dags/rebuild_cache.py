"""### Fill the cache of lists again, on request

**What it does.** Writes what is live to the cache: the lists of the live run, the list of what trends, who was
forgotten, what is kept about users, and last where the pointer points. Lists are packed anew from the lake, which gives
the same bytes as were published; where the lake has let go of the run they are asked for one by one from the durable
store. A sample is read back from both and compared. The task is one shell command; its file is `jobs/rebuild_cache.py`.

**When it is needed.** After the cache was emptied, replaced or lost; after a publication whose log says that the
durable store went on alone; after `rollback_lists`, as the cache keeps fewer days than the store behind it. It is never
needed for right answers: what the cache lacks is answered from behind it, only later.

**How to start it.** *Trigger*. For many users give `shard`, such as 0/4, and trigger it once for each part; parts may
run beside each other from shells.

**What it promises.** Readers go on meanwhile; the same again is harmless; nobody who was forgotten comes back. The
pointer of the cache never moves back behind a newer publication.

**What it does not protect from.** A run that goes live while its predecessor is copied: then it ends with a sentence
(69) and is tried again.

**When it fails.** Open its log. The line that begins with `marquee:` says in one sentence what is wrong; without a
cache in the settings, or before the first publication, it is refused (77). Clearing the task starts it again.

**By hand.** Copy the command from the task's *Rendered Templates* and paste it into a shell in the repository's folder.
"""

from airflow.sdk import DAG, Param
from job import RUNS, job

with DAG(
    "rebuild_cache",
    description="Fill the cache of lists again, on request",
    doc_md=__doc__,
    schedule=None,
    **RUNS,
    tags=["recommendations", "on request"],
    params={
        "shard": Param(
            "0/1",
            type="string",
            pattern="^[0-9]{1,6}/[1-9][0-9]{0,5}$",
            description="Which part of the users, as i/n with i from 0.",
        ),
        "surface": Param("home", type="string", enum=["home"], description="Of which live pointer."),
    },
) as dag:
    # Marks of the forgotten, lists, what trends, the pointer; then a sample is compared.
    rebuild_cache = job("rebuild_cache", "--shard {{ params.shard | quote }}", "--surface {{ params.surface | quote }}")
