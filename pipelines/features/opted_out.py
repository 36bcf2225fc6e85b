"""Who has opted out of personalisation, and when: their plays count in totals only."""

from collections.abc import Sequence
from datetime import date, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

_EVER = date(9999, 12, 31)


def standing(snapshots: Sequence[date], first_day: date, last_day: date) -> dict[date, tuple[date, date]]:
    """Which snapshot of the users says who has opted out on which days: the newest that is not younger than the day.

    Args:
        snapshots: the days on which the users were extracted, in order; at least one.
        first_day: the first day asked about.
        last_day: the last, included.

    Returns:
        For each snapshot needed the first and the last day for which it stands. Days before the first snapshot are
        judged by that one: a choice is not ignored because we learned of it after the event.
    """
    until = [following - timedelta(days=1) for following in snapshots[1:]] + [_EVER]
    since = [date.min, *snapshots[1:]]
    return {
        snapshot: (low, high)
        for snapshot, low, high in zip(snapshots, since, until, strict=True)
        if low <= last_day and high >= first_day
    }


def opted_out(users: DataFrame, spans: dict[date, tuple[date, date]]) -> DataFrame:
    """`user_id`, `from_day`, `until_day` (both included): when each user is out of personalisation.

    Args:
        users: rows of USERS with `day`.
        spans: as told by `standing`.
    """
    # As text: rows that come from Python would start a job of their own.
    values = ", ".join(f"(DATE'{day}', DATE'{low}', DATE'{high}')" for day, (low, high) in spans.items())
    days = users.sparkSession.sql(f"SELECT * FROM VALUES {values} AS spans(day, from_day, until_day)")  # noqa: S608
    return (
        users.where("is_opted_out")
        .select("user_id", "day")
        .join(F.broadcast(days), "day")
        .select("user_id", "from_day", "until_day")
    )


def without_opted_out(rows: DataFrame, out: DataFrame) -> DataFrame:
    """Those rows (with `user_id` and `day`) whose user is not out of personalisation on their day."""
    return _held_against(rows, out, "left_anti")


def only_opted_out(rows: DataFrame, out: DataFrame) -> DataFrame:
    """Those rows (with `user_id` and `day`) whose user is out of personalisation on their day."""
    return _held_against(rows, out, "left_semi")


def _held_against(rows: DataFrame, out: DataFrame, how: str) -> DataFrame:
    left, right = rows.alias("rows"), out.alias("out")
    is_out = (
        (F.col("rows.user_id") == F.col("out.user_id"))
        & (F.col("rows.day") >= F.col("out.from_day"))
        & (F.col("rows.day") <= F.col("out.until_day"))
    )
    return left.join(right, is_out, how)
