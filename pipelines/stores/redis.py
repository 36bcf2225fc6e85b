"""Lists in Redis: a store of its own, or the hot copy in front of a durable one (`pipelines.stores.pair`).

A list's key begins with its attempt, so that an attempt is written beside all others; what decides who may write and
what is live are a few small hashes that never expire, so that no eviction takes them, changed by scripts that run all
at once. Lists expire. Each complete writing of a part leaves a note of whose lists it wrote, by which all of them are
read back.

As a hot copy it takes over what was decided elsewhere, and never goes back behind what it already has. A state that is
not there says nothing then: it may have expired, or have been lost.
"""

import secrets
import time
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import msgspec
import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.commands.core import Script
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    RedisError,
    WatchError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from pipelines.errors import DataError, RefusedError, UnavailableError
from pipelines.stores import redis_keys as keys
from pipelines.stores import redis_scripts as scripts
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
    tally_of,
)
from pipelines.stores.redis_address import parse_redis_address
from pipelines.stores.retention import kept, runs_gone
from pipelines.stores.user_state import FORGOTTEN, NOBODY, Stated, UserState

_LISTS_A_TURN = 500  # 1 MB: fills the connection, and other clients wait for a few milliseconds
_CONNECT_SECONDS = 2
_ANSWER_SECONDS = 5
_TRIES_MORE = 1
_DAY_SECONDS = 86_400

_LIVE = msgspec.json.Decoder(Live)
_STATED = msgspec.json.Decoder(Stated)
_MANIFEST = msgspec.json.Decoder(dict[str, Any])


