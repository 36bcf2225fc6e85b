"""The live lists for the handlers: what the stores cannot give is a problem of HTTP."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus

from pipelines.errors import UnavailableError
from pipelines.serving.problems import ProblemError
from pipelines.stores.lookup import Found, Lookup

_RETRY_SECONDS = 5
OpenLookup = Callable[[], Awaitable[Lookup]]


class LiveLists:
    """A lookup, opened when the endpoint starts and closed when it stops."""

    def __init__(self, open_lookup: OpenLookup) -> None:
        self._open_lookup = open_lookup
        self._lookup: Lookup | None = None

    async def open(self) -> None:
        """Open the lookup, in the event loop of the endpoint."""
        self._lookup = await self._open_lookup()

    async def find(self, user_id: int) -> Found:
        """What the live run has for a user.

        Raises:
            ProblemError: 503, if no run is live or no store can be read.
        """
        try:
            found = await self._lookup.find(user_id) if self._lookup is not None else None
        except UnavailableError:
            raise ProblemError(
                HTTPStatus.SERVICE_UNAVAILABLE, "The lists cannot be read at the moment.", retry_after=_RETRY_SECONDS
            ) from None
        if found is None:
            raise ProblemError(
                HTTPStatus.SERVICE_UNAVAILABLE, "No list has been published yet.", retry_after=_RETRY_SECONDS
            )
        return found

    async def close(self) -> None:
        """Let go of the lookup."""
        if self._lookup is not None:
            await self._lookup.close()
            self._lookup = None
