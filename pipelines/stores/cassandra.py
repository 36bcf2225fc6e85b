"""Lists in Cassandra: durable, for as many users as one likes, on as many nodes as it takes.

A list is one blob under its attempt and user, so that an attempt is written beside all others; nothing is scanned and
nothing deleted but in erasure. Who may write is decided by lightweight transactions on the row that names a run's
newest attempt; what is live, by one on the pointer's `move`. Lists themselves are written without: at the time of their
attempt's opening, to which no erasure loses, and under a key that nobody reads once the attempt was overtaken.

After a lightweight transaction that timed out nobody knows whether it was applied. So whoever decides reads at SERIAL,
writes what follows from it if nothing has changed, and otherwise reads again: its own success is found there too.
"""

import random
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import msgspec
from cassandra import OperationTimedOut, Timeout

from pipelines.errors import DataError, RefusedError, UnavailableError
from pipelines.stores.cassandra_requests import Requests
from pipelines.stores.cassandra_session import DECIDING, STORING, connect, in_words, parse_address
from pipelines.stores.cassandra_statements import STATEMENTS
from pipelines.stores.interface import (
    HOME,
    LARGEST_USER_ID,
    Answered,
    Live,
    Manifest,
    Tally,
    checksum,
    run_day,
    sum_of,
)
from pipelines.stores.places import Places
from pipelines.stores.retention import kept, runs_gone
from pipelines.stores.user_state import FORGOTTEN, NOBODY, Stated, UserState

_CONCURRENCY = 256
_LISTS_A_TURN = 4096  # 8 MB in memory; before each turn the attempt's right to write is asked again
_SAMPLE_SHARE, _SMALLEST_SAMPLE = 0.01, 10  # of a turn, read back
_DECISION_SECONDS = 30
# A node that dies is missed for a moment, until the others notice.
_PAUSES = (0.5, 2.0)
_MARGIN = timedelta(days=1)  # what names lists outlives them
_RECENT = 0  # the one bucket of recent attempts
_FORGOTTEN_BUCKETS = 16
_EPOCH = "attempt"


@dataclass(frozen=True)
class _Attempt:
    run_id: str
    attempt: int
    newest: int
    opened_at: datetime
    expires_at: datetime
    manifest: str | None
    is_dropped: bool

    @property
    def seconds_left(self) -> int:
        return int((self.expires_at - datetime.now(UTC)).total_seconds())


