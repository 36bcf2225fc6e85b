"""### Serve an earlier run again, on request

**What it does.** Moves the live pointer of a surface to a run whose lists are still kept, in one step: readers change
over at once, within the 10 seconds after which every process of the endpoint has looked again. Nothing is made or
written anew. The task is one shell command; its file is `jobs/rollback_lists.py`.

**How to start it.** *Trigger*, and give either the run id, or a day: then the newest run of that day which is kept; and
who you are and why, which the signed record of audits keeps for good. Which runs are kept, and which is live, a shell
in the repository's folder shows:

    python -m jobs.rollback_lists --list

**What it promises.** Triggering it is a person's word that an older day may be served. The log's last lines say what
was live before and what is live now, and the lake's table `steps` keeps it, with the job's name `rollback_lists`. The
same again is harmless. A run that is unknown, was let go of, or was made by a model set that never passed its audit is
refused (exit code 77), and the pointer stays.

**What it does not protect from.** The next night of `recommend_daily` publishes as usual and goes live, as its day is
newer: if the nights themselves are what is wrong, pause that DAG, or run it with `publish` switched off. Models are not
rolled back: the champion still makes the next lists. Where there is a cache it may have let go of the older run's
lists: until `rebuild_cache` has filled it again they come from the store behind it, a little later.

**When it fails.** Open its log. The line that begins with `marquee:` says in one sentence what is wrong. A store that
does not answer (69) is tried twice more; what is refused (77) is not. If it says that the run is live and could not be
recorded, clear the task: it moves nothing and records.

**By hand.** Copy the command from the task's *Rendered Templates* and paste it into a shell in the repository's folder.
"""

from airflow.sdk import DAG, Param
from job import RUNS, day_form, job

with DAG(
    "rollback_lists",
    description="Serve an earlier run again, on request",
    doc_md=__doc__,
    schedule=None,
    **RUNS,
    tags=["recommendations", "on request"],
    params={
        "run_id": Param(
            None,
            type=["null", "string"],
            pattern="^[0-9]{8}-[0-9a-f]{12}$",
            title="Run id",
            description="The run to serve (20260131-0123456789ab). Leave it empty to name a day.",
        ),
        **day_form("Instead of a run: the newest run of this day (2026-01-31) that is kept."),
        "by": Param(
            None, type=["null", "string"], minLength=1, title="Who", description="Your name: it is kept in the record."
        ),
        "reason": Param(
            None, type=["null", "string"], minLength=1, title="Why", description="The reason: it is kept in the record."
        ),
        "surface": Param("home", type="string", enum=["home"], description="Whose live pointer is moved."),
    },
) as dag:
    # The pointer moves, or is refused; the last line says what was live before.
    rollback_lists = job(
        "rollback_lists",
        "{{ '--run-id ' ~ (params.run_id | quote) if params.run_id }}"
        "{{ ' ' if params.run_id and params.day }}"
        "{{ '--day ' ~ (params.day | quote) if params.day }}",
        "--surface {{ params.surface | quote }}",
        "--by {{ (params.by or '') | quote }} --reason {{ (params.reason or '') | quote }}",
    )
