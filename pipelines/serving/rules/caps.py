"""No more of one genre, one creator or one series than a page bears."""

from typing import NamedTuple

CREATOR, GENRE, SERIES = "creator_cap", "genre_cap", "series_cap"


class Limits(NamedTuple):
    """How many titles of one genre, one creator and one series a page may hold."""

    genre: int
    creator: int
    series: int


class Caps:
    """What a page holds so far. Genres, creators and series have codes of their own; -1 is none, and without bound.

    `full` holds the codes of which the page may hold no more.
    """

    __slots__ = ("_counts", "_creator_limit", "_genre_limit", "_series_limit", "full")

    def __init__(self, limits: Limits) -> None:
        self._genre_limit, self._creator_limit, self._series_limit = limits
        self._counts: dict[int, int] = {}
        self.full: set[int] = set()

    def turn(self) -> set[int]:
        """Begin a page; returns the codes that will be full, a set that grows."""
        self._counts, self.full = {}, set()
        return self.full

    def take(self, genre: int, creator: int, series: int) -> None:
        """Count a title."""
        counts = self._counts
        if genre >= 0:
            counts[genre] = count = counts.get(genre, 0) + 1
            if count >= self._genre_limit:
                self.full.add(genre)
        if creator >= 0:
            counts[creator] = count = counts.get(creator, 0) + 1
            if count >= self._creator_limit:
                self.full.add(creator)
        if series >= 0:
            counts[series] = count = counts.get(series, 0) + 1
            if count >= self._series_limit:
                self.full.add(series)

    def broken(self, genre: int, creator: int, series: int) -> tuple[str, ...]:
        """The caps that one more such title would break, in the order in which they give way."""
        full = self.full
        return tuple(name for name, code in ((CREATOR, creator), (GENRE, genre), (SERIES, series)) if code in full)
