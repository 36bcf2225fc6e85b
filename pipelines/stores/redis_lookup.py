"""What a lookup reads from Redis, and puts into a hot copy: one turn for a user's list, state and mark."""

import hashlib

import msgspec

from pipelines.errors import UnavailableError
from pipelines.stores.interface import Live
from pipelines.stores.reads import OfUser
from pipelines.stores.redis_address import parse_redis_address
from pipelines.stores.redis_connection import RedisConnection
from pipelines.stores.redis_keys import POINTERS, forgotten_key, list_key, state_key, trending_key
from pipelines.stores.redis_scripts import COPY_POINTER, COPY_STATE, FORGET, KEEP_USER, READ_USER
from pipelines.stores.user_state import FORGOTTEN, NOBODY, Stated

_DAY_SECONDS = 86400
_LIVE = msgspec.json.Decoder(Live)
_STATED = msgspec.json.Decoder(Stated)
_FORGOTTEN = Stated(FORGOTTEN, 0)
_READ_USER_DIGEST = hashlib.sha1(READ_USER.encode(), usedforsecurity=False).hexdigest()  # how Redis names a script


class RedisReads:
    """A `pipelines.stores.reads.Copies` over one database of a Redis server."""

    name = "redis"

    def __init__(
        self, address: str, *, password: str, expiry_days: int, is_hot: bool, deadline_seconds: float = 1.0
    ) -> None:
        """Nothing is opened before the first read.

        Args:
            address: as in the settings.
            password: of the server; may be empty.
            expiry_days: after which what is put in expires.
            is_hot: whether it is a copy, in which the absence of a state says nothing.
            deadline_seconds: of reads of one user, and of what is said of one.

        Raises:
            UsageError: if the address is of another form.
        """
        place = parse_redis_address(address)
        self._connection = RedisConnection(
            place.host,
            place.port,
            place.database,
            user=place.user,
            password=password,
            deadline_seconds=deadline_seconds,
        )
        self._expiry_seconds = expiry_days * _DAY_SECONDS
        self._unstated = None if is_hot else NOBODY

    async def live(self, surface: str) -> Live | None:
        """See `Reads`."""
        data = await self._connection.call("HGET", POINTERS, surface)
        try:
            return None if data is None else _LIVE.decode(data)
        except msgspec.MsgspecError:
            raise UnavailableError(f"the pointer of {surface!r} in Redis cannot be read") from None

    async def trending(self, live: Live) -> bytes | None:
        """See `Reads`."""
        data: bytes | None = await self._connection.ask("GET", trending_key(live.attempt))
        return data

    async def of_user(self, attempt: int, user_id: int) -> OfUser:
        """See `Reads`. A state that cannot be read is one that is not known."""
        try:
            reply = await self._connection.ask("EVALSHA", _READ_USER_DIGEST, 0, attempt, user_id)
        except UnavailableError as error:
            if "NOSCRIPT" not in str(error):
                raise
            reply = await self._connection.ask("EVAL", READ_USER, 0, attempt, user_id)
        data, stated, is_forgotten = reply
        if is_forgotten:
            return OfUser(None, _FORGOTTEN)
        known = self._unstated if stated is None else _readable(stated)
        if known is not None and known.state.is_forgotten:
            return OfUser(None, known)
        return OfUser(data, known)

    async def state(self, user_id: int) -> Stated | None:
        """See `Reads`."""
        stated, mark = await self._connection.ask("MGET", state_key(user_id), forgotten_key(user_id))
        if mark is not None:
            return _FORGOTTEN
        return self._unstated if stated is None else _readable(stated)

    async def keep_live(self, surface: str, live: Live, trending: bytes) -> None:
        """See `Copies`."""
        await self._connection.call("SET", trending_key(live.attempt), trending, "EX", self._expiry_seconds)
        await self._connection.call("EVAL", COPY_POINTER, 0, surface, msgspec.json.encode(live), live.move)

    async def keep_user(self, attempt: int, user_id: int, found: OfUser) -> None:
        """See `Copies`. The mark of a forgotten user, should it be lost, is put back."""
        state, version = found.stated or NOBODY
        if state.is_forgotten:
            await self._connection.call("EVAL", FORGET, 0, user_id, msgspec.json.encode(state))
            await self._connection.call("DEL", list_key(attempt, user_id))
        else:
            stated = msgspec.json.encode(Stated(state, version))
            values = (attempt, user_id, found.user_list or b"", stated, version, self._expiry_seconds)
            await self._connection.call("EVAL", KEEP_USER, 0, *values)

    async def keep_state(self, user_id: int, stated: Stated) -> None:
        """See `Copies`."""
        data = msgspec.json.encode(stated)
        await self._connection.ask("EVAL", COPY_STATE, 0, user_id, data, stated.version, self._expiry_seconds)

    async def close(self) -> None:
        """See `Reads`."""
        await self._connection.close()


def _readable(stated: bytes) -> Stated | None:
    try:
        return _STATED.decode(stated)
    except msgspec.MsgspecError:
        return None
