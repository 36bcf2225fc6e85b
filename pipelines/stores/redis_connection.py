"""One connection to Redis that all requests of an event loop share.

Replies come in the order of the commands, so a command is a few bytes written and a place in a queue: a tenth of what
a connection taken from a pool for each command costs, and a server that hangs has one connection of ours, not many.
A command that is given up leaves its place in the queue. A connection that was silent too long is closed, which ends
all that wait; the next command opens another. Commands with a deadline wait equally long, so that one timer does for
all of them: a timer for each would cost more than all else here.
"""

import asyncio
from collections import deque
from typing import Any, cast

import hiredis

from pipelines.errors import UnavailableError
from pipelines.stores.unheard import take_notice

_MOST_WAITING = 10_000
# After which a connection counts as silent, and one that is being opened as failed; longer where a deadline is.
_SILENT_SECONDS = 1.0
_Argument = str | bytes | int


class RedisConnection:
    """Commands to one server, from one event loop."""

    def __init__(
        self,
        host: str,
        port: int,
        database: int,
        *,
        user: str = "",
        password: str = "",
        deadline_seconds: float = _SILENT_SECONDS,
    ) -> None:
        """Nothing is opened before the first command; `deadline_seconds`: of what is asked with `ask`."""
        self._deadline_seconds = deadline_seconds
        self._silent_seconds = max(_SILENT_SECONDS, deadline_seconds)
        self._host, self._port, self._database = host, port, database
        self._credentials = [part for part in (user, password) if part]
        self._line: _Line | None = None
        self._opening: asyncio.Task[_Line] | None = None

    async def call(self, *command: _Argument) -> Any:
        """The reply to a command: bytes, numbers, `None`, lists of these.

        Raises:
            UnavailableError: if the server cannot be reached, hangs up, or refuses.
        """
        line = self._line
        if line is None or not line.is_usable():
            # Whoever is given up meanwhile does not end the opening for the others.
            line = await asyncio.shield(self._reopen())
        return await line.send(command)

    async def ask(self, *command: _Argument) -> Any:
        """As `call`, within the deadline.

        Raises:
            UnavailableError: also if the reply does not come in time.
        """
        line = self._line
        if line is None or not line.is_usable():
            try:
                async with asyncio.timeout(self._deadline_seconds):
                    line = await asyncio.shield(self._reopen())
            except TimeoutError:
                raise UnavailableError(f"Redis at {self._host}:{self._port} does not answer") from None
        return await line.send(command, is_urgent=True)

    async def close(self) -> None:
        """Hang up."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        if self._line is not None:
            self._line.hang_up()
            self._line = None

    def _reopen(self) -> "asyncio.Task[_Line]":
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._open())
            self._opening.add_done_callback(take_notice)
        return self._opening

    async def _open(self) -> "_Line":
        place = f"{self._host}:{self._port}"
        if self._line is not None:
            self._line.hang_up()
            self._line = None
        try:
            async with asyncio.timeout(self._silent_seconds):
                _, line = await asyncio.get_running_loop().create_connection(
                    lambda: _Line(place, self._deadline_seconds, self._silent_seconds), self._host, self._port
                )
                try:
                    if self._credentials:
                        await line.send(("AUTH", *self._credentials))
                    if self._database:
                        await line.send(("SELECT", self._database))
                except BaseException:
                    line.hang_up()
                    raise
        except TimeoutError:
            raise UnavailableError(f"Redis at {place} does not answer") from None
        except OSError as error:
            raise UnavailableError(f"Redis at {place} cannot be reached: {error.strerror or error}") from None
        self._line = line
        return line


class _Line(asyncio.Protocol):
    """An open connection, and who waits for its replies."""

    def __init__(self, place: str, deadline_seconds: float, silent_seconds: float) -> None:
        self._place = place
        self._deadline_seconds = deadline_seconds
        self._silent_seconds = silent_seconds
        # What is urgent, by when: in the order in which it was asked, answered or not.
        self._due: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader()
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._transport: asyncio.Transport | None = None
        self._silent_since = 0.0
        self._unsent: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(UnavailableError(f"Redis at {self._place} hung up"))

    def data_received(self, data: bytes) -> None:
        self._silent_since = self._loop.time()
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                future = self._waiting.popleft()
                if future.done():
                    continue
                if isinstance(reply, hiredis.ReplyError):
                    future.set_exception(UnavailableError(f"Redis at {self._place} refuses: {reply}"))
                else:
                    future.set_result(reply)
        except (hiredis.ProtocolError, IndexError):
            self.hang_up()  # whoever speaks there is no Redis

    def is_usable(self) -> bool:
        """Whether it is open, and not silent for too long while somebody waits."""
        if self._transport is None or self._transport.is_closing():
            return False
        return not self._waiting or self._loop.time() - self._silent_since < self._silent_seconds

    def hang_up(self) -> None:
        """End the connection now; whoever waits is told."""
        if self._transport is not None:
            self._transport.abort()

    def send(self, command: tuple[_Argument, ...], *, is_urgent: bool = False) -> asyncio.Future[Any]:
        """The reply to a command, when it comes; of one that is urgent, an error when the deadline does."""
        if self._transport is None or self._transport.is_closing():
            raise UnavailableError(f"Redis at {self._place} hung up")
        if len(self._waiting) >= _MOST_WAITING:
            raise UnavailableError(f"too many requests wait for Redis at {self._place}")
        if not self._waiting:
            self._silent_since = self._loop.time()
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append(future)
        if is_urgent:
            self._due.append((self._loop.time() + self._deadline_seconds, future))
            if self._timer is None:
                self._timer = self._loop.call_later(self._deadline_seconds, self._give_up)
        if not self._unsent:
            self._loop.call_soon(self._send_all)
        self._unsent.append(hiredis.pack_command(command))  # type: ignore[arg-type]  # its stub knows one argument
        return future

    def _send_all(self) -> None:
        """Write what was asked in this turn of the loop: many commands cost the system little more than one."""
        data, self._unsent = b"".join(self._unsent), []
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _give_up(self) -> None:
        """Tell whoever waits beyond the deadline; look again when the next who still waits is due."""
        due, now, self._timer = self._due, self._loop.time(), None
        while due and (due[0][1].done() or due[0][0] <= now):
            _, future = due.popleft()
            if not future.done():
                milliseconds = 1000 * self._deadline_seconds
                future.set_exception(
                    UnavailableError(f"Redis at {self._place} did not answer in {milliseconds:.0f} ms")
                )
        if due:
            self._timer = self._loop.call_later(due[0][0] - now, self._give_up)
