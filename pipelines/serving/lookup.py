"""The live lists for the handlers: opened when the endpoint starts, closed when it stops."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from pipelines.errors import UnavailableError
from pipelines.stores.hop_times import HopTimes
from pipelines.stores.interface import HOME, Live
from pipelines.stores.lookup import Change, Found, Lookup
from pipelines.stores.user_state import UserState

OpenLookup = Callable[[], Awaitable[Lookup]]


class LiveLists:
    """A lookup; a surface that has no pointer of its own has that of the home page."""

    def __init__(self, open_lookup: OpenLookup) -> None:
        self._open_lookup = open_lookup
        self._lookup: Lookup | None = None

    async def open(self) -> None:
        """Open the lookup, in the event loop of the endpoint."""
        self._lookup = await self._open_lookup()

    async def find(self, user_id: int, surface: str = HOME, at: Live | None = None) -> Found | None:
        """See `Lookup.find`."""
        lookup = self._opened()
        if surface != HOME:
            with suppress(UnavailableError):
                found = await lookup.find(user_id, surface, at)
                if found is not None:
                    return found
        return await lookup.find(user_id, HOME, at)

    async def live(self, surface: str = HOME) -> Live | None:
        """See `Lookup.live`."""
        return await self._opened().live(surface)

    async def state(self, user_id: int) -> UserState:
        """See `Lookup.state`."""
        return await self._opened().state(user_id)

    async def change_state(self, user_id: int, change: Change) -> UserState:
        """See `Lookup.change_state`."""
        return await self._opened().change_state(user_id, change)

    def hops(self) -> Mapping[str, HopTimes]:
        """See `Lookup.hops`."""
        return {} if self._lookup is None else self._lookup.hops()

    async def close(self) -> None:
        """Let go of the lookup."""
        if self._lookup is not None:
            await self._lookup.close()
            self._lookup = None

    def _opened(self) -> Lookup:
        if self._lookup is None:
            raise UnavailableError("the endpoint is not open")
        return self._lookup
