"""What the caller does not want, what earlier pages held and what the user turned down is not shown."""

from collections.abc import Iterable


def excluded(exclude: Iterable[int], served: Iterable[int], not_interested: Iterable[int] = ()) -> set[int]:
    """The titles that are ruled out, whatever else is left."""
    return {*exclude, *served, *not_interested}
