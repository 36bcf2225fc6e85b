"""How long does a store take to answer, and how often does it fail?

Counted by hand: a request is to pay next to nothing for it.
"""

from bisect import bisect_left

# Upper bounds of the buckets, in seconds; the last one is without bound.
BOUNDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


class HopTimes:
    """Counts of answers by how long they took, and of failures; of one process, from its start."""

    __slots__ = ("counts", "failure_count", "is_resting", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0
        self.failure_count = 0
        # Whether the store is left alone at the moment, having failed too often.
        self.is_resting = False

    def took(self, seconds: float) -> None:
        """One answer that took so long."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds
