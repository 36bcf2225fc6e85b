"""Lookups in an embedded store: one read of a memory map, tens of microseconds, made in the event loop.

Handing it to a thread would cost more. What a user says is written in a thread: it waits for the disk.
"""

import asyncio
import time
from collections.abc import Callable, Mapping

from pipelines.errors import UnavailableError
from pipelines.stores.embedded import EmbeddedStore
from pipelines.stores.hop_times import HopTimes
from pipelines.stores.interface import HOME, Live
from pipelines.stores.lookup import Change, Found
from pipelines.stores.state_changes import changed
from pipelines.stores.user_state import UserState

_LOOK_AGAIN_SECONDS = 0.1
_WRITE_DEADLINE_SECONDS = 3.0


class EmbeddedLookup:
    """A `pipelines.stores.lookup.Lookup`; it opens the store when there is one, again when another took its place."""

    def __init__(self, open_store: Callable[[], EmbeddedStore]) -> None:
        """Nothing is opened yet: the store may come later."""
        self._open_store = open_store
        self._store: EmbeddedStore | None = None
        self._look_again_at = 0.0
        self._times = HopTimes()
        # A store is not closed while a thread writes to it, however it is meanwhile.
        self._writing: dict[EmbeddedStore, int] = {}
        self._left: set[EmbeddedStore] = set()

    async def find(self, user_id: int, surface: str = HOME, at: Live | None = None) -> Found | None:
        """See `Lookup`."""
        began = time.perf_counter()
        try:
            found = self._current().of_user(user_id, surface, at)
        except UnavailableError:
            self._fail()
            raise
        self._times.took(time.perf_counter() - began)
        if found is None:
            return None
        answered, stated = found
        return Found(answered.live, answered.user_list, answered.trending, stated.state, "embedded")

    async def live(self, surface: str = HOME) -> Live | None:
        """See `Lookup`."""
        try:
            return self._current().live(surface)
        except UnavailableError:
            self._fail()
            raise

    async def state(self, user_id: int) -> UserState:
        """See `Lookup`."""
        try:
            return self._current().state(user_id).state
        except UnavailableError:
            self._fail()
            raise

    async def change_state(self, user_id: int, change: Change) -> UserState:
        """See `Lookup`."""
        store = self._current()
        self._writing[store] = self._writing.get(store, 0) + 1
        writing = asyncio.create_task(asyncio.to_thread(changed, store, user_id, change))
        writing.add_done_callback(lambda task: self._wrote(store, task))
        try:
            async with asyncio.timeout(_WRITE_DEADLINE_SECONDS):
                return (await asyncio.shield(writing)).state
        except TimeoutError:
            raise UnavailableError("the list store did not take what a user said in time") from None

    def hops(self) -> Mapping[str, HopTimes]:
        """See `Lookup`."""
        return {"embedded": self._times}

    async def close(self) -> None:
        """Let go of the store; the next request opens it again."""
        while self._writing:
            await asyncio.sleep(0.01)
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

    def _fail(self) -> None:
        self._times.failure_count += 1
        self._let_go()

    def _let_go(self) -> None:
        store, self._store = self._store, None
        if store is None:
            return
        if store in self._writing:
            self._left.add(store)
        else:
            store.close()

    def _wrote(self, store: EmbeddedStore, task: "asyncio.Task[object]") -> None:
        if not task.cancelled():
            task.exception()  # whoever waited has heard it
        self._writing[store] -= 1
        if not self._writing[store]:
            del self._writing[store]
            if store in self._left:
                self._left.remove(store)
                store.close()