class RedisStore:
    """A `pipelines.stores.interface.ListStore` in a Redis database; it connects when it is first used."""

    def __init__(self, address: str, *, password: str = "", expiry_days: int) -> None:
        """Prepare to use `redis://[USER@]HOST[:PORT]/DATABASE`; lists expire so many days after they were written.

        Raises:
            UsageError: if the address is of another form.
        """
        place = parse_redis_address(address)
        self._name = f"the Redis store {place}"
        self._expiry_seconds = expiry_days * _DAY_SECONDS
        # All that we send may be sent again.
        self._retry = Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), _TRIES_MORE)
        self._client = redis.Redis(
            place.host,
            place.port,
            place.database,
            username=place.user or None,
            password=password or None,
            socket_connect_timeout=_CONNECT_SECONDS,
            socket_timeout=_ANSWER_SECONDS,
            retry=self._retry,
        )

    def __enter__(self) -> "RedisStore":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def open_attempt(self, run_id: str) -> int:
        """See `ListStore`."""
        run_day(run_id)
        return int(self._run(scripts.OPEN, run_id))

    def put_many(self, run_id: str, attempt: int, lists: Iterable[tuple[int, bytes]], *, part: str = "0/1") -> Tally:
        """See `ListStore`.

        Raises:
            DataError: if a user id is not between 1 and 2^63 - 1.
        """
        writing, remaining = secrets.token_hex(8).encode(), iter(lists)
        users = keys.users_key(attempt, writing)
        tallies: list[Tally] = []
        self._begin(run_id, attempt)  # also when there is nothing to write
        while turn := list(islice(remaining, _LISTS_A_TURN)):
            if tallies:
                self._begin(run_id, attempt)
            notes = (
                ("HSET", users, len(tallies), array("q", _checked_users(turn)).tobytes()),
                ("EXPIRE", users, self._expiry_seconds),
            )
            tallies.append(self._put(attempt, turn, notes))
        self._must(self._run(scripts.FINISH, run_id, attempt, part, writing, self._expiry_seconds), run_id, attempt)
        return sum_of(tallies)

    def put_trending(self, run_id: str, attempt: int, data: bytes) -> None:
        """See `ListStore`."""
        self._must(self._run(scripts.PUT_TRENDING, run_id, attempt, data), run_id, attempt)

    def tally(self, run_id: str) -> Tally:
        """See `ListStore`."""
        newest = self._do("HGET", keys.NEWEST, run_id)
        if newest is None:
            raise RefusedError(f"there is no attempt at the run {run_id} in {self._name}")
        attempt = int(newest)
        writings = self._do("HVALS", keys.parts_key(attempt))
        return sum_of(
            tally_of(self._read(attempt, users)) for writing in writings for users in self._users(attempt, writing)
        )

    def get(self, run_id: str, user_id: int) -> bytes | None:
        """See `ListStore`."""
        newest = self._do("HGET", keys.NEWEST, run_id)
        if newest is None:
            return None
        data: bytes | None = self._do("GET", keys.list_key(int(newest), user_id))
        return data

    def commit_manifest(self, run_id: str, attempt: int, manifest: Mapping[str, Any]) -> None:
        """See `ListStore`."""
        content = msgspec.json.encode(dict(manifest), order="deterministic")
        self._must(self._run(scripts.COMMIT, run_id, attempt, content), run_id, attempt)

    def manifest(self, run_id: str) -> Manifest | None:
        """See `ListStore`."""
        runs, manifests = self._do_all([("HGETALL", keys.ATTEMPTS), ("HGETALL", keys.MANIFESTS)])
        committed = [int(attempt) for attempt in manifests if runs.get(attempt) == run_id.encode()]
        if not committed:
            return None
        return Manifest(max(committed), _MANIFEST.decode(manifests[b"%d" % max(committed)]))

    def go_live(self, run_id: str, attempt: int, *, surface: str = HOME, allow_older: bool = False) -> Live:
        """See `ListStore`."""
        now = datetime.now(UTC).isoformat()
        said, *data = self._run(scripts.GO_LIVE, surface, run_id, attempt, now, int(allow_older))
        what = f"attempt {attempt} at the run {run_id}"
        if said == b"no manifest":
            raise RefusedError(f"{what} has no manifest and cannot go live")
        if said == b"overtaken":
            raise RefusedError(f"{what} was overtaken by a newer attempt and cannot go live")
        pointer = _LIVE.decode(data[0])
        if said == b"older day":
            raise RefusedError(f"the run {run_id} is of an older day than the live run {pointer.run_id}")
        if said == b"older":
            raise RefusedError(f"{what} is older than attempt {pointer.attempt} of the live run {pointer.run_id}")
        return pointer

    def live(self, surface: str = HOME) -> Live | None:
        """See `ListStore`."""
        data = self._do("HGET", keys.POINTERS, surface)
        return None if data is None else _LIVE.decode(data)

    def live_list(self, user_id: int, surface: str = HOME) -> Answered | None:
        """See `ListStore`; in a hot copy the trending list is empty when it has expired."""
        found = self._run(scripts.LIVE_LIST, surface, user_id)
        if found is None:
            return None
        pointer, user_list, trending = found
        return Answered(_LIVE.decode(pointer), user_list, trending or b"")

    def forget_user(self, user_id: int) -> int:
        """See `ListStore`."""
        return self._forget([user_id])

    def forgotten(self) -> frozenset[int]:
        """See `ListStore`."""
        return frozenset(map(int, self._do("SMEMBERS", keys.FORGOTTEN_USERS)))

    def state(self, user_id: int) -> Stated:
        """See `ListStore`."""
        data = self._do("GET", keys.state_key(user_id))
        return NOBODY if data is None else _STATED.decode(data)

    def put_state(self, user_id: int, state: UserState, version: int) -> bool:
        """See `ListStore`."""
        data = msgspec.json.encode(Stated(state, version + 1))
        (said,) = self._run(scripts.PUT_STATE, user_id, data, version)
        if said == b"forgotten":
            raise RefusedError(f"user {user_id} was forgotten, and nothing is kept about them any more")
        return bool(said == b"done")

    def drop_runs(self, keep: int) -> list[str]:
        """See `ListStore`."""
        with self._in_words(), self._client.pipeline() as pipe:
            while True:
                try:
                    return self._drop(pipe, keep)
                except WatchError:
                    continue

    def adopt_attempt(self, run_id: str, attempt: int, opened_at: datetime) -> None:
        """Take over an attempt that another store opened, under its number; again is no error.

        Raises:
            UsageError: if this is no run id.
        """
        run_day(run_id)
        self._run(scripts.ADOPT, run_id, attempt, int(opened_at.timestamp()))

    def copy_lists(self, attempt: int, lists: Iterable[tuple[int, bytes]]) -> Tally:
        """Write lists of an attempt that another store lets be written; returns the tally of what was given.

        Raises:
            DataError: if a user id is not between 1 and 2^63 - 1.
        """
        remaining = iter(lists)
        tallies: list[Tally] = []
        while turn := list(islice(remaining, _LISTS_A_TURN)):
            _checked_users(turn)
            # An erasure must find these lists, also when the copy is lost while it is made.
            note = ("ZADD", keys.WRITTEN, "GT", int(time.time()), attempt)
            tallies.append(self._put(attempt, turn, [note]))
        return sum_of(tallies)

    def copy_trending(self, attempt: int, data: bytes) -> None:
        """Write the trending list of an attempt of another store; it expires as lists do."""
        self._do("SET", keys.trending_key(attempt), data, "EX", self._expiry_seconds)

    def copy_pointer(self, surface: str, live: Live) -> bool:
        """Let a pointer point where that of another store does, unless ours was already moved as often, or more often.

        Returns whether it was moved.
        """
        return bool(self._run(scripts.COPY_POINTER, surface, msgspec.json.encode(live), live.move))

    def copy_state(self, user_id: int, stated: Stated) -> bool:
        """Keep what another store keeps about a user, unless ours is newer or the user was forgotten; it expires.

        That nothing is kept (`NOBODY`) is copied too: a state that is not there says nothing in a hot copy.
        Returns whether it is now what we keep.
        """
        if stated.state.is_forgotten:
            self.mark_forgotten([user_id])
            return True
        data = msgspec.json.encode(stated)
        return bool(self._run(scripts.COPY_STATE, user_id, data, stated.version, self._expiry_seconds))

    def mark_forgotten(self, user_ids: Iterable[int]) -> None:
        """Forget these users, whom another store was told to forget; those known already cost next to nothing."""
        remaining = iter(user_ids)
        while turn := list(islice(remaining, _LISTS_A_TURN)):
            known = self._do("SMISMEMBER", keys.FORGOTTEN_USERS, *turn)
            self._forget([user_id for user_id, is_known in zip(turn, known, strict=True) if not is_known])

    def _put(self, attempt: int, turn: Sequence[tuple[int, bytes]], notes: Iterable[tuple[Any, ...]]) -> Tally:
        """Write lists, and first what is noted about them."""
        self._do_all([*notes])
        # Packed here: the client's own way costs five times as much a command, more than all else that a list takes.
        expiry = b"%d" % self._expiry_seconds
        end = b"\r\n$2\r\nEX\r\n$%d\r\n%b\r\n" % (len(expiry), expiry)
        packed = []
        for user_id, data in turn:
            key = keys.list_key(attempt, user_id)
            packed.append(b"*5\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b%b" % (len(key), key, len(data), data, end))
        with self._in_words():
            self._retry.call_with_retry(lambda: self._send(b"".join(packed), len(packed)), lambda _: None)
        return Tally(len(turn), sum(checksum(user_id, data) for user_id, data in turn) % 2**64)

    def _send(self, packed: bytes, count: int) -> None:
        """Send so many packed commands together and read as many answers, none of which may be an error."""
        connection = self._client.connection_pool.get_connection()
        try:
            connection.send_packed_command([packed])  # type: ignore[no-untyped-call]
            for _ in range(count):
                connection.read_response()
        except BaseException:
            # What it has still to say belongs to nobody any more.
            connection.disconnect()  # type: ignore[no-untyped-call]
            raise
        finally:
            self._client.connection_pool.release(connection)

    def _users(self, attempt: int, writing: bytes) -> Iterator[Sequence[int]]:
        """Whose lists one writing of a part wrote, a turn at a time."""
        key = keys.users_key(attempt, writing)
        for number in range(self._do("HLEN", key)):
            yield array("q", self._do("HGET", key, number) or b"")

    def _read(self, attempt: int, users: Sequence[int]) -> list[tuple[int, bytes]]:
        """Those of these users' lists that are there."""
        found = self._do("MGET", *(keys.list_key(attempt, user_id) for user_id in users))
        return [(user_id, data) for user_id, data in zip(users, found, strict=True) if data is not None]

    def _forget(self, user_ids: Sequence[int]) -> int:
        """Mark them, then remove what they have; returns how many lists that were."""
        state = msgspec.json.encode(FORGOTTEN)
        attempts: set[int] = set()
        for user_id in user_ids:
            attempts |= set(map(int, self._run(scripts.FORGET, user_id, state)))
        doomed = [keys.list_key(attempt, user_id) for user_id in user_ids for attempt in attempts]
        return sum(self._do_all([("UNLINK", key) for key in doomed])) if doomed else 0

    def _drop(self, pipe: "redis.client.Pipeline", keep: int) -> list[str]:
        # Should a pointer move or an attempt be opened or committed meanwhile, nothing is done, and we begin again.
        pipe.watch(keys.POINTERS, keys.ATTEMPTS, keys.MANIFESTS)  # type: ignore[no-untyped-call]
        attempts: dict[bytes, bytes] = pipe.hgetall(keys.ATTEMPTS)  # type: ignore[assignment]
        runs = {int(attempt): run_id.decode() for attempt, run_id in attempts.items()}
        last: dict[bytes, bytes] = pipe.hgetall(keys.NEWEST)  # type: ignore[assignment]
        newest = {run_id.decode(): int(attempt) for run_id, attempt in last.items()}
        committed = [attempt for attempt in map(int, pipe.hkeys(keys.MANIFESTS)) if attempt in runs]
        live = {_LIVE.decode(data).attempt for data in pipe.hvals(keys.POINTERS)}
        staying = kept(runs, newest, committed, live, keep)
        doomed = sorted(set(runs) - staying)
        pipe.multi()
        for attempt in doomed:
            pipe.hdel(keys.ATTEMPTS, str(attempt))
            pipe.hdel(keys.MANIFESTS, str(attempt))
            pipe.unlink(keys.trending_key(attempt), keys.parts_key(attempt))
            if newest.get(runs[attempt]) == attempt:
                pipe.hdel(keys.NEWEST, runs[attempt])
        # The lists themselves expire; until then an erasure must find them.
        now = int(time.time())
        if staying:
            pipe.zadd(keys.WRITTEN, dict.fromkeys(map(str, staying), now), gt=True)
        pipe.zremrangebyscore(keys.WRITTEN, "-inf", now - self._expiry_seconds - _DAY_SECONDS)
        pipe.execute()
        return runs_gone(runs, doomed)

    def _begin(self, run_id: str, attempt: int) -> None:
        self._must(self._run(scripts.BEGIN, run_id, attempt, int(time.time())), run_id, attempt)

    def _must(self, answer: list[bytes], run_id: str, attempt: int) -> None:
        """Raise `RefusedError` unless a script said that it did what it was asked."""
        said, what = answer[0].decode(), f"attempt {attempt} at the run {run_id}"
        if said == "absent":
            raise RefusedError(f"{what} is not open in {self._name}: it was dropped, or never opened")
        if said == "overtaken":
            raise RefusedError(f"{what} was overtaken by attempt {int(answer[1])} and may not write any more")
        if said == "committed":
            raise RefusedError(f"{what} is committed and may not be changed any more")
        if said == "no trending":
            raise RefusedError(f"{what} has no trending list and cannot be committed")

    def _run(self, script: str, *arguments: bytes | str | int) -> Any:
        with self._in_words():
            return Script(self._client, script)(args=arguments)

    def _do(self, *command: Any) -> Any:
        return self._do_all([command])[0]

    def _do_all(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The answers to commands that are sent together, each for itself."""
        with self._in_words(), self._client.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)  # type: ignore[no-untyped-call]
            answers = pipe.execute(raise_on_error=False)
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
            return answers

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except (AuthenticationError, NoPermissionError):
            raise UnavailableError(f"{self._name} does not let us in: its user name or password is another") from None
        except OutOfMemoryError:
            raise UnavailableError(f"{self._name} is full: its memory limit is reached") from None
        except BusyLoadingError:
            raise UnavailableError(f"{self._name} is not ready: it is still loading its data") from None
        except RedisTimeoutError:
            raise UnavailableError(f"{self._name} does not answer in time") from None
        except (RedisConnectionError, OSError):
            raise UnavailableError(f"{self._name} cannot be reached: nothing answers there") from None
        except WatchError:
            raise
        except RedisError as error:
            raise UnavailableError(f"{self._name} cannot be used ({error})") from None


def _checked_users(turn: Sequence[tuple[int, bytes]]) -> list[int]:
    users = [user_id for user_id, _ in turn]
    least, greatest = min(users), max(users)
    if least < 1 or greatest > LARGEST_USER_ID:
        raise DataError(f"a user id must lie between 1 and 2^63 - 1, not be {least} or {greatest}")
    return users
