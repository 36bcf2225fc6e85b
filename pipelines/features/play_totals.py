"""Plays counted by the day they happened and the day they were received: what all counts over time are made of."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from feature_defs.interactions import COMPLETE_SHARE
from pipelines.features.utc_days import day_of


def play_totals(interactions: DataFrame, key: str) -> DataFrame:
    """Totals of plays: one row for each value of a key, day of happening and day of receipt.

    Args:
        interactions: rows of INTERACTIONS with `day`, the day of receipt.
        key: `user_id` or `item_id`.

    Returns:
        `key`, `happened_on`, the columns of ITEM_PLAYS, `day`. Shares are added up in millionths, as integers: a sum
        of floats would depend on the order in which Spark happens to add them.
    """
    share = F.col("watched_share")
    # Compared as the 32-bit float it is stored as: 0.8 as a float and as a double are different numbers.
    is_complete = share >= F.lit(COMPLETE_SHARE).cast("float")
    return (
        interactions.where("is_play")
        .groupBy(key, day_of(F.col("happened_at")).alias("happened_on"), "day")
        .agg(
            F.count(F.lit(1)).alias("play_count"),
            F.count_if(is_complete).alias("complete_count"),
            F.count(share).alias("share_count"),
            F.coalesce(F.sum(F.round(share.cast("double") * 1_000_000).cast("long")), F.lit(0)).alias(
                "share_millionths"
            ),
            F.max("happened_at").alias("last_played_at"),
        )
    )
