"""How large a simulated service is, and from which seed it is made."""

from dataclasses import dataclass
from datetime import date, timedelta

from pipelines.errors import UsageError

LAST_DAY = date(2026, 6, 30)


@dataclass(frozen=True)
class WorldConfiguration:
    """A simulated service: the whole of it, truth and log, is a function of these values.

    `mean_sessions`: sessions a day of a user of mean activity.

    Raises:
        UsageError: if a value is out of its bounds.
    """

    user_count: int = 2000
    title_count: int = 800
    day_count: int = 60
    mean_sessions: float = 0.36
    seed: int = 1

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("users", self.user_count, 10, 1_000_000),
            ("titles", self.title_count, 100, 50_000),
            ("days", self.day_count, 2, 366),
            ("seed", self.seed, 0, 2**31 - 1),
        ):
            if not low <= value <= high:
                raise UsageError(f"a simulated world has from {low:,} to {high:,} as {name}, not {value:,}")
        if not 0 < self.mean_sessions <= 5:
            raise UsageError(f"a simulated user has more than 0 and at most 5 sessions a day, not {self.mean_sessions}")

    @property
    def first_day(self) -> date:
        """The first day of the log."""
        return LAST_DAY - timedelta(days=self.day_count - 1)

    @property
    def last_day(self) -> date:
        """The last day of the log."""
        return LAST_DAY
