"""### New titles into answers and withdrawn ones out of them, every five minutes

**What it does.** Reads the catalogue from the warehouse as it is now and makes the snapshot of the live run anew: which
titles there are, which may be shown when and where, how new ones are scored by the vector that each list carries, which
are explored and how much. The endpoint takes the new snapshot up by itself, within seconds. The task is one shell
command; its file is `jobs/refresh_snapshot.py`.

**What it promises.** A title that is published, withdrawn or moderated is treated so in every answer within ten minutes
of the warehouse's knowing it; lists made at night are not touched. Windows that the warehouse knows beforehand (a
licence that ends, a publication that is planned) need no refresh: the endpoint keeps to them to the second. Runs that
may be served again get the same catalogue.

**What it does not protect from.** A catalogue that breaks its declaration: then the last good snapshot goes on, and the
task fails with exit code 65. A title whose text changes keeps its place in lists until the night.

**When it fails.** Open its log. The line that begins with `marquee:` says in one sentence what is wrong. The next run,
five minutes later, tries again; missed runs are not made up for.

**By hand.** Copy the command from the task's *Rendered Templates* and paste it into a shell in the repository's folder.
"""

from airflow.sdk import DAG
from job import RUNS, job

with DAG(
    "refresh_snapshot",
    description="New titles into answers and withdrawn ones out of them, every five minutes",
    doc_md=__doc__,
    schedule="*/5 * * * *",
    **RUNS,
    tags=["recommendations", "every five minutes"],
) as dag:
    # The catalogue as it is now, into the snapshot of the live run. Five minutes later there is another try anyway.
    refresh_snapshot = job("refresh_snapshot", retries=0)
