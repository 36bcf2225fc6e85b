"""### A ranker, learned anew each week

**What it does.** Early on Sunday, for the days up to Saturday D, it trains ALS and the two towers on the days before
the last week, asks them what they would have thought of everything that was then shown and played in that week, and
learns from it, in several heads, what a user makes of a title. So each retrieval score that the ranker reads comes
from models that learned strictly before the impression. `recommend_daily` puts the newest ranker into each nightly
model set; there it is judged with the rest of the set and promoted or refused: this DAG publishes nothing by itself.

**Which day.** The last day of the data interval, a Saturday. A run triggered by hand takes the last day that is
complete, or `day` from the form. The day must have been extracted and its features built, which `recommend_daily` does
at 02:00.

**What it reads.** `truth_days` days of labels (7), so at least as many days and one more must be in the lake. A service
of some thousand users shows too little in a week: 14 or 21 days make its lists better, and take that much longer. A
data set without impressions has nothing to learn the heads of skips, shares, follows and reports from: these heads are
masked, and count for nothing.

**When a task fails.** As for `recommend_daily`: the log's line that begins with `marquee:` says in one sentence what is
wrong. Last week's ranker goes on ranking meanwhile. A training of the towers that was cut off resumes from its
checkpoint when the task is cleared.

**One task again, by hand.** Copy the command from the task's *Rendered Templates* and paste it into a shell in the
repository's folder: it does the same there.
"""

from airflow.sdk import DAG, CronDataIntervalTimetable, Param, chain
from job import LAST_DAY, LEARNING, RUNS, TRAINING, day_form, job, learning_form

DAY = LAST_DAY + " --cadence weekly"

with DAG(
    "retrain_weekly",
    description="A ranker, learned anew each week",
    doc_md=__doc__,
    # After the night of Saturday, which brings its events.
    schedule=CronDataIntervalTimetable("0 6 * * 0", timezone="UTC"),
    **RUNS,
    tags=["recommendations", "weekly"],
    params={
        **day_form("The last day to learn from (2026-01-31). Empty: the last complete day."),
        "truth_days": Param(7, type="integer", minimum=1, maximum=28, description="Days of labels to learn from."),
        **learning_form(),
    },
) as dag:
    # The run's identity: its run id, the versions it reads.
    open_run = job(
        "open_run",
        DAY,
        "--truth-days {{ params.truth_days | quote }}",
        *LEARNING,
    )

    # Text vectors of titles that are new or were changed.
    embed_items = job("embed_items", DAY)

    # User and item factors from before the week, on Spark.
    train_als = job("train_als", DAY, execution_timeout=TRAINING)

    # Two towers from before the week, on a GPU where there is one.
    train_towers = job("train_towers", DAY, execution_timeout=TRAINING)

    # What retrieves for the ranker, as one unit.
    assemble_models = job("assemble_models", DAY)

    # What users made of what they were shown in the week.
    train_ranker = job("train_ranker", LAST_DAY, execution_timeout=TRAINING)

    chain(open_run, embed_items, train_towers, assemble_models, train_ranker)
    chain(open_run, train_als, assemble_models)
