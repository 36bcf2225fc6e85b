"""What a lookup reads from Cassandra, without a thread for each request.

The driver calls back in its own thread, which hands the answer to the event loop. A session takes about a second to
open and is opened in a thread, once for all who ask meanwhile; the endpoint runs before Cassandra does.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC
from typing import Any, NamedTuple

import msgspec
from cassandra import ConsistencyLevel
from cassandra.cluster import Cluster, ResponseFuture, Session
from cassandra.query import PreparedStatement

from pipelines.errors import UnavailableError
from pipelines.stores.cassandra_session import LOOKUP, connect, in_words, parse_address, sentence
from pipelines.stores.cassandra_statements import STATEMENTS
from pipelines.stores.interface import Live
from pipelines.stores.places import Places
from pipelines.stores.reads import OfUser
from pipelines.stores.unheard import take_notice
from pipelines.stores.user_state import NOBODY, Stated, UserState

_MOST_ASKING = 512  # more than a deadline's worth of requests wait for a store that hangs
_STATE = msgspec.json.Decoder(UserState)


class _Open(NamedTuple):
    cluster: Cluster
    session: Session
    live: PreparedStatement
    trending: PreparedStatement
    user_list: PreparedStatement
    state: PreparedStatement


class CassandraReads:
    """A `pipelines.stores.reads.Reads` over a keyspace."""

    name = "cassandra"

    def __init__(self, places: Places, *, request_seconds: float = 1.0) -> None:
        """Nothing is opened before the first read.

        Args:
            places: where the keyspace is.
            request_seconds: after which the driver gives a request up, whoever waits for it.

        Raises:
            UsageError: if the address is of another form.
        """
        self._address = parse_address(places.lists)
        self._places = places
        self._request_seconds = request_seconds
        self._open: _Open | None = None
        self._opening: asyncio.Task[_Open] | None = None
        self._asking_count = 0

    async def live(self, surface: str) -> Live | None:
        """See `Reads`."""
        session = await self._opened()
        row = await self._ask(session, session.live, (surface,))
        if row is None or row.run_id is None:
            return None
        return Live(row.run_id, row.attempt, row.move, row.moved_at.replace(tzinfo=UTC))

    async def trending(self, live: Live) -> bytes | None:
        """See `Reads`."""
        session = await self._opened()
        row = await self._ask(session, session.trending, (live.run_id, live.attempt))
        return None if row is None else row.trending

    async def of_user(self, attempt: int, user_id: int) -> OfUser:
        """See `Reads`."""
        session = await self._opened()
        stated = await self._stated(session, user_id)
        # One after the other: the list of who has opted out is not to be read.
        if stated.state.has_no_list:
            return OfUser(None, stated)
        row = await self._ask(session, session.user_list, (attempt, user_id))
        return OfUser(None if row is None else row.data, stated)

    async def state(self, user_id: int) -> Stated:
        """See `Reads`."""
        return await self._stated(await self._opened(), user_id)

    async def _stated(self, session: _Open, user_id: int) -> Stated:
        row = await self._ask(session, session.state, (user_id,))
        return NOBODY if row is None else Stated(_state(row.state), row.version)

    async def close(self) -> None:
        """See `Reads`."""
        if self._opening is not None:
            await asyncio.gather(self._opening, return_exceptions=True)
        if self._open is not None:
            await asyncio.to_thread(self._open.cluster.shutdown)
            self._open = None

    async def _opened(self) -> _Open:
        """The session; opened where there is none. Whoever gives up does not end the opening for the others."""
        if self._open is not None:
            return self._open
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._connect())
            self._opening.add_done_callback(take_notice)
        return await asyncio.shield(self._opening)

    async def _connect(self) -> _Open:
        self._open = await asyncio.to_thread(_connect, self._places)
        return self._open

    def _ask(self, session: _Open, statement: PreparedStatement, values: tuple[Any, ...]) -> asyncio.Future[Any]:
        """The one row of an answer, or `None`, when it comes.

        Raises:
            UnavailableError: if too many wait, or there is nobody to ask.
        """
        if self._asking_count >= _MOST_ASKING:
            raise UnavailableError(f"too many requests wait for {self._address}")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        with in_words(self._address):
            response: ResponseFuture = session.session.execute_async(
                statement, values, timeout=self._request_seconds, execution_profile=LOOKUP
            )
        self._asking_count += 1

        def hand_over(take: Callable[[asyncio.Future[Any], Any], None], what: Any) -> None:
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(take, future, what)

        response.add_callbacks(
            lambda rows: hand_over(self._answered, rows), lambda error: hand_over(self._failed, error)
        )
        return future

    def _answered(self, future: asyncio.Future[Any], rows: Any) -> None:
        self._asking_count -= 1
        if not future.done():
            future.set_result(rows[0] if rows else None)

    def _failed(self, future: asyncio.Future[Any], error: BaseException) -> None:
        self._asking_count -= 1
        if not future.done():
            future.set_exception(UnavailableError(sentence(error, self._address)))


def _connect(places: Places) -> _Open:
    cluster, session = connect(places)
    try:
        with in_words(parse_address(places.lists)):
            live = session.prepare(STATEMENTS["pointer"])
            trending = session.prepare(STATEMENTS["trending"])
            # Seldom read, in the background: a replica that was away must not answer for the others.
            live.consistency_level = trending.consistency_level = ConsistencyLevel.LOCAL_QUORUM
            return _Open(
                cluster,
                session,
                live,
                trending,
                session.prepare(STATEMENTS["list"]),
                session.prepare(STATEMENTS["state"]),
            )
    except BaseException:
        cluster.shutdown()
        raise


def _state(data: str) -> UserState:
    try:
        return _STATE.decode(data)
    except msgspec.MsgspecError:
        raise UnavailableError("the state of a user in Cassandra cannot be read") from None
