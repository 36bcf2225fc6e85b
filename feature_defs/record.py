"""What is kept of the work itself: runs, their steps, what was judged, decided, set aside and erased."""

from feature_defs.declarations import Between, Dtype, Field, NotNull, OneOf, Table
from feature_defs.entities import USER_ID

_RUN_ID = Field("run_id", Dtype.STRING, "The day and a digest of input versions, code and configuration.", (NotNull(),))
_RUN_DAY = Field("run_day", Dtype.DATE, "The day whose night the run is of.", (NotNull(),))

CADENCES = ("daily", "weekly")
AUDIT_MOMENTS = ("genesis", "challenger", "monthly", "on_demand", "approval", "promotion", "rollback")

RUNS = Table(
    name="runs",
    description="Runs that were opened: what they read and how they are configured.",
    fields=(
        _RUN_ID,
        _RUN_DAY,
        Field(
            "cadence",
            Dtype.STRING,
            "Of which DAG: daily makes lists, weekly a ranker.",
            (NotNull(), OneOf(CADENCES)),
        ),
        Field(
            "attempt",
            Dtype.INT64,
            "Number the store of lists gave the attempt: its fencing epoch.",
            (NotNull(), Between(1)),
        ),
        Field("opened_at", Dtype.TIMESTAMP, "When it was opened last.", (NotNull(),)),
        Field("code_digest", Dtype.STRING, "Digest of the source of our packages.", (NotNull(),)),
        Field("configuration", Dtype.STRING, "All hyperparameters, as JSON.", (NotNull(),)),
        Field("inputs", Dtype.STRING, "Version of each input table, and digest of its content, as JSON.", (NotNull(),)),
    ),
    key=("run_id",),
)

STEPS = Table(
    name="steps",
    description="Jobs that ended well: what each read and wrote, and how long it took.",
    fields=(
        _RUN_ID,
        _RUN_DAY,
        Field("job", Dtype.STRING, "The job that ran.", (NotNull(),)),
        Field("shard", Dtype.STRING, "Which part of the users, as i/n; empty for all."),
        Field("started_at", Dtype.TIMESTAMP, "When it started.", (NotNull(),)),
        Field("seconds", Dtype.FLOAT64, "How long it took.", (NotNull(), Between(0))),
        Field("reads", Dtype.STRING, "Version of each table read, as JSON.", (NotNull(),)),
        Field("writes", Dtype.STRING, "Version and content digest of each table written, as JSON.", (NotNull(),)),
        Field("counts", Dtype.STRING, "What was counted, as JSON.", (NotNull(),)),
    ),
    key=("run_id", "job", "shard", "started_at"),
)

EVALUATIONS = Table(
    name="evaluations",
    description="What a model reached on days it had not learned from, beside its reference.",
    fields=(
        _RUN_ID,
        _RUN_DAY,
        Field(
            "role",
            Dtype.STRING,
            "challenger, champion, or a reference: part of the challenger, or most_popular.",
            (NotNull(),),
        ),
        Field("model_set", Dtype.STRING, "The model set judged; null for most popular."),
        Field("metric", Dtype.STRING, "Name of the metric.", (NotNull(),)),
        Field(
            "segment",
            Dtype.STRING,
            "Whose users: all, under_5_events, 5_to_20_events, over_20_events; or new_titles: all, finding new ones.",
            (NotNull(),),
        ),
        Field("user_count", Dtype.INT64, "Users with something to find.", (NotNull(), Between(0))),
        Field("value", Dtype.FLOAT64, "Mean over users."),
        Field("low", Dtype.FLOAT64, "Lower end of the 95 % bootstrap interval."),
        Field("high", Dtype.FLOAT64, "Upper end."),
        Field("against", Dtype.STRING, "The role that this one is held against.", (NotNull(),)),
        Field("difference", Dtype.FLOAT64, "What it is held against less this one, mean over the same users."),
        Field("difference_low", Dtype.FLOAT64, "Lower end of the paired 95 % bootstrap interval."),
        Field("difference_high", Dtype.FLOAT64, "Upper end."),
    ),
    key=("run_id", "role", "against", "metric", "segment"),
)

