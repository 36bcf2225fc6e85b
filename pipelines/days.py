"""When a day is over."""

from datetime import UTC, date, datetime, timedelta


def end_of(day: date) -> datetime:
    """Midnight after a day, UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
