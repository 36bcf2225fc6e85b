"""Lookups in a durable store and the hot copy in front of it, each within its deadline; or in one store alone.

What is live is kept in memory, pointer and trending list together, and looked at in the background: often in the hot
copy, less often in the durable store, which is the truth. The larger `move` wins, and a copy that stayed behind is
mended. A list is read under the attempt of the pointer in memory, so no answer is of two runs.

A list that only the durable store had is put into the hot copy in the background: so a copy that was lost fills again
with what is asked for. Where no store answers there is still the trending list.

What a user says is written to the durable store, then to the copy. Should the copy not take it, it is told again until
it does, and until then what was said goes before what the copy holds.
"""

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from pipelines.errors import UnavailableError
from pipelines.stores.hop import Hop
from pipelines.stores.hop_times import HopTimes
from pipelines.stores.interface import HOME, ListStore, Live
from pipelines.stores.lookup import Change, Found
from pipelines.stores.reads import Copies, OfUser, Reads
from pipelines.stores.state_changes import changed
from pipelines.stores.unheard import take_notice
from pipelines.stores.user_state import NOBODY, Stated, UserState

MEMORY = "memory"
# Opening a session is part of the first look. One look that is lost still leaves a rollback its ten seconds.
_LOOK_DEADLINE_SECONDS = 3.0
# Users whose lists wait to be copied; what comes while so many wait is copied when it is asked for again.
MOST_WAITING = 1000
_COPIES_AT_ONCE = 16
_COPY_DEADLINE_SECONDS = 1.0
# Surfaces whose pointers are looked at: callers name them, and each costs a look a second.
_MOST_SURFACES = 16
# Users of whom the hot copy has yet to be told; forgetting one would bring back what was before.
_MOST_UNTOLD = 10_000
_STATE_DEADLINE_SECONDS = 3.0
_STATE_THREADS = 8
_TELL_AGAIN_SECONDS = 0.25


class _Served(NamedTuple):
    live: Live
    trending: bytes


class _Copy(NamedTuple):
    attempt: int
    user_id: int
    found: OfUser


