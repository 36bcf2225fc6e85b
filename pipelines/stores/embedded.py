"""Lists in an LMDB file: the default store, which needs no server.

Any number of processes read while others write; a reader is never blocked and sees one committed state. Writers take
turns, a few thousand lists at a time, and each turn begins by asking whether the attempt may still write: between that
question and the commit no other writer can open a newer one.

A list's key begins with its attempt, so that an attempt is written beside all others and replaces none. It goes on with
a running number, its place, and not with the user: LMDB packs two lists to a page only when they arrive in the order of
their keys, and in any other order takes up to twice the disk. A small index leads from the user to the place.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import lmdb
import msgspec

from pipelines.errors import DataError, RefusedError, UnavailableError
from pipelines.stores.interface import (
    HOME,
    LARGEST_USER_ID,
    Answered,
    Live,
    Manifest,
    Tally,
    checksum,
    run_day,
    tally_of,
)
from pipelines.stores.retention import kept, runs_gone
from pipelines.stores.user_state import FORGOTTEN, NOBODY, Stated, UserState

# Room that is reserved in the address space, not on the disk: 8 million users are 16 GB a run.
MAP_SIZE = 256 * 2**30
_MAX_READERS = 1024
_LISTS_A_TURN = 4096  # 8 MB: a commit costs a disk flush, a longer turn keeps other writers waiting
_DELETES_A_TURN = 20_000
_DATABASES = ("lists", "places", "trending", "attempts", "newest", "live", "forgotten", "states", "counters")
_EPOCH = b"epoch"


class _Attempt(msgspec.Struct, frozen=True):
    run_id: str
    opened_at: datetime
    manifest: dict[str, Any] | None = None
    is_dropped: bool = False


_ATTEMPT = msgspec.json.Decoder(_Attempt)
_LIVE = msgspec.json.Decoder(Live)
_STATED = msgspec.json.Decoder(Stated)


class EmbeddedStore:
    """A `pipelines.stores.interface.ListStore` in a folder of two files; open once in a process, closed before a fork.

    An erased list's bytes stay in free pages of the file until they are written over.
    """

    def __init__(
        self, path: Path, *, is_reader: bool = False, must_exist: bool = False, map_size: int = MAP_SIZE
    ) -> None:
        """Open the store; a writer makes it if it is not there, unless it must exist.

        Raises:
            UnavailableError: if nothing is found that must exist, as for a reader, or the folder cannot be opened.
        """
        self._path = path
        self._file = path / "data.mdb"
        must_exist = must_exist or is_reader
        if must_exist and not self._file.exists():
            raise UnavailableError(f"there is no list store at {path}: nothing was published there yet")
        with self._in_words():
            if not must_exist:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._environment = lmdb.open(
                str(path),
                map_size=map_size,
                readonly=is_reader,
                create=not must_exist,
                readahead=False,  # users ask in no order
                max_dbs=len(_DATABASES),
                max_readers=_MAX_READERS,
                max_spare_txns=1,
            )
        try:
            with self._in_words():
                self._identity = self._identity_now()
                if not must_exist:
                    self._environment.reader_check()  # frees what killed readers left
                    with self._environment.begin(write=True) as txn:
                        for name in _DATABASES:  # all or none, for a reader who comes meanwhile
                            self._environment.open_db(name.encode(), txn=txn)
                databases = [self._environment.open_db(name.encode(), create=False) for name in _DATABASES]
        except UnavailableError:
            self._environment.close()
            raise
        (
            self._lists,
            self._places,
            self._trending,
            self._attempts,
            self._newest,
            self._pointers,
            self._forgotten,
            self._states,
            self._counters,
        ) = databases
        self._last_live: tuple[bytes, Live] | None = None

    def __enter__(self) -> "EmbeddedStore":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._environment.close()

    def is_current(self) -> bool:
        """Whether the path still leads to the file that was opened; it may have been removed and made again."""
        return self._identity_now() == self._identity

    def open_attempt(self, run_id: str) -> int:
        """See `ListStore`."""
        run_day(run_id)
        with self._writing() as txn:
            attempt = int.from_bytes(txn.get(_EPOCH, b"", self._counters), "big") + 1
            txn.put(_EPOCH, _key(attempt), db=self._counters)
            txn.put(run_id.encode(), _key(attempt), db=self._newest)
            self._write_attempt(txn, attempt, _Attempt(run_id, datetime.now(UTC)))
        return attempt

    def put_many(
        self,
        run_id: str,
        attempt: int,
        lists: Iterable[tuple[int, bytes]],
        *,
        part: str = "0/1",  # noqa: ARG002  (every list is read back, of whatever part)
    ) -> Tally:
        """See `ListStore`.

        Raises:
            DataError: if a user id is not between 1 and 2^63 - 1.
        """
        front, remaining = _key(attempt), iter(lists)
        count = total = 0
        self._check_open(run_id, attempt)  # also when there is nothing to write
        while turn := sorted(islice(remaining, _LISTS_A_TURN)):
            if turn[0][0] < 1 or turn[-1][0] > LARGEST_USER_ID:
                raise DataError(f"a user id must lie between 1 and 2^63 - 1, not be {turn[0][0]} or {turn[-1][0]}")
            with self._writing() as txn:
                self._may_write(txn, run_id, attempt)
                self._put(txn, front, turn)
            count += len(turn)
            total += sum(checksum(user_id, data) for user_id, data in turn)
        return Tally(count, total % 2**64)

    def put_trending(self, run_id: str, attempt: int, data: bytes) -> None:
        """See `ListStore`."""
        with self._writing() as txn:
            self._may_write(txn, run_id, attempt)
            txn.put(_key(attempt), data, db=self._trending)

    def tally(self, run_id: str) -> Tally:
        """See `ListStore`."""
        with self._reading() as txn:
            front = txn.get(run_id.encode(), db=self._newest)
            if front is None:
                raise RefusedError(f"there is no attempt at the run {run_id} in {self._path}")
            with txn.cursor(self._places) as cursor:
                return tally_of(
                    (int.from_bytes(key[8:], "big"), txn.get(front + place, b"", self._lists))
                    for key, place in _range(cursor, front)
                )

    def get(self, run_id: str, user_id: int) -> bytes | None:
        """See `ListStore`."""
        with self._reading() as txn:
            front = txn.get(run_id.encode(), db=self._newest)
            if front is None:
                return None
            return self._list(txn, front, user_id.to_bytes(8, "big"))

    def commit_manifest(self, run_id: str, attempt: int, manifest: Mapping[str, Any]) -> None:
        """See `ListStore`."""
        with self._writing() as txn:
            row = self._attempt(txn, attempt)
            if row is not None and row.run_id == run_id and row.manifest == manifest:
                return
            row = self._may_write(txn, run_id, attempt)
            if txn.get(_key(attempt), db=self._trending) is None:
                raise RefusedError(
                    f"attempt {attempt} at the run {run_id} has no trending list and cannot be committed"
                )
            self._write_attempt(txn, attempt, msgspec.structs.replace(row, manifest=dict(manifest)))

    def manifest(self, run_id: str) -> Manifest | None:
        """See `ListStore`."""
        with self._reading() as txn:
            for attempt, row in reversed(self._all_attempts(txn)):
                if row.run_id == run_id and row.manifest is not None:
                    return Manifest(attempt, row.manifest)
        return None

    def go_live(self, run_id: str, attempt: int, *, surface: str = HOME, allow_older: bool = False) -> Live:
        """See `ListStore`."""
        what = f"attempt {attempt} at the run {run_id}"
        with self._writing() as txn:
            before = self._live(txn, surface)
            if before is not None and (before.run_id, before.attempt) == (run_id, attempt):
                return before
            row = self._attempt(txn, attempt)
            if row is None or row.run_id != run_id or row.manifest is None:
                raise RefusedError(f"{what} has no manifest and cannot go live")
            if not allow_older:
                if txn.get(run_id.encode(), db=self._newest) != _key(attempt):
                    raise RefusedError(f"{what} was overtaken by a newer attempt and cannot go live")
                if before is not None and run_day(run_id) < run_day(before.run_id):
                    raise RefusedError(f"the run {run_id} is of an older day than the live run {before.run_id}")
                if before is not None and attempt < before.attempt:
                    raise RefusedError(f"{what} is older than attempt {before.attempt} of the live run {before.run_id}")
            live = Live(run_id, attempt, before.move + 1 if before is not None else 1, datetime.now(UTC))
            txn.put(surface.encode(), msgspec.json.encode(live), db=self._pointers)
        return live

    def live(self, surface: str = HOME) -> Live | None:
        """See `ListStore`."""
        with self._reading() as txn:
            return self._live(txn, surface)

    def live_list(self, user_id: int, surface: str = HOME) -> Answered | None:
        """See `ListStore`."""
        user = user_id.to_bytes(8, "big")
        with self._reading() as txn:
            live = self._live(txn, surface)
            if live is None:
                return None
            attempt = _key(live.attempt)
            data = self._list(txn, attempt, user)
            if data is not None and txn.get(user, db=self._forgotten) is not None:
                data = None
            return Answered(live, data, txn.get(attempt, b"", self._trending))

    def of_user(self, user_id: int, surface: str = HOME, at: Live | None = None) -> tuple[Answered, Stated] | None:
        """Pointer, list, trending list and the user's state in one snapshot, of the live attempt or of another.

        No list is read of a user who was forgotten or has opted out. `None` before the first run went live, or where
        that other attempt is no longer kept.
        """
        user = user_id.to_bytes(8, "big")
        with self._reading() as txn:
            live = at or self._live(txn, surface)
            attempt = _key(live.attempt) if live is not None else b""
            trending = txn.get(attempt, db=self._trending) if live is not None else None
            if live is None or trending is None:
                return None
            stated, data = self._state(txn, user), None
            if not stated.state.has_no_list:
                data = self._list(txn, attempt, user)
                if data is not None and txn.get(user, db=self._forgotten) is not None:
                    data = None
            return Answered(live, data, trending), stated

    def forget_user(self, user_id: int) -> int:
        """See `ListStore`."""
        user = user_id.to_bytes(8, "big")
        with self._writing() as txn:
            if txn.put(user, b"", db=self._forgotten, overwrite=False):
                self._write_state(txn, user, Stated(FORGOTTEN, self._state(txn, user).version + 1))
            return sum(self._forget(txn, _key(attempt), user) for attempt, _ in self._all_attempts(txn))

    def forgotten(self) -> frozenset[int]:
        """See `ListStore`."""
        with self._reading() as txn, txn.cursor(self._forgotten) as cursor:
            return frozenset(int.from_bytes(user, "big") for user, _ in cursor)

    def state(self, user_id: int) -> Stated:
        """See `ListStore`."""
        with self._reading() as txn:
            return self._state(txn, user_id.to_bytes(8, "big"))

    def put_state(self, user_id: int, state: UserState, version: int) -> bool:
        """See `ListStore`."""
        user = user_id.to_bytes(8, "big")
        with self._writing() as txn:
            if txn.get(user, db=self._forgotten) is not None:
                raise RefusedError(f"user {user_id} was forgotten, and nothing is kept about them any more")
            if self._state(txn, user).version != version:
                return False
            self._write_state(txn, user, Stated(state, version + 1))
        return True

    def drop_runs(self, keep: int) -> list[str]:
        """See `ListStore`."""
        with self._writing() as txn:
            attempts = dict(self._all_attempts(txn))
            doomed = sorted(set(attempts) - self._kept(txn, attempts, keep))
            for attempt in doomed:
                # From here on nobody writes to it or takes it live, should we be killed in the middle.
                gone = msgspec.structs.replace(attempts[attempt], manifest=None, is_dropped=True)
                self._write_attempt(txn, attempt, gone)
        for attempt in doomed:
            self._delete_lists(attempt)
            with self._writing() as txn:
                txn.delete(_key(attempt), db=self._trending)
                txn.delete(_key(attempt), db=self._attempts)
                name = attempts[attempt].run_id.encode()
                if txn.get(name, db=self._newest) == _key(attempt):
                    txn.delete(name, db=self._newest)
        return runs_gone({attempt: row.run_id for attempt, row in attempts.items()}, doomed)

    def _kept(self, txn: "lmdb.Transaction[bytes]", attempts: dict[int, _Attempt], keep: int) -> set[int]:
        """The attempts that retention leaves alone."""
        with txn.cursor(self._pointers) as cursor:
            live = {_LIVE.decode(data).attempt for _, data in cursor}
        with txn.cursor(self._newest) as cursor:
            newest = {run_id.decode(): int.from_bytes(attempt, "big") for run_id, attempt in cursor}
        committed = [attempt for attempt, row in attempts.items() if row.manifest is not None]
        return kept({attempt: row.run_id for attempt, row in attempts.items()}, newest, committed, live, keep)

    def _delete_lists(self, attempt: int) -> None:
        for database in (self._places, self._lists):
            is_left = True
            while is_left:
                with self._writing() as txn, txn.cursor(database) as cursor:
                    is_left = _delete_some(cursor, _key(attempt))

    def _put(self, txn: "lmdb.Transaction[bytes]", front: bytes, turn: list[tuple[int, bytes]]) -> None:
        """Write the lists of these users: over their old ones, or else behind all others of the attempt."""
        written = {front + user_id.to_bytes(8, "big"): data for user_id, data in turn}
        with txn.cursor(self._places) as places, txn.cursor(self._lists) as lists:
            old = dict(places.getmulti(list(written)))
            free = _free_place(lists, front)
            new = {user: _key(free + place) for place, user in enumerate(user for user in written if user not in old)}
            is_last = not lists.last() or lists.key()[:8] <= front
            lists.putmulti([(front + place, written[user]) for user, place in old.items()])
            lists.putmulti([(front + place, written[user]) for user, place in new.items()], append=is_last)
            places.putmulti(list(new.items()))

    def _list(self, txn: "lmdb.Transaction[bytes]", front: bytes, user: bytes) -> bytes | None:
        place = txn.get(front + user, db=self._places)
        return None if place is None else txn.get(front + place, db=self._lists)

    def _forget(self, txn: "lmdb.Transaction[bytes]", front: bytes, user: bytes) -> bool:
        place = txn.pop(front + user, db=self._places)
        return place is not None and txn.delete(front + place, db=self._lists)

    def _state(self, txn: "lmdb.Transaction[bytes]", user: bytes) -> Stated:
        data = txn.get(user, db=self._states)
        return NOBODY if data is None else _STATED.decode(data)

    def _write_state(self, txn: "lmdb.Transaction[bytes]", user: bytes, stated: Stated) -> None:
        txn.put(user, msgspec.json.encode(stated), db=self._states)

    def _check_open(self, run_id: str, attempt: int) -> None:
        with self._reading() as txn:
            self._may_write(txn, run_id, attempt)

    def _may_write(self, txn: "lmdb.Transaction[bytes]", run_id: str, attempt: int) -> _Attempt:
        """The attempt's row, if it is the newest at its run and neither committed nor dropped.

        Raises:
            RefusedError: if it is not.
        """
        row, what = self._attempt(txn, attempt), f"attempt {attempt} at the run {run_id}"
        if row is None or row.run_id != run_id or row.is_dropped:
            raise RefusedError(f"{what} is not open in {self._path}: it was dropped, or never opened")
        newest = int.from_bytes(txn.get(run_id.encode(), b"", self._newest), "big")
        if newest != attempt:
            raise RefusedError(f"{what} was overtaken by attempt {newest} and may not write any more")
        if row.manifest is not None:
            raise RefusedError(f"{what} is committed and may not be changed any more")
        return row

    def _attempt(self, txn: "lmdb.Transaction[bytes]", attempt: int) -> _Attempt | None:
        data = txn.get(_key(attempt), db=self._attempts)
        return None if data is None else _ATTEMPT.decode(data)

    def _write_attempt(self, txn: "lmdb.Transaction[bytes]", attempt: int, row: _Attempt) -> None:
        txn.put(_key(attempt), msgspec.json.encode(row), db=self._attempts)

    def _all_attempts(self, txn: "lmdb.Transaction[bytes]") -> list[tuple[int, _Attempt]]:
        with txn.cursor(self._attempts) as cursor:
            return [(int.from_bytes(key, "big"), _ATTEMPT.decode(data)) for key, data in cursor]

    def _live(self, txn: "lmdb.Transaction[bytes]", surface: str) -> Live | None:
        data = txn.get(surface.encode(), db=self._pointers)
        if data is None:
            return None
        if self._last_live is None or self._last_live[0] != data:
            self._last_live = (data, _LIVE.decode(data))
        return self._last_live[1]

    @contextmanager
    def _reading(self) -> "Iterator[lmdb.Transaction[bytes]]":
        with self._in_words(), self._environment.begin() as txn:
            yield txn

    @contextmanager
    def _writing(self) -> "Iterator[lmdb.Transaction[bytes]]":
        with self._in_words(), self._environment.begin(write=True) as txn:
            yield txn

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except lmdb.MapFullError:
            raise UnavailableError(f"the list store {self._path} is full: its map has no room left") from None
        except lmdb.DiskError:
            raise UnavailableError(f"there is no space left on the disk of the list store {self._path}") from None
        except (lmdb.Error, OSError) as error:
            raise UnavailableError(f"the list store {self._path} cannot be used ({error})") from None

    def _identity_now(self) -> tuple[int, int] | None:
        try:
            status = self._file.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino


def _key(attempt: int) -> bytes:
    return attempt.to_bytes(8, "big")


def _range(cursor: "lmdb.Cursor[bytes]", front: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The entries whose key begins so, in order."""
    if not cursor.set_range(front):
        return
    for key, data in cursor:
        if not key.startswith(front):
            return
        yield key, data


def _free_place(lists: "lmdb.Cursor[bytes]", front: bytes) -> int:
    """The first place behind an attempt's lists."""
    is_before_another = lists.set_range(_key(int.from_bytes(front, "big") + 1))
    is_any = lists.prev() if is_before_another else lists.last()
    return int.from_bytes(lists.key()[8:], "big") + 1 if is_any and lists.key().startswith(front) else 0


def _delete_some(cursor: "lmdb.Cursor[bytes]", front: bytes) -> bool:
    """Delete entries whose key begins so; whether some may be left."""
    if not cursor.set_range(front):
        return False
    return all(cursor.key().startswith(front) and cursor.delete() for _ in range(_DELETES_A_TURN))
