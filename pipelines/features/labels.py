"""What is to be predicted of each interaction, beside what was known when it happened."""

from datetime import date, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from feature_defs.features import ITEM_FEATURES, USER_FEATURES, WINDOW_DAYS
from feature_defs.interactions import COMPLETE_SHARE, LABELS, LEFT_SHARE
from pipelines.features.point_in_time import known_at

# Answers to a title that was shown; each has a head of its own.
_REACTIONS = ("skip", "not_interested", "share", "follow", "report")


def labels(
    interactions: DataFrame, reactions: DataFrame, user_features: DataFrame, item_features: DataFrame
) -> DataFrame:
    """Rows of LABELS with `day`: one for each interaction.

    Args:
        interactions: rows of INTERACTIONS with `day`.
        reactions: as made by `reactions_received`, for the days of the interactions.
        user_features: rows of USER_FEATURES that may be known at the times of the interactions.
        item_features: rows of ITEM_FEATURES likewise.
    """
    named = interactions.join(F.broadcast(reactions), "day", "left").select(
        "user_id", "item_id", "occasion_id", "happened_at", *_labels(), "day"
    )
    with_users = known_at(named, USER_FEATURES, user_features, "happened_at", "user_")
    with_items = known_at(with_users, ITEM_FEATURES, item_features, "happened_at", "item_")
    return with_items.select(*LABELS.names, "day")


def feature_days(happened_days: list[date]) -> list[date]:
    """The days whose features may be known to what happened on these days, in order."""
    reach = max(view.ttl for view in (USER_FEATURES, ITEM_FEATURES)).days
    return sorted({day - timedelta(days=back) for day in happened_days for back in range(1, reach + 1)})


def reactions_received(interactions: DataFrame) -> DataFrame:
    """For each day, which reactions were received at all in the 28 days that end with it: `has_skip` and so on.

    A data set that lacks a reaction says nothing of it: a title that was shown and not followed by anybody, ever, was
    not declined. Told from the data, so that nobody has to say what a data set holds.
    """
    found = interactions.groupBy("day").agg(*(F.max(f"is_{name}").alias(f"has_{name}") for name in _REACTIONS))
    now, before = found.select("day").alias("now"), found.alias("before")
    is_near = (F.col("before.day") <= F.col("now.day")) & (
        F.col("before.day") > F.date_sub(F.col("now.day"), WINDOW_DAYS)
    )
    return (
        now.join(F.broadcast(before), is_near)
        .groupBy("now.day")
        .agg(*(F.max(f"before.has_{name}").alias(f"has_{name}") for name in _REACTIONS))
    )


def _labels() -> list[Column]:
    share = F.col("watched_share")
    is_shown, is_played, is_clicked = F.col("is_impression"), F.col("is_play"), F.col("is_click")
    watch = F.when(is_played, share).when(is_shown, F.lit(0.0).cast("float"))
    has_left = is_played & F.coalesce(share < F.lit(LEFT_SHARE).cast("float"), F.lit(False))
    is_passed_over = is_shown & ~is_clicked & ~is_played
    return [
        watch.alias("watch"),
        (watch >= F.lit(COMPLETE_SHARE).cast("float")).alias("is_complete"),
        (is_passed_over | has_left).alias("is_negative"),
        *(
            F.when(F.col(f"is_{name}"), F.lit(True))
            .when(is_shown & F.col(f"has_{name}"), F.lit(False))
            .alias(f"is_{name}")
            for name in _REACTIONS
        ),
    ]
