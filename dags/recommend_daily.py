"""### Every user's list of recommendations, made anew each night

**What it does.** In the night after day D it loads what the endpoint answered and heard into the warehouse, extracts
the events received on D, builds features, embeds the texts of new titles, trains ALS and the two towers, puts them
together with the ranker of `retrain_weekly` into one model set, judges it beside the champion on days that neither has
seen, audits what it would serve to every group of users, promotes the winner, makes every user's list with the champion
(retrieve 500, rank, diversify, keep 200), writes the lists and moves the live pointer to them.
Each task is one shell command; its task id is the job's name and its file is `jobs/NAME.py`.

**Which day.** D is the day on which the run's data interval starts. The run of D starts at 02:00 UTC on D+1, two hours
after the last event of D was received. A run triggered by hand takes the last day that is complete, or `day` from the
form.

**What it promises.** One scheduled run at a time; missed days are not made up for unasked (no catch-up). A refused
challenger, whether by its metrics or by its audit, never means stale lists: the champion still scores and publishes.
Every task replaces what it writes, so any task can be run again; an audit that finds the same again is recorded once.
What is served changes in the last task only, in one step.

**What it does not protect from.** A back-fill beside the schedule: Airflow limits each by itself, so two runs can meet.
Where it is the same day, the jobs refuse the older attempt, but the work is done twice. Events that were received
on D but reach the warehouse after D was extracted: they are in D's partition once D is run again. A change of code in
the middle of a run: a task runs what lies in the folder when it starts.

**When a task fails.** Open its log. The line that begins with `marquee:` says in one sentence what is wrong.
What trying again cannot mend is not tried again: exit codes 2 and 64 (wrong arguments or settings), 65 (the data is not
as declared), 77 (refused). Everything else, such as a server that does not answer (69), is tried twice more,
some minutes apart. When the cause is mended, *clear* the failed task and the run goes on from there. The lists of the
day before stay live meanwhile.

**One task again, by hand.** Copy the command from the task's *Rendered Templates* and paste it into a shell in the
repository's folder: it does the same there.

**Back-fill**, oldest day first, one at a time (on one line; Airflow refuses a second back-fill beside it):

    airflow backfill create --dag-id recommend_daily --max-active-runs 1 --from-date 2026-01-05
    --to-date 2026-01-07T23:59 --dag-run-conf '{"promote": true, "publish": true}'

Mind the time in `--to-date`: a day's run stands at 02:00 of that day, so a bare date leaves the last day out.
A back-fill neither promotes nor publishes unless its configuration says so, as above; a day older than the live one is
refused unless it also says `"allow_older": true`. Days that have been run are left alone unless
`--reprocess-behavior completed` is added. Do not give a back-fill a `day`: all its runs would take that one.
"""

from airflow.sdk import DAG, CronDataIntervalTimetable, Param, chain
from job import LEARNING, RUNS, TRAINING, day_form, job, job_for_each, learning_form, shards_of_run

# A run without a logical date has no data interval; it takes the day before the one it is started on.
DAY = "--day {{ params.day or (dag_run.data_interval_start or dag_run.run_after - macros.timedelta(days=1)) | ds }}"
ALLOW_OLDER = "{{ ' --allow-older' if params.allow_older }}"


def flag(name):
    """`--no-NAME` unless the form says yes; a back-fill says yes only where its own configuration does."""
    told = f"params.{name} and (dag_run.run_type != 'backfill' or '{name}' in (dag_run.conf or {{}}))"
    return f"{{{{ ' --no-{name}' if not ({told}) }}}}"


with DAG(
    "recommend_daily",
    description="Every user's list of recommendations, made anew each night",
    doc_md=__doc__,
    # 02:00, not midnight: what was received late on D has left the endpoint's spool by then.
    schedule=CronDataIntervalTimetable("0 2 * * *", timezone="UTC"),
    **RUNS,
    tags=["recommendations", "daily"],
    params={
        **day_form("The day to run (2026-01-31). Empty: the last complete day. Leave it empty in a back-fill."),
        "truth_days": Param(
            1, type="integer", minimum=1, maximum=28, description="Newest days held out, to judge the models on."
        ),
        "shard_count": Param(
            2, type="integer", minimum=1, maximum=1024, description="Parts that users are split into for scoring."
        ),
        **learning_form(),
        "promote": Param(
            True, type="boolean", description="Let the challenger become champion if it passes its gates."
        ),
        "publish": Param(True, type="boolean", description="Let the new lists go live."),
        "allow_older": Param(
            False, type="boolean", description="Promote and publish even where a newer day is already live."
        ),
    },
) as dag:
    # What the endpoint answered and heard goes from its spool into the warehouse.
    load_events = job("load_events")

    # Warehouse to lake: events received on the day, items, users; checked, replaced whole.
    extract_events = job("extract_events", DAY)

    # The run's identity: its run id, the versions it reads, its shards.
    open_run = job(
        "open_run",
        DAY,
        "--truth-days {{ params.truth_days | quote }}",
        "--shard-count {{ params.shard_count | quote }}",
        *LEARNING,
        output_processor=shards_of_run,
    )

    # Interactions, user and item features, as they were known at the cut.
    build_features = job("build_features", DAY)

    # Text vectors of titles that are new or were changed.
    embed_items = job("embed_items", DAY)

    # User and item factors, on Spark.
    train_als = job("train_als", DAY, execution_timeout=TRAINING)

    # Two towers, on a GPU where there is one.
    train_towers = job("train_towers", DAY, execution_timeout=TRAINING)

    # All of it, with the newest ranker, as one unit named by its digest.
    assemble_models = job("assemble_models", DAY)

    # Challenger beside champion, on days that neither has seen.
    evaluate_models = job("evaluate_models", DAY)

    # What the challenger would serve to every group of users; the verdict goes into the record, and the gate reads it.
    audit_bias = job("audit_bias", DAY)

    # The champion changes, or does not, with the reasons.
    promote_models = job("promote_models", DAY + ALLOW_OLDER + flag("promote"))

    # Lists by the champion, a shard of users a task.
    score_users = job_for_each(open_run.output, "score_users", DAY)

    # The same shards into the store, under the run id; nobody is served them yet.
    write_lists = job_for_each(open_run.output, "write_lists", DAY)

    # What serving needs beside lists: titles, neighbours, lists of cohorts, what trends, rules.
    build_snapshot = job("build_snapshot", DAY)

    # Counted, read back, and only then live.
    publish_recommendations = job("publish_recommendations", DAY + ALLOW_OLDER + flag("publish"))

    # Each task follows what it reads. Publishing waits for every shard: a reader never meets a run that lacks users.
    chain(load_events, extract_events, open_run, [build_features, embed_items])
    chain(build_features, train_als, assemble_models)
    chain([build_features, embed_items], train_towers, assemble_models)
    chain(assemble_models, evaluate_models, audit_bias, promote_models, [score_users, build_snapshot])
    chain(score_users, write_lists)
    chain([write_lists, build_snapshot], publish_recommendations)
