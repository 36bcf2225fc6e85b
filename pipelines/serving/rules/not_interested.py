"""What is near to titles that a user turned down goes to the end of the list."""

from collections.abc import Mapping, Sequence

# Of how many titles, the latest turned down, the neighbours are looked up: taste moves on, and time is short.
_LATEST = 50


def demoted(not_interested: Sequence[int], neighbours: Mapping[int, tuple[int, ...]], nearest: int) -> set[int]:
    """The titles near those that were turned down lately.

    Args:
        not_interested: titles turned down, the latest last.
        neighbours: of each title, nearest first.
        nearest: how many of each count as near.
    """
    return {near for item in not_interested[-_LATEST:] for near in neighbours.get(item, ())[:nearest]}