class CassandraStore:
    """A `pipelines.stores.interface.ListStore` in a keyspace that `jobs.migrate_cassandra` made.

    A recorded part counts as read back when a sample of it was; erasure does not change what was recorded.
    """

    def __init__(self, places: Places) -> None:
        """Reach the keyspace.

        Raises:
            UsageError: if a setting is of no known form.
            UnavailableError: if Cassandra or the keyspace cannot be reached, or its tables are not as needed.
        """
        self._address = parse_address(places.lists)
        self._retention = timedelta(days=places.retention_days)
        self._cluster, self._session = connect(places)
        self._requests = Requests(self._session, _CONCURRENCY)
        self._random = random.Random()  # noqa: S311  (a sample)
        self._last_trending: tuple[int, bytes] | None = None
        try:
            with self._in_words():
                self._statements = {name: self._session.prepare(text) for name, text in STATEMENTS.items()}
        except UnavailableError:
            self._cluster.shutdown()
            raise
        for name in ("put_list", "erase_list", "put_recent", "forget"):
            self._statements[name].is_idempotent = True

    def __enter__(self) -> "CassandraStore":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of connections."""
        self._cluster.shutdown()

    def open_attempt(self, run_id: str) -> int:
        """See `ListStore`."""
        run_day(run_id)
        with self._in_words():
            for _ in self._turns(f"an attempt at the run {run_id} cannot be opened"):
                attempt = self._next_epoch()
                opened_at = _now()
                expires_at = opened_at + self._retention
                seconds = int((self._retention + _MARGIN).total_seconds())
                # Before anything can be written under it, so that erasure finds it.
                self._ask("put_recent", _RECENT, attempt, run_id, opened_at, seconds)
                newest = max((row.newest for row in self._attempts_at(run_id, DECIDING)), default=None)
                if newest is not None and newest > attempt:
                    continue
                values = (attempt, run_id, newest, run_id, attempt, opened_at, expires_at)
                if self._is_applied("open", *values) or self._attempt(run_id, attempt) is not None:
                    break
            self._fence_pointers(attempt)
        return attempt

    def put_many(self, run_id: str, attempt: int, lists: Iterable[tuple[int, bytes]], *, part: str = "0/1") -> Tally:
        """See `ListStore`. Only the writer of a part that began last may finish it.

        Raises:
            DataError: if a user id is not between 1 and 2^63 - 1.
        """
        remaining = iter(lists)
        count = total = 0
        with self._in_words():
            row = self._may_write(run_id, attempt)
            begun = self._begin_part(row, part)
        # What is written anew replaces what was written when the part began before.
        timestamp = _microseconds(row.opened_at) + begun
        while turn := list(islice(remaining, _LISTS_A_TURN)):
            for user_id, _ in turn:
                _check_user(user_id)
            with self._in_words():
                row = self._may_write(run_id, attempt)
                missing = self._missing(attempt, turn) if begun > 1 else turn
                values = [(attempt, user_id, data, timestamp, row.seconds_left) for user_id, data in missing]
                self._requests.all(self._statements["put_list"], values)
                self._check_sample(attempt, turn)
            count += len(turn)
            total += sum(checksum(user_id, data) for user_id, data in turn)
        tally = Tally(count, total % 2**64)
        with self._in_words():
            self._finish_part(self._may_write(run_id, attempt), part, begun, tally)
        return tally

    def put_trending(self, run_id: str, attempt: int, data: bytes) -> None:
        """See `ListStore`."""
        with self._in_words():
            for _ in self._turns(f"the trending list of attempt {attempt} cannot be written"):
                self._may_write(run_id, attempt)
                if self._is_applied("put_trending", data, run_id, attempt, attempt):
                    return

    def tally(self, run_id: str) -> Tally:
        """See `ListStore`: what was recorded of parts whose lists were all acknowledged."""
        with self._in_words():
            newest = self._newest(run_id)
            if newest is None:
                raise RefusedError(f"there is no attempt at the run {run_id} in {self._address}")
            parts = self._ask("parts", newest.attempt)
            return sum_of((row.list_count, int(row.checksum, 16)) for row in parts if row.list_count is not None)

    def get(self, run_id: str, user_id: int) -> bytes | None:
        """See `ListStore`."""
        with self._in_words():
            newest = self._newest(run_id)
            if newest is None or not _is_user(user_id):
                return None
            row = self._ask("list", newest.attempt, user_id).one()
            return None if row is None else row.data

    def commit_manifest(self, run_id: str, attempt: int, manifest: Mapping[str, Any]) -> None:
        """See `ListStore`."""
        text = msgspec.json.encode(dict(manifest), order="sorted").decode()
        with self._in_words():
            for _ in self._turns(f"attempt {attempt} at the run {run_id} cannot be committed"):
                row = self._attempt(run_id, attempt)
                if row is not None and row.manifest == text and not row.is_dropped:
                    return
                self._may_write(run_id, attempt)
                if self._ask("trending", run_id, attempt).one().trending is None:
                    raise RefusedError(
                        f"attempt {attempt} at the run {run_id} has no trending list and cannot be committed"
                    )
                if self._is_applied("commit", text, run_id, attempt, attempt):
                    return

    def manifest(self, run_id: str) -> Manifest | None:
        """See `ListStore`."""
        with self._in_words():
            rows = self._attempts_at(run_id)
        committed = [row for row in rows if row.manifest is not None and not row.is_dropped]
        if not committed:
            return None
        newest = max(committed, key=lambda row: row.attempt)
        return Manifest(newest.attempt, msgspec.json.decode(newest.manifest or "{}"))

    def go_live(self, run_id: str, attempt: int, *, surface: str = HOME, allow_older: bool = False) -> Live:
        """See `ListStore`.

        Raises:
            RefusedError: also if the lists of the attempt have expired.
        """
        with self._in_words():
            for _ in self._turns(f"the pointer of {surface} cannot be moved"):
                # The pointer first: should a newer attempt open from here on, its fence undoes our move.
                pointer = self._ask("pointer", surface, profile=DECIDING).one()
                before = _live(pointer)
                if before is not None and (before.run_id, before.attempt) == (run_id, attempt):
                    return before
                self._may_go_live(run_id, attempt, before, allow_older=allow_older)
                # Cassandra keeps milliseconds: up, as nothing was live before it was asked for.
                moved_at = _now() + timedelta(milliseconds=1)
                live = Live(run_id, attempt, 1 if before is None else before.move + 1, moved_at)
                if before is None:
                    is_moved = self._is_applied("first_move", surface, run_id, attempt, moved_at)
                else:
                    values = (run_id, attempt, live.move, moved_at, surface, before.move, pointer.fence)
                    is_moved = self._is_applied("move", *values)
                if is_moved:
                    self._take_back_if_dropped(run_id, attempt)
                    return live
        raise AssertionError("turns end by themselves")

    def live(self, surface: str = HOME) -> Live | None:
        """See `ListStore`."""
        with self._in_words():
            return _live(self._ask("pointer", surface, profile=DECIDING).one())

    def live_list(self, user_id: int, surface: str = HOME) -> Answered | None:
        """See `ListStore`. A committed attempt does not change: what is read after the pointer belongs to it."""
        with self._in_words():
            pointer = self._session.execute_async(self._statements["pointer"], (surface,))
            # Before the list: whoever forgets a user marks first, then removes.
            is_forgotten = _is_user(user_id) and _stated(self._ask("state", user_id).one()).state.is_forgotten
            live = _live(pointer.result().one())
            if live is None:
                return None
            if self._last_trending is None or self._last_trending[0] != live.attempt:
                row = self._ask("trending", live.run_id, live.attempt).one()
                self._last_trending = (live.attempt, row.trending)
            row = None if is_forgotten or not _is_user(user_id) else self._ask("list", live.attempt, user_id).one()
            return Answered(live, None if row is None else row.data, self._last_trending[1])

    def forget_user(self, user_id: int) -> int:
        """See `ListStore`.

        Raises:
            DataError: if a user id is not between 1 and 2^63 - 1.
        """
        _check_user(user_id)
        with self._in_words():
            self._ask("forget", user_id % _FORGOTTEN_BUCKETS, user_id, _now())
            for _ in self._turns("a user's state cannot be written"):
                found = self._stated(user_id)
                if found.state == FORGOTTEN or self._replace_state(user_id, FORGOTTEN, found.version):
                    break
            attempts = [(row.attempt, _utc(row.opened_at)) for row in self._ask("recent", _RECENT)]
            keys = [(attempt, user_id) for attempt, _ in attempts]
            removed = sum(bool(rows) for rows in self._requests.all(self._statements["has_list"], keys))
            # Also where none is yet: whoever writes it there later writes at the attempt's opening, below this. Another
            # machine's clock may have opened the attempt in our future.
            moments = [max(datetime.now(UTC), opened_at + timedelta(seconds=1)) for _, opened_at in attempts]
            erasures = [(_microseconds(moment), *key) for moment, key in zip(moments, keys, strict=True)]
            self._requests.all(self._statements["erase_list"], erasures)
            return removed

    def forgotten(self) -> frozenset[int]:
        """See `ListStore`."""
        with self._in_words():
            buckets = [self._ask("forgotten", bucket) for bucket in range(_FORGOTTEN_BUCKETS)]
            return frozenset(row.user_id for rows in buckets for row in rows)

    def state(self, user_id: int) -> Stated:
        """See `ListStore`."""
        if not _is_user(user_id):
            return NOBODY
        with self._in_words():
            return self._stated(user_id)

    def put_state(self, user_id: int, state: UserState, version: int) -> bool:
        """See `ListStore`.

        Raises:
            DataError: if a user id is not between 1 and 2^63 - 1.
        """
        _check_user(user_id)
        with self._in_words():
            for _ in self._turns("a user's state cannot be written"):
                found = self._stated(user_id)
                if found.state.is_forgotten:
                    raise RefusedError("a user who was forgotten has no state and gets none")
                if found == (state, version + 1):
                    return True  # ours, in a turn whose end we did not hear of
                if found.version != version:
                    return False
                if self._replace_state(user_id, state, version):
                    return True
        raise AssertionError("turns end by themselves")

    def drop_runs(self, keep: int) -> list[str]:
        """See `ListStore`: here runs are only marked; their lists expire."""
        with self._in_words():
            attempts = self._recent_attempts()
            runs = {row.attempt: row.run_id for row in attempts}
            newest = {row.run_id: row.newest for row in attempts}
            committed = [row.attempt for row in attempts if row.manifest is not None]
            staying = kept(runs, newest, committed, self._live_attempts(), keep)
            doomed = [row for row in attempts if row.attempt not in staying]
            dropped = {row.attempt for row in doomed if self._drop(row)}
            # Somebody may have taken one live meanwhile; who does that looks here in turn (`_take_back_if_dropped`).
            live = self._live_attempts()
            for row in doomed:
                if row.attempt in dropped and row.attempt in live:
                    self._take_back_if_dropped(row.run_id, row.attempt)
                    dropped.remove(row.attempt)
        return runs_gone(runs, dropped)

    def _next_epoch(self) -> int:
        for _ in self._turns("a new attempt cannot be numbered"):
            row = self._ask("epoch", _EPOCH, profile=DECIDING).one()
            before = None if row is None else row.epoch
            if self._is_applied("move_epoch", (before or 0) + 1, _EPOCH, before):
                return int(before or 0) + 1
        raise AssertionError("turns end by themselves")

    def _fence_pointers(self, attempt: int) -> None:
        """Undo every move that asked who is newest before this attempt was, and has not yet happened."""
        for row in self._ask("surfaces"):
            for _ in self._turns(f"attempt {attempt} cannot be opened"):
                if self._is_applied("fence", attempt, row.surface, attempt):
                    break
                pointer = self._ask("pointer", row.surface, profile=DECIDING).one()
                if pointer is None or pointer.fence >= attempt:
                    break

    def _begin_part(self, row: _Attempt, part: str) -> int:
        """How often the part has begun now; from here on nobody who began before may record it."""
        for _ in self._turns(f"part {part} cannot be begun"):
            found = self._ask("part", row.attempt, part, profile=DECIDING).one()
            before = None if found is None else found.begun_count
            values = (self._part_seconds(row), (before or 0) + 1, _now(), row.attempt, part, before)
            if self._is_applied("begin_part", *values):
                return int(before or 0) + 1
        raise AssertionError("turns end by themselves")

    def _finish_part(self, row: _Attempt, part: str, begun: int, tally: Tally) -> None:
        digits = f"{tally.checksum:016x}"
        for _ in self._turns(f"part {part} cannot be recorded"):
            values = (self._part_seconds(row), tally.list_count, digits, _now(), row.attempt, part, begun)
            if self._is_applied("finish_part", *values):
                return
            found = self._ask("part", row.attempt, part, profile=DECIDING).one()
            if found is None or found.begun_count != begun:
                raise RefusedError(f"part {part} of attempt {row.attempt} was begun anew by another writer meanwhile")

    def _part_seconds(self, row: _Attempt) -> int:
        return row.seconds_left + int(_MARGIN.total_seconds())

    def _missing(self, attempt: int, turn: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        """The lists that are not there as they should be."""
        found = self._requests.all(self._statements["list"], [(attempt, user_id) for user_id, _ in turn])
        return [pair for pair, rows in zip(turn, found, strict=True) if not rows or rows[0].data != pair[1]]

    def _check_sample(self, attempt: int, turn: list[tuple[int, bytes]]) -> None:
        count = min(len(turn), max(_SMALLEST_SAMPLE, round(_SAMPLE_SHARE * len(turn))))
        missing = self._missing(attempt, self._random.sample(turn, count))
        # A user who was erased since the attempt was opened has no list in it, and gets none.
        if missing and not {user_id for user_id, _ in missing} <= self.forgotten():
            raise UnavailableError(
                f"{self._address} acknowledged lists of attempt {attempt} and does not have them: write them again"
            )

    def _may_write(self, run_id: str, attempt: int) -> _Attempt:
        """The attempt's row, if it is the newest at its run and neither committed nor dropped.

        Raises:
            RefusedError: if it is not.
        """
        row, what = self._attempt(run_id, attempt), f"attempt {attempt} at the run {run_id}"
        if row is None or row.is_dropped:
            raise RefusedError(f"{what} is not open in {self._address}: it was dropped, or never opened")
        if row.newest != attempt:
            raise RefusedError(f"{what} was overtaken by attempt {row.newest} and may not write any more")
        if row.manifest is not None:
            raise RefusedError(f"{what} is committed and may not be changed any more")
        if row.seconds_left <= 0:
            raise RefusedError(f"{what} was opened so long ago that its lists would expire at once: open a new one")
        return row

    def _may_go_live(self, run_id: str, attempt: int, before: Live | None, *, allow_older: bool) -> None:
        row, what = self._attempt(run_id, attempt), f"attempt {attempt} at the run {run_id}"
        if row is None or row.manifest is None or row.is_dropped:
            raise RefusedError(f"{what} has no manifest and cannot go live")
        if row.seconds_left <= 0:
            raise RefusedError(f"the lists of {what} expired on {row.expires_at:%Y-%m-%d}: it cannot go live")
        if allow_older:
            return
        if row.newest != attempt:
            raise RefusedError(f"{what} was overtaken by a newer attempt and cannot go live")
        if before is not None and run_day(run_id) < run_day(before.run_id):
            raise RefusedError(f"the run {run_id} is of an older day than the live run {before.run_id}")
        if before is not None and attempt < before.attempt:
            raise RefusedError(f"{what} is older than attempt {before.attempt} of the live run {before.run_id}")

    def _drop(self, row: _Attempt) -> bool:
        """Mark an attempt as dropped, unless it changed since it was read; whether it is marked."""
        for _ in self._turns(f"attempt {row.attempt} cannot be dropped"):
            if self._is_applied("drop", row.run_id, row.attempt, row.newest, row.manifest):
                return True
            now = self._attempt(row.run_id, row.attempt)
            if now is None or now.is_dropped or (now.newest, now.manifest) != (row.newest, row.manifest):
                return now is not None and now.is_dropped
        raise AssertionError("turns end by themselves")

    def _take_back_if_dropped(self, run_id: str, attempt: int) -> None:
        for _ in self._turns(f"attempt {attempt} cannot be kept"):
            row = self._attempt(run_id, attempt)
            if row is None or not row.is_dropped or self._is_applied("take_back", run_id, attempt):
                return

    def _newest(self, run_id: str) -> _Attempt | None:
        rows = self._attempts_at(run_id)
        return next((row for row in rows if row.attempt == row.newest and not row.is_dropped), None)

    def _attempt(self, run_id: str, attempt: int) -> _Attempt | None:
        return next((row for row in self._attempts_at(run_id, DECIDING) if row.attempt == attempt), None)

    def _attempts_at(self, run_id: str, profile: object = STORING) -> list[_Attempt]:
        return [
            _Attempt(
                run_id,
                row.attempt,
                row.newest,
                _utc(row.opened_at),
                _utc(row.expires_at),
                row.manifest,
                row.is_dropped,
            )
            for row in self._ask("attempts", run_id, profile=profile)
        ]

    def _recent_attempts(self) -> list[_Attempt]:
        """All that retention has not dropped yet, of runs that may still have lists."""
        runs = {row.run_id for row in self._ask("recent", _RECENT)}
        return [row for run_id in sorted(runs) for row in self._attempts_at(run_id, DECIDING) if not row.is_dropped]

    def _live_attempts(self) -> set[int]:
        surfaces = [row.surface for row in self._ask("surfaces")]
        return {self._ask("pointer", surface, profile=DECIDING).one().attempt for surface in surfaces}

    def _stated(self, user_id: int) -> Stated:
        return _stated(self._ask("state", user_id, profile=DECIDING).one())

    def _replace_state(self, user_id: int, state: UserState, version: int) -> bool:
        text = msgspec.json.encode(state).decode()
        if version == 0:
            return self._is_applied("first_state", user_id, text)
        return self._is_applied("next_state", text, version + 1, user_id, version)

    def _ask(self, name: str, *values: object, profile: object = STORING) -> Any:
        """What is answered to a statement that may be sent again: any but a lightweight transaction."""
        for pause in _PAUSES:
            try:
                return self._ask_once(name, *values, profile=profile)
            except (Timeout, OperationTimedOut):
                time.sleep(pause)
        return self._ask_once(name, *values, profile=profile)

    def _ask_once(self, name: str, *values: object, profile: object = STORING) -> Any:
        return self._session.execute(self._statements[name], values, execution_profile=profile)

    def _is_applied(self, name: str, *values: object) -> bool:
        """Whether a lightweight transaction was applied, as far as we know."""
        try:
            return bool(self._ask_once(name, *values).one().applied)
        except (Timeout, OperationTimedOut):
            return False

    def _turns(self, what: str) -> Iterator[None]:
        """Turns at a decision; each begins by reading how things stand.

        Raises:
            UnavailableError: after a while.
        """
        until = time.monotonic() + _DECISION_SECONDS
        while time.monotonic() < until:
            yield
            time.sleep(self._random.uniform(0, 0.05))  # not in step with whoever was quicker
        raise UnavailableError(f"{what}: {self._address} comes to no decision in {_DECISION_SECONDS} seconds")

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        with in_words(self._address):
            yield


def _live(row: Any) -> Live | None:
    return None if row is None else Live(row.run_id, row.attempt, row.move, _utc(row.moved_at))


def _stated(row: Any) -> Stated:
    return NOBODY if row is None else Stated(msgspec.json.decode(row.state, type=UserState), row.version)


def _is_user(user_id: int) -> bool:
    return 1 <= user_id <= LARGEST_USER_ID


def _check_user(user_id: int) -> None:
    if not _is_user(user_id):
        raise DataError(f"a user id must lie between 1 and 2^63 - 1, not be {user_id}")


def _now() -> datetime:
    """To the millisecond, as Cassandra keeps it."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC)


def _microseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)
