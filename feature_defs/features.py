"""Features of users and titles, a row for each day on which something about them was known."""

from datetime import timedelta

from feature_defs.declarations import Between, Dtype, FeatureView, Field, NotNull
from feature_defs.entities import ITEM, ITEM_ID, USER, USER_ID

# Counts go back this many days by the time things happened; a row that saw nothing in them is not written.
WINDOW_DAYS = 28
TREND_DAYS = 7

_FEATURE_AT = Field("feature_at", Dtype.TIMESTAMP, "End of the day the row describes (midnight, UTC).", (NotNull(),))
_CREATED_AT = Field(
    "created_at",
    Dtype.TIMESTAMP,
    "From when the row could be known: all that was received by then is in it.",
    (NotNull(),),
)


def _count(name: str, description: str) -> Field:
    return Field(name, Dtype.INT64, description, (NotNull(), Between(0)))


USER_FEATURES = FeatureView(
    name="user_features",
    entities=(USER,),
    ttl=timedelta(days=WINDOW_DAYS),
    schema=(
        USER_ID,
        _FEATURE_AT,
        _CREATED_AT,
        _count("play_count_7d", "Plays that happened in the last 7 days."),
        _count("play_count_28d", "Plays that happened in the last 28 days."),
        _count("complete_count_28d", "Plays of the last 28 days watched to at least 80 %."),
        Field("mean_watched_share_28d", Dtype.FLOAT64, "Mean watched share of those plays.", (Between(0, 1),)),
        _count("play_count", "Plays ever."),
        Field("last_played_at", Dtype.TIMESTAMP, "When the last play happened."),
    ),
    timestamp_field="feature_at",
    created_timestamp_column="created_at",
    description="What a user watched, as known at the end of a day.",
)

ITEM_FEATURES = FeatureView(
    name="item_features",
    entities=(ITEM,),
    ttl=timedelta(days=WINDOW_DAYS),
    schema=(
        ITEM_ID,
        _FEATURE_AT,
        _CREATED_AT,
        _count("play_count_7d", "Plays that happened in the last 7 days: what trends."),
        _count("play_count_28d", "Plays that happened in the last 28 days."),
        _count("complete_count_28d", "Plays of the last 28 days watched to at least 80 %."),
        Field("mean_watched_share_28d", Dtype.FLOAT64, "Mean watched share of those plays.", (Between(0, 1),)),
        _count("play_count", "Plays ever: what is popular."),
        Field("last_played_at", Dtype.TIMESTAMP, "When the last play happened."),
    ),
    timestamp_field="feature_at",
    created_timestamp_column="created_at",
    description="How a title was watched, as known at the end of a day.",
)
