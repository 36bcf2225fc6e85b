"""What a user has watched is not recommended, whether the night knew of it or it was finished a moment ago."""

from collections.abc import Iterable


def watched(history: Iterable[int], since: Iterable[int]) -> set[int]:
    """The titles watched: those of the list's history, and those finished since the run."""
    seen = set(history)
    seen.update(since)
    return seen
