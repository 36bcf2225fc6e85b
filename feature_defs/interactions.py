"""Events brought together, and what is to be predicted from them."""

from feature_defs.declarations import Between, Dtype, Field, NotNull, Table
from feature_defs.entities import ITEM_ID, USER_ID
from feature_defs.features import ITEM_FEATURES, USER_FEATURES

# A title counts as watched when this share of it was seen, as left when less than the second share was.
COMPLETE_SHARE = 0.8
LEFT_SHARE = 0.2

_OCCASION = Field(
    "occasion_id",
    Dtype.STRING,
    "The answer that showed the title, or else the event itself: one showing or use of one title by one user.",
    (NotNull(),),
)


def _happened(what: str) -> Field:
    return Field(f"is_{what}", Dtype.BOOL, f"Whether an event of kind {what} was received.", (NotNull(),))


INTERACTIONS = Table(
    name="interactions",
    description=(
        "Events of a day of receipt, one row for each user, title and occasion; duplicates removed. Users who had "
        "opted out of personalisation on that day are not among them."
    ),
    fields=(
        USER_ID,
        ITEM_ID,
        _OCCASION,
        Field("happened_at", Dtype.TIMESTAMP, "When the first of its events happened.", (NotNull(),)),
        Field("received_at", Dtype.TIMESTAMP, "When the last of its events was received.", (NotNull(),)),
        Field("event_count", Dtype.INT32, "Distinct events behind the row.", (NotNull(), Between(1))),
        Field("watched_share", Dtype.FLOAT32, "Largest share watched; null if nothing was played.", (Between(0, 1),)),
        _happened("impression"),
        _happened("click"),
        _happened("play"),
        _happened("skip"),
        _happened("not_interested"),
        _happened("like"),
        _happened("share"),
        _happened("follow"),
        _happened("report"),
        Field("surface", Dtype.STRING, "Where in the product."),
        Field("device", Dtype.STRING, "On what device."),
        Field("run_id", Dtype.STRING, "The run whose list was shown."),
        Field("slot", Dtype.INT32, "Place in the answer.", (Between(0),)),
        Field("propensity", Dtype.FLOAT32, "Probability of being in that slot.", (Between(0, 1),)),
    ),
    key=("user_id", "item_id", "occasion_id"),
)
ITEM_PLAYS = Table(
    name="item_plays",
    description=(
        "Plays received on a day, added up by title and day of happening, whoever played: users who opted out of "
        "personalisation are counted here and are in no other table that is derived from events."
    ),
    fields=(
        ITEM_ID,
        Field("happened_on", Dtype.DATE, "UTC day on which the plays happened.", (NotNull(),)),
        Field("play_count", Dtype.INT64, "Plays.", (NotNull(), Between(1))),
        Field("complete_count", Dtype.INT64, "Plays watched to at least 80 %.", (NotNull(), Between(0))),
        Field("share_count", Dtype.INT64, "Plays of which the watched share is known.", (NotNull(), Between(0))),
        Field("share_millionths", Dtype.INT64, "Sum of their watched shares, in millionths.", (NotNull(), Between(0))),
        Field("last_played_at", Dtype.TIMESTAMP, "When the last of them happened.", (NotNull(),)),
    ),
    key=("item_id", "happened_on"),
)

_MASKED = "; null where nothing was shown, or no such event was received from anybody in 28 days."

LABELS = Table(
    name="labels",
    description=(
        "What is to be predicted of each interaction, beside the features as they were known when it happened. "
        "A label whose event the data set lacks is null: masked, never invented."
    ),
    fields=(
        USER_ID,
        ITEM_ID,
        _OCCASION,
        Field("happened_at", Dtype.TIMESTAMP, "Label time: only what was known by then may be joined.", (NotNull(),)),
        Field("watch", Dtype.FLOAT32, "Watched share; 0 where the title was shown and not played.", (Between(0, 1),)),
        Field("is_complete", Dtype.BOOL, "Watched at least 80 %: the positive."),
        Field("is_negative", Dtype.BOOL, "Shown and not clicked, or left before 20 %.", (NotNull(),)),
        Field("is_skip", Dtype.BOOL, "Skipped" + _MASKED),
        Field("is_not_interested", Dtype.BOOL, "Turned down" + _MASKED),
        Field("is_share", Dtype.BOOL, "Shared" + _MASKED),
        Field("is_follow", Dtype.BOOL, "Followed" + _MASKED),
        Field("is_report", Dtype.BOOL, "Reported" + _MASKED),
        *(
            Field(f"user_{f.name}", f.dtype, f.description)
            for f in USER_FEATURES.schema
            if f.name in USER_FEATURES.features
        ),
        *(
            Field(f"item_{f.name}", f.dtype, f.description)
            for f in ITEM_FEATURES.schema
            if f.name in ITEM_FEATURES.features
        ),
    ),
    key=("user_id", "item_id", "occasion_id"),
)
