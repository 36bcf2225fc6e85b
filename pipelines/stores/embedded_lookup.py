"""Lookups in an embedded store: one read of a memory map, tens of microseconds, made in the event loop.

Handing it to a thread would cost more.
"""

import time
from collections.abc import Callable

from pipelines.errors import UnavailableError
from pipelines.stores.embedded import EmbeddedStore
from pipelines.stores.interface import HOME
from pipelines.stores.lookup import Found

_LOOK_AGAIN_SECONDS = 0.1


class EmbeddedLookup:
    """A `pipelines.stores.lookup.Lookup`; it opens the store when there is one, again when another took its place."""

    def __init__(self, open_store: Callable[[], EmbeddedStore]) -> None:
        """Nothing is opened yet: the store may come later."""
        self._open_store = open_store
        self._store: EmbeddedStore | None = None
        self._look_again_at = 0.0

    async def find(self, user_id: int, surface: str = HOME) -> Found | None:
        """See `Lookup`."""
        try:
            store = self._current()
            answered = store.live_list(user_id, surface)
            if answered is None:
                return None
            # Read after the list: somebody who was forgotten in between is seen here.
            state = store.state(user_id).state
        except UnavailableError:
            self._let_go()
            raise
        user_list = None if state.is_forgotten else answered.user_list
        return Found(answered.live, user_list, answered.trending, state, "embedded")

    async def close(self) -> None:
        """Let go of the store; the next request opens it again."""
        self._let_go()

    def _current(self) -> EmbeddedStore:
        """The store that is at its place now, or was a moment ago."""
        now = time.monotonic()
        if now >= self._look_again_at:
            self._look_again_at = now + _LOOK_AGAIN_SECONDS
            if self._store is not None and not self._store.is_current():
                self._let_go()
        if self._store is None:
            self._store = self._open_store()
        return self._store

    def _let_go(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None
