"""Named places where a test lets a job die, to see that what it leaves behind can be lived with.

`MARQUEE_CRASH_AT=publication.before_pointer` ends the process, as a power cut would, when that point is passed for the
first time; `...:3` at the third time. Unset, a point costs a look at one variable.
"""

import os

from pipelines.errors import UsageError

# Where a publication can die; the last but one where lists have a hot copy.
PUBLICATION_POINTS = (
    "write_lists.after_list",
    "write_lists.before_part_recorded",
    "write_lists.before_record",
    "publication.after_verify",
    "publication.before_manifest",
    "publication.before_pointer",
    "pair.between_pointers",
    "publication.after_pointer",
)
POINTS = (
    "lake.before_commit",
    "lake.after_commit",
    "digested_files.before_manifest",
    "towers.after_checkpoint",
    "promotion.before_record",
    "promotion.after_record",
    *PUBLICATION_POINTS,
)
EXIT_CODE = 137  # what a shell says of a process that was killed

_armed: dict[str, int] = {}


def arm(point: str) -> None:
    """Let this process die at a point, given as `NAME` or `NAME:N`; an empty text arms nothing.

    Raises:
        UsageError: if there is no such point.
    """
    name, _, number = point.partition(":")
    if not name:
        return
    if name not in POINTS or not (number or "1").isdecimal():
        raise UsageError(f"the setting MARQUEE_CRASH_AT names {point!r}; there are {', '.join(POINTS)}")
    _armed[name] = int(number or "1")


def passing(point: str) -> None:
    """Die here, if that was asked for."""
    if point in _armed:
        _armed[point] -= 1
        if _armed[point] <= 0:
            os._exit(EXIT_CODE)
