"""### Erasure of one person, on request

**What it does.** Suppresses a user at once: no list, answer, build, back-fill or load has anything of them from then
on, also in runs that are under way. Then it removes them physically: their lists and state in the stores and caches,
their rows in every table of the lake and in quarantine, with the files of older versions, their answers and events in
the endpoint's spool, and the values of theirs that Data Docs quote. The task is one shell command; its file is
`jobs/forget_user.py`.

**How to start it.** *Trigger*, and give the user id (the profile; a household account has several, erase each). It has
no schedule.

**The receipt.** The last line of the log is one JSON object: when it was asked for, `suppressed_at`, `removed_at`, and
how much was found in each place. It is kept in the lake's table `erasures`. While `removed_at` is null something could
not be removed yet, and the receipt says what and why; `python -m jobs.remove_forgotten` finishes it.

**Many requests.** To remove rewrites every table that holds the user. Switch `remove` off for each of many requests,
and run `python -m jobs.remove_forgotten` once for all of them, at a quiet hour; suppression does not wait for that.

**What it does not protect from.** The warehouse is upstream: its operator erases there (what it still delivers of the
user is dropped). What models learned stays in their weights until they are trained anew. Free pages of the embedded
list store, and Cassandra's files before compaction, hold bytes that nobody can ask for. `docs/erasure.md` says all.
A run that reads an *older* version of a table than the newest, while its files are deleted, fails and must be opened
anew; one that reads the newest goes on.

**When a task fails.** Open its log. The line that begins with `marquee:` says in one sentence what is wrong. Asking
twice is harmless: *clear* the task, or trigger it again; it goes on where it was and gives the receipt again.

**By hand.** Copy the command from the task's *Rendered Templates* and paste it into a shell in the repository's folder.
"""

from airflow.sdk import DAG, Param
from job import RUNS, job

with DAG(
    "forget_user",
    description="Erasure of one person, on request",
    doc_md=__doc__,
    schedule=None,
    **RUNS,
    tags=["erasure", "on request"],
    params={
        "user_id": Param(
            type="integer", minimum=1, maximum=2**63 - 1, title="User id", description="The profile to be erased."
        ),
        "remove": Param(
            True, type="boolean", description="Remove physically now. Off: suppress now, remove with others later."
        ),
        "keep_hours": Param(
            0, type="integer", minimum=0, maximum=8760, description="How long older versions of tables stay readable."
        ),
    },
) as dag:
    # Suppression first, removal after; the receipt is the last line.
    forget_user = job(
        "forget_user",
        "--user-id {{ params.user_id | quote }}{{ ' --no-remove' if not params.remove }}",
        "--keep-hours {{ params.keep_hours | quote }}",
    )
