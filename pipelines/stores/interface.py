"""What every store of lists promises.

Lists are written under a run and an attempt, beside those that are served; a manifest says that the attempt is whole;
moving the live pointer of a surface, the last act, makes it what readers see. A reader sees one attempt in one answer.

Each opened attempt has a number larger than any before it in the store: its fencing epoch. Once a newer attempt of a
run is open, the older can neither write nor commit nor go live, however late it wakes.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple, Protocol, Self

from pipelines.errors import UsageError
from pipelines.stores.user_state import Stated, UserState

HOME = "home"
_RUN_ID = re.compile(r"(\d{4})(\d{2})(\d{2})-[0-9a-f]{12}")
LARGEST_USER_ID = 2**63 - 1


class Tally(NamedTuple):
    """How many lists, and the sum of their checksums modulo 2^64."""

    list_count: int
    checksum: int


class Manifest(NamedTuple):
    """The attempt that was committed, and what its publisher said of it."""

    attempt: int
    content: dict[str, Any]


@dataclass(frozen=True)
class Live:
    """Where a pointer points, and since when. `move` counts the moves of this pointer, from 1."""

    run_id: str
    attempt: int
    move: int
    moved_at: datetime


class Answered(NamedTuple):
    """A user's list (`None`: there is none) and the trending list of the same attempt, the live one."""

    live: Live
    user_list: bytes | None
    trending: bytes


class ListStore(Protocol):
    """A store of packed lists. Every method raises `UnavailableError` when the store cannot be reached or is full."""

    def open_attempt(self, run_id: str) -> int:
        """Begin anew with a run; earlier attempts at it lose their right to write. Returns the attempt's number.

        What an earlier attempt wrote is not seen by the new one.

        Raises:
            UsageError: if this is no run id.
        """

    def put_many(self, run_id: str, attempt: int, lists: Iterable[tuple[int, bytes]], *, part: str = "0/1") -> Tally:
        """Write users' packed lists; the same user again replaces. Shards of users may be written at the same time.

        Returns the tally of what was given. When it raises, some of the lists may be written: none is seen by readers,
        and writing all of them again mends it; where writing is dearer than reading, only what is missing is written.

        Args:
            run_id: the run.
            attempt: the attempt at it.
            lists: of the users of one part, each user once.
            part: which part of the users this is; parts have no user in common.

        Raises:
            RefusedError: if a newer attempt at the run is open, or this one is committed or was dropped.
        """

    def put_trending(self, run_id: str, attempt: int, data: bytes) -> None:
        """Write the packed list for users who have none.

        Raises:
            RefusedError: as `put_many`.
        """

    def tally(self, run_id: str) -> Tally:
        """Of the newest attempt at a run, all parts together.

        A store that can reads back every list; one that holds too many to be scanned adds up what was recorded of each
        part when all of its lists had been acknowledged and a sample of them had been read back.

        Raises:
            RefusedError: if there is no attempt at the run.
        """

    def get(self, run_id: str, user_id: int) -> bytes | None:
        """A user's list in the newest attempt at a run, live or not."""

    def commit_manifest(self, run_id: str, attempt: int, manifest: Mapping[str, Any]) -> None:
        """Say that the attempt is whole. From here on nothing is written to it; the same manifest again is no error.

        Raises:
            RefusedError: as `put_many`, or if the attempt has no trending list.
        """

    def manifest(self, run_id: str) -> Manifest | None:
        """The newest committed attempt at a run; `None` if there is none."""

    def go_live(self, run_id: str, attempt: int, *, surface: str = HOME, allow_older: bool = False) -> Live:
        """Move the pointer of a surface to a committed attempt, at once for all readers; twice is as good as once.

        `allow_older` is a person's word that an earlier day or attempt is to be served again.

        Raises:
            RefusedError: if the attempt has no manifest; or if a newer one at the run is open, the live one is newer,
                or the live day is, and `allow_older` was not said.
        """

    def live(self, surface: str = HOME) -> Live | None:
        """Where the pointer of a surface points; `None` before the first run went live."""

    def live_list(self, user_id: int, surface: str = HOME) -> Answered | None:
        """Pointer, list and trending list in one snapshot; `None` before the first run went live."""

    def forget_user(self, user_id: int) -> int:
        """Remove every list of a user and their state, and never answer with one again, even if one is written later.

        Returns how many lists were removed. Runs in the midst of verification may have to be written again.
        """

    def forgotten(self) -> frozenset[int]:
        """Everybody whom `forget_user` was told of."""

    def state(self, user_id: int) -> Stated:
        """What is kept about a user beside lists; the state of nobody in particular, at version 0, if nothing is."""

    def put_state(self, user_id: int, state: UserState, version: int) -> bool:
        """Replace what is kept about a user, if it still is at this version; the new version is the next number.

        Returns whether it was: if not, somebody else was quicker, and one reads again.

        Raises:
            RefusedError: if the user was forgotten.
        """

    def drop_runs(self, keep: int) -> list[str]:
        """Let go of all runs but the `keep` newest committed ones, what is live, and what is being written.

        Their lists are read no more; where lists expire by themselves they are left to that.


        Of a kept run the newest committed attempt stays. Returns the ids of the runs of which nothing is left.
        """

    def close(self) -> None:
        """Let go of the store; it is not used after."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


def run_day(run_id: str) -> date:
    """The day a run is of.

    Raises:
        UsageError: if this is no run id.
    """
    match = _RUN_ID.fullmatch(run_id)
    try:
        if match:
            return date(*map(int, match.groups()))
    except ValueError:
        pass
    raise UsageError(f"{run_id!r} is not a run id: a run is named like 20260131-0123456789ab")


def checksum(user_id: int, data: bytes) -> int:
    """Of one list, 64 bits; it tells the same bytes under another user apart."""
    return int.from_bytes(hashlib.sha256(user_id.to_bytes(8, "big") + data).digest()[:8], "big")


def tally_of(lists: Iterable[tuple[int, bytes]]) -> Tally:
    """The tally of lists in any order, each user once."""
    count = total = 0
    for user_id, data in lists:
        count += 1
        total += checksum(user_id, data)
    return Tally(count, total % 2**64)


def sum_of(tallies: Iterable[tuple[int, int]]) -> Tally:
    """The tally of all, given those of shards, which have no user in common."""
    count = total = 0
    for shard_count, shard_checksum in tallies:
        count += shard_count
        total += shard_checksum
    return Tally(count, total % 2**64)
