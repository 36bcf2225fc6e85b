"""Days are UTC days: computed from the instant itself, so that no session's or machine's time zone can move them.

Spark's own `to_date`, `date_add` and day intervals on timestamps go by the session's time zone, in which a day may
have 23 or 25 hours.
"""

from datetime import timedelta

from pyspark.sql import Column
from pyspark.sql import functions as F

_DAY_MICROS = 86_400_000_000


def day_of(instant: Column) -> Column:
    """The UTC day (date) in which an instant (timestamp) lies."""
    return F.date_from_unix_date(F.floor(F.unix_micros(instant) / F.lit(_DAY_MICROS)).cast("int"))


def end_of(day: Column) -> Column:
    """The midnight UTC (timestamp) at which a day (date) ends."""
    return F.timestamp_micros((F.unix_date(day) + 1).cast("long") * F.lit(_DAY_MICROS))


def is_younger(instant: Column, than: timedelta, at: Column) -> Column:
    """Whether less than a length of time passed from an instant until another; exactly as much is not younger."""
    return F.unix_micros(instant) > F.unix_micros(at) - F.lit(than // timedelta(microseconds=1))
