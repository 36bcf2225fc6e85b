"""Counts over the last days, as known at the end of each day of a range: all days in one pass.

A play counts from the day on which it both has happened and was received, until it leaves the window. So it is two
changes, one up and one down; running sums of the changes are the counts of every day. That costs what the changes
cost, where counting each day's window anew would cost 28 times the plays, and one day is no special case: every change
before it falls on it, and nothing is left to run over.
"""

from datetime import date, timedelta

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from feature_defs.declarations import FeatureView
from feature_defs.features import TREND_DAYS, WINDOW_DAYS
from pipelines.features.utc_days import end_of

_DAY = timedelta(days=1)


def windowed_counts(totals: DataFrame, view: FeatureView, first_day: date, last_day: date) -> DataFrame:
    """Rows of a view with `day`, for each day of a range on which the entity was played in the last 28 days.

    Args:
        totals: as made by `play_totals`; all that were ever received (later receipts are ignored).
        view: USER_FEATURES or ITEM_FEATURES.
        first_day: the first day described.
        last_day: the last, included.

    Returns:
        On day d: plays received by the end of d that happened in (d-7, d] and (d-28, d], and those that ever happened
        by d. `feature_at` and `created_at` are the midnight UTC that ends d.
    """
    (key,) = view.join_keys
    changes = _changes(totals, key, first_day, last_day)
    sums = [name for name in changes.columns if name not in (key, "on", "last_played_at")]
    by_day = Window.partitionBy(key).orderBy("on")
    until_now = by_day.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    states = (
        changes.groupBy(key, "on")
        .agg(*(F.sum(name).alias(name) for name in sums), F.max("last_played_at").alias("last_played_at"))
        .select(
            key,
            "on",
            F.date_sub(F.lead("on", 1, last_day + _DAY).over(by_day), 1).alias("until"),
            *(F.sum(name).over(until_now).alias(name) for name in sums),
            F.max("last_played_at").over(until_now).alias("last_played_at"),
        )
    )
    mean = F.col("share_millionths_28d") / F.when(F.col("share_count_28d") > 0, F.col("share_count_28d") * 1_000_000)
    return (
        states.where("play_count_28d > 0")
        .withColumn("day", F.explode(F.sequence("on", "until")))
        .withColumns(
            {
                view.timestamp_field: end_of(F.col("day")),
                view.created_timestamp_column: end_of(F.col("day")),
                "mean_watched_share_28d": mean,
            }
        )
        .select(*view.table.names, "day")
    )


def _changes(totals: DataFrame, key: str, first_day: date, last_day: date) -> DataFrame:
    """What each total adds and takes away, and on which day of the range."""
    enters = F.greatest("day", "happened_on", F.lit(first_day))
    leaves_week = F.date_add("happened_on", TREND_DAYS)
    leaves_month = F.date_add("happened_on", WINDOW_DAYS)

    def change(on: Column, ever: Column | int, week: Column | int, month: Column | int, last: Column) -> Column:
        return F.struct(
            on.alias("on"),
            _times(ever, "play_count").alias("play_count"),
            _times(week, "play_count").alias("play_count_7d"),
            _times(month, "play_count").alias("play_count_28d"),
            _times(month, "complete_count").alias("complete_count_28d"),
            _times(month, "share_count").alias("share_count_28d"),
            _times(month, "share_millionths").alias("share_millionths_28d"),
            last.alias("last_played_at"),
        )

    # What was received after it had left a window never enters it, and cannot leave.
    is_in_week, is_in_month = leaves_week > enters, leaves_month > enters
    never = F.lit(None).cast("timestamp")
    entry = change(enters, 1, is_in_week.cast("int"), is_in_month.cast("int"), F.col("last_played_at"))
    leaves = [
        F.when(is_in_week & (leaves_week <= F.lit(last_day)), change(leaves_week, 0, -1, 0, never)),
        F.when(is_in_month & (leaves_month <= F.lit(last_day)), change(leaves_month, 0, 0, -1, never)),
    ]
    counted = totals.where(enters <= F.lit(last_day))
    if first_day == last_day:
        return counted.select(key, entry.alias("change")).select(key, "change.*")
    return counted.select(key, F.explode(F.array_compact(F.array(entry, *leaves))).alias("change")).select(
        key, "change.*"
    )


def _times(sign: Column | int, name: str) -> Column:
    return (F.lit(sign) if isinstance(sign, int) else sign).cast("bigint") * F.col(name)