DECISIONS = Table(
    name="decisions",
    description="What was decided of each challenger, and why. The champion is the set last promoted here.",
    fields=(
        Field("epoch", Dtype.INT64, "Number of the decision, without gaps.", (NotNull(), Between(1))),
        _RUN_ID,
        _RUN_DAY,
        Field("challenger", Dtype.STRING, "The model set judged.", (NotNull(),)),
        Field("champion_before", Dtype.STRING, "The champion it was held against; null for the first."),
        Field("verdict", Dtype.STRING, "What was decided.", (NotNull(), OneOf(("promoted", "refused")))),
        Field("reasons", Dtype.STRING, "Every reason, as a JSON list of sentences.", (NotNull(),)),
        Field("decided_at", Dtype.TIMESTAMP, "When.", (NotNull(),)),
    ),
    key=("epoch",),
)

AUDIT_RECORDS = Table(
    name="audit_records",
    description=(
        "Audits, approvals, promotions, refusals and rollbacks: a chain of signed entries that is only added to. "
        "Aggregates and digests only."
    ),
    fields=(
        Field("number", Dtype.INT64, "Place in the chain, from 1, without gaps.", (NotNull(), Between(1))),
        Field("audit_id", Dtype.STRING, "Name of the entry.", (NotNull(),)),
        Field("moment", Dtype.STRING, "What kind of entry it is.", (NotNull(), OneOf(AUDIT_MOMENTS))),
        Field("previous", Dtype.STRING, "Digest of the entry before; zeros for the first.", (NotNull(),)),
        Field("content", Dtype.STRING, "What it says, as canonical JSON.", (NotNull(),)),
        Field("digest", Dtype.STRING, "sha256 of all of the above and the key.", (NotNull(),)),
        Field("signature", Dtype.STRING, "Ed25519, of the same bytes.", (NotNull(),)),
        Field("public_key", Dtype.STRING, "Of who signed.", (NotNull(),)),
    ),
    key=("number",),
)

QUARANTINE = Table(
    name="quarantine",
    description="Rows that were refused or set aside, with the rule they broke.",
    fields=(
        Field("table_name", Dtype.STRING, "The table they were meant for.", (NotNull(),)),
        Field("column_name", Dtype.STRING, "The column at fault.", (NotNull(),)),
        Field("rule", Dtype.STRING, "The rule that was broken.", (NotNull(),)),
        Field("row", Dtype.STRING, "The row, as JSON.", (NotNull(),)),
        Field("found_at", Dtype.TIMESTAMP, "When it was found.", (NotNull(),)),
    ),
    key=("table_name", "column_name", "rule", "row"),
)

ERASURES = Table(
    name="erasures",
    description=(
        "Whose erasure was asked for, and the receipts: a row each time more of it is done, the newest is the receipt. "
        "Rows of other tables that are of a user named here are neither written nor read."
    ),
    fields=(
        Field("erasure_id", Dtype.STRING, "Name of the erasure.", (NotNull(),)),
        USER_ID,
        Field("asked_at", Dtype.TIMESTAMP, "When it was asked for: from here on nothing is built.", (NotNull(),)),
        Field("suppressed_at", Dtype.TIMESTAMP, "When the stores had let go of lists and state; null until then."),
        Field("removed_at", Dtype.TIMESTAMP, "When nothing was left in any place that is ours; null until then."),
        Field("places", Dtype.STRING, "What each place held of the user and why some remains, as JSON.", (NotNull(),)),
        Field("recorded_at", Dtype.TIMESTAMP, "When this row was written.", (NotNull(),)),
    ),
    key=("erasure_id", "recorded_at"),
)