class PairLookup:
    """A `pipelines.stores.lookup.Lookup`; `start` it in the event loop that uses it."""

    def __init__(
        self, durable: Hop[Reads], hot: Hop[Copies] | None = None, open_durable: Callable[[], ListStore] | None = None
    ) -> None:
        """Nothing is asked before `start`.

        Args:
            durable: the truth.
            hot: a copy in front of it.
            open_durable: opens the truth for writing what users say, in a thread and at once.
        """
        self._durable = durable
        self._hot = hot
        self._open_durable = open_durable
        self._store: ListStore | None = None
        self._writers = ThreadPoolExecutor(_STATE_THREADS, "marquee-state")
        self._opening = asyncio.Lock()
        # What users said that the hot copy was not told yet.
        self._untold: dict[int, Stated] = {}
        self._writes: set[asyncio.Task[Stated]] = set()
        self._served: dict[str, _Served] = {}
        # Surfaces that somebody asked for, and of those the ones of which a store has said what is live.
        self._surfaces = {HOME}
        self._known: set[str] = set()
        # The last `move` that the hot copy named, 0 where it has no pointer; nothing while it does not answer.
        self._copied_moves: dict[str, int] = {}
        self._waiting: deque[_Copy] = deque()
        self._is_waiting = asyncio.Event()
        self._troubles: dict[str, str] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, patience_seconds: float = 5.0) -> None:
        """Begin to look at what is live; returns when a store has said it, or nobody did for so long."""
        self._tasks.append(asyncio.create_task(self._keep_looking(self._durable)))
        if self._open_durable is not None:
            self._tasks.append(asyncio.create_task(self._open_early()))
        if self._hot is not None:
            self._tasks.append(asyncio.create_task(self._keep_looking(self._hot)))
            self._tasks.append(asyncio.create_task(self._keep_copying(self._hot)))
            self._tasks.append(asyncio.create_task(self._keep_telling(self._hot)))
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_seconds):
                while HOME not in self._known and self._durable.reads.name not in self._troubles:
                    await asyncio.sleep(0.01)

    async def find(self, user_id: int, surface: str = HOME, at: Live | None = None) -> Found | None:
        """See `Lookup`. `store` is `memory` where no store answered in time."""
        served = self._served.get(surface) or await self._first(surface)
        if served is not None and at is not None and at.attempt != served.live.attempt:
            served = await self._earlier(at)
        if served is None:
            return None
        hot = durable = None
        if self._hot is not None:
            hot = await self._of_user(self._hot, served, user_id)
            if hot is not None and self._untold and user_id in self._untold:
                hot = OfUser(hot.user_list, self._untold[user_id])
            if hot is not None and hot.stated is not None and (hot.user_list or _needs_no_list(hot)):
                return _found(served, hot, self._hot.reads.name)
        durable = await self._of_user(self._durable, served, user_id)
        if durable is not None:
            # A replica may be behind what somebody else here has heard already.
            said = _newest(durable.stated, self._untold.get(user_id), hot.stated if hot is not None else None)
            durable = OfUser(durable.user_list, said)
        if durable is None:
            store = self._hot.reads.name if self._hot is not None and hot is not None and hot.user_list else MEMORY
            return _found(served, hot or OfUser(None, self._untold.get(user_id)), store)
        if hot is None:
            return _found(served, durable, self._durable.reads.name)
        if durable.user_list or hot.user_list or _needs_no_list(durable):
            self._copy_later(_Copy(served.live.attempt, user_id, durable))
        if hot.user_list is not None and self._hot is not None:
            # It had the list, and did not know the state.
            return _found(served, OfUser(hot.user_list, durable.stated), self._hot.reads.name)
        return _found(served, durable, self._durable.reads.name)

    async def live(self, surface: str = HOME) -> Live | None:
        """See `Lookup`."""
        served = self._served.get(surface) or await self._first(surface)
        return served.live if served is not None else None

    async def state(self, user_id: int) -> UserState:
        """See `Lookup`."""
        if user_id in self._untold:
            return self._untold[user_id].state
        if self._hot is not None:
            with suppress(UnavailableError):
                stated = await self._hot.ask(lambda reads: reads.state(user_id))
                if stated is not None:
                    return stated.state
        stated = await self._durable.ask(lambda reads: reads.state(user_id))
        return (stated or NOBODY).state

    async def change_state(self, user_id: int, change: Change) -> UserState:
        """See `Lookup`."""
        if len(self._untold) >= _MOST_UNTOLD and user_id not in self._untold:
            raise UnavailableError("too much waits to be told to the hot copy: nothing more can be kept")
        # Shielded: a write that ends late stands all the same, and the hot copy must hear of it.
        writing = asyncio.create_task(self._changed(user_id, change))
        self._writes.add(writing)
        writing.add_done_callback(self._written)
        try:
            async with asyncio.timeout(_STATE_DEADLINE_SECONDS):
                stated = await asyncio.shield(writing)
        except TimeoutError:
            raise UnavailableError(f"{self._durable.reads.name} did not take what a user said in time") from None
        if self._hot is not None and self._untold.get(user_id) is stated:
            with suppress(UnavailableError):  # it is told again
                await self._tell(self._hot, user_id, stated)
        return stated.state

    def _written(self, writing: asyncio.Task[Stated]) -> None:
        self._writes.discard(writing)
        take_notice(writing)

    async def _changed(self, user_id: int, change: Change) -> Stated:
        """Write it; from here on it goes before what the hot copy holds, until that was told."""
        store = await self._opened()
        stated = await asyncio.get_running_loop().run_in_executor(self._writers, changed, store, user_id, change)
        if self._hot is not None and stated.version:
            known = self._untold.get(user_id)
            if known is None or known.version < stated.version:
                self._untold[user_id] = stated
        return stated

    async def _tell(self, hot: Hop[Copies], user_id: int, stated: Stated) -> None:
        await hot.ask(partial(_keep_state, user_id, stated))
        if self._untold.get(user_id) is stated:
            del self._untold[user_id]

    def hops(self) -> Mapping[str, HopTimes]:
        """See `Lookup`."""
        return {hop.reads.name: hop.times for hop in (self._hot, self._durable) if hop is not None}

    async def close(self) -> None:
        """See `Lookup`."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*self._writes, return_exceptions=True)
        if self._hot is not None:
            await self._tell_all(self._hot)
        for hop in (self._hot, self._durable):
            if hop is not None:
                await hop.reads.close()
        await asyncio.to_thread(self._writers.shutdown)
        if self._store is not None:
            await asyncio.to_thread(self._store.close)
            self._store = None

    async def _of_user(self, hop: Hop[Reads], served: _Served, user_id: int) -> OfUser | None:
        try:
            return await hop.ask(lambda reads: reads.of_user(served.live.attempt, user_id))
        except UnavailableError:
            return None

    async def _earlier(self, at: Live) -> _Served | None:
        """Another attempt than the live one, if it is still kept; seldom asked for: by whoever was in mid-list."""
        for hop in (self._hot, self._durable):
            if hop is not None:
                with suppress(UnavailableError):
                    trending = await hop.ask(lambda reads: reads.trending(at))
                    if trending is not None:
                        return _Served(at, trending)
        return None

    async def _opened(self) -> ListStore:
        """The durable store, to be written."""
        async with self._opening:
            if self._store is None:
                if self._open_durable is None:
                    raise UnavailableError("this lookup only reads")
                await asyncio.get_running_loop().run_in_executor(self._writers, self._open)
            if self._store is None:
                raise UnavailableError("this lookup is closed")
            return self._store

    def _open(self) -> None:
        """In a thread; what was opened is closed in the end, whether or not anybody still waited for it."""
        if self._open_durable is not None:
            self._store = self._open_durable()

    async def _open_early(self) -> None:
        """Open it before anybody needs it: that takes seconds on a busy machine."""
        with suppress(UnavailableError):  # whoever needs it tries again
            await self._opened()

    async def _keep_telling(self, hot: Hop[Copies]) -> None:
        """Tell the hot copy what it missed, until it takes it."""
        while True:
            await asyncio.sleep(_TELL_AGAIN_SECONDS)
            await self._tell_all(hot)

    async def _tell_all(self, hot: Hop[Copies]) -> None:
        with suppress(UnavailableError):
            while self._untold:
                await self._tell(hot, *next(iter(self._untold.items())))

    async def _first(self, surface: str) -> _Served | None:
        """What is live, where nothing was known yet."""
        if surface not in self._surfaces and len(self._surfaces) >= _MOST_SURFACES:
            return None
        if surface not in self._surfaces:
            self._surfaces.add(surface)
            for hop in (self._hot, self._durable):
                if hop is not None and surface not in self._served:
                    await self._look_at(hop, surface)
        if surface not in self._served and surface not in self._known:
            raise UnavailableError("no store has said yet what is live")
        return self._served.get(surface)

    async def _keep_looking(self, hop: Hop[Reads]) -> None:
        while True:
            for surface in sorted(self._surfaces):
                await self._look_at(hop, surface)
            await asyncio.sleep(hop.look_seconds)

    async def _look_at(self, hop: Hop[Reads], surface: str) -> None:
        """Take over what a store says is live, if it is newer; mend the hot copy where that is behind."""
        is_hot = hop is self._hot
        try:
            async with asyncio.timeout(_LOOK_DEADLINE_SECONDS):
                live = await hop.reads.live(surface)
                if is_hot:
                    self._copied_moves[surface] = live.move if live is not None else 0
                if live is not None and self._is_news(surface, live):
                    trending = await hop.reads.trending(live)
                    if trending is None and is_hot:
                        trending = await self._durable.reads.trending(live)
                    if trending is not None and self._is_news(surface, live):
                        self._served[surface] = _Served(live, trending)
                # A hot copy that was lost knows of no pointer: that says nothing.
                if surface in self._served or (live is None and not is_hot):
                    self._known.add(surface)
                if not is_hot:
                    await self._mend(surface)
        except TimeoutError:
            self._note(hop.reads.name, f"{hop.reads.name} does not answer")
        except UnavailableError as error:
            self._note(hop.reads.name, str(error))
        except Exception as error:  # noqa: BLE001  (whatever it is, this look must not be the last)
            self._note(hop.reads.name, f"{hop.reads.name} cannot be read ({error})")
        else:
            self._note(hop.reads.name, None)
            return
        if is_hot:
            self._copied_moves.pop(surface, None)

    def _is_news(self, surface: str, live: Live) -> bool:
        known = self._served.get(surface)
        return known is None or live.move > known.live.move

    async def _mend(self, surface: str) -> None:
        """Tell the hot copy what is live, if it answers and does not know."""
        served = self._served.get(surface)
        if self._hot is None or served is None or self._copied_moves.get(surface, served.live.move) >= served.live.move:
            return
        with suppress(UnavailableError):  # it is tried again, and said when it is looked at
            await self._hot.reads.keep_live(surface, served.live, served.trending)

    def _copy_later(self, copy: _Copy) -> None:
        if copy.found.stated is not None and len(self._waiting) < MOST_WAITING:
            self._waiting.append(copy)
            self._is_waiting.set()

    async def _keep_copying(self, hot: Hop[Copies]) -> None:
        while True:
            await self._is_waiting.wait()
            turn = [self._waiting.popleft() for _ in range(min(len(self._waiting), _COPIES_AT_ONCE))]
            if not self._waiting:
                self._is_waiting.clear()
            ended: list[BaseException | None] = [None]
            try:
                async with asyncio.timeout(_COPY_DEADLINE_SECONDS):
                    ended = await asyncio.gather(*(hot.reads.keep_user(*copy) for copy in turn), return_exceptions=True)
            except TimeoutError as error:
                ended = [error]
            if any(ended):
                self._waiting.clear()  # it is down: those who ask later bring their lists again
                self._is_waiting.clear()

    def _note(self, name: str, trouble: str | None) -> None:
        """Say when a store's trouble begins and when it is over, once each."""
        if trouble is not None and name not in self._troubles:
            self._troubles[name] = trouble
            sys.stderr.write(f"marquee: {trouble}; serving goes on with what is left\n")
        elif trouble is None and self._troubles.pop(name, None) is not None:
            sys.stderr.write(f"marquee: {name} answers again\n")


def _found(served: _Served, of_user: OfUser, store: str) -> Found:
    state, is_known = (of_user.stated or NOBODY).state, of_user.stated is not None
    user_list = None if state.has_no_list else of_user.user_list
    return Found(served.live, user_list, served.trending, state, store, is_known)


async def _keep_state(user_id: int, stated: Stated, copies: Copies) -> None:
    await copies.keep_state(user_id, stated)


def _needs_no_list(of_user: OfUser) -> bool:
    """Whether what is known of the user says that no list is to be read."""
    return of_user.stated is not None and of_user.stated.state.has_no_list


def _newest(*known: Stated | None) -> Stated | None:
    """What was said last, as far as anybody knows; that a user was forgotten is the last word."""
    return max(filter(None, known), key=lambda one: (one.state.is_forgotten, one.version), default=None)
