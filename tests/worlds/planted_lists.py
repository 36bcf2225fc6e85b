"""Lists that are a function of run and user alone, so that any answer can be checked without remembering what was
written; and how to write them while somebody else asks.
"""

import asyncio
import multiprocessing
import random
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cache
from typing import Any, Self

from pipelines.lists.codec import pack
from pipelines.stores.interface import ListStore, Live
from pipelines.stores.lookup import Found, Lookup
from pipelines.stores.open import open_store
from pipelines.stores.places import Places
from pipelines.stores.user_state import UserState

YESTERDAY, TODAY, TOMORROW = "20260130-aaaaaaaaaaaa", "20260131-bbbbbbbbbbbb", "20260201-cccccccccccc"
USERS = range(1, 101)
NOBODYS_ID = 10**6


@cache
def a_list(run_id: str, user_id: int, seed: int = 0) -> bytes:
    """A function of its arguments alone, in whatever process."""
    rng = random.Random(f"{seed}/{run_id}/{user_id}")
    count = rng.randint(1, 40)
    return pack(
        item_ids=rng.sample(range(1, 10_000), count),
        scores=sorted((rng.random() for _ in range(count)), reverse=True),
        sources=[2] * count,
        reasons=[rng.choice([0, 255]) for _ in range(count)],
        history=[rng.randint(1, 10_000)],
        vector=[rng.random()] * 8,
        generated_at=datetime(2026, 2, 1, tzinfo=UTC),
    )


def trending(run_id: str) -> bytes:
    return a_list(run_id, 0)


def publish(store: ListStore, run_id: str) -> Live:
    attempt = store.open_attempt(run_id)
    store.put_many(run_id, attempt, ((user_id, a_list(run_id, user_id)) for user_id in USERS))
    store.put_trending(run_id, attempt, trending(run_id))
    store.commit_manifest(run_id, attempt, {})
    return store.go_live(run_id, attempt)


def roll_back(store: ListStore, run_id: str) -> Live:
    manifest = store.manifest(run_id)
    assert manifest is not None
    return store.go_live(run_id, manifest.attempt, allow_older=True)


def forget(store: ListStore, user_id: int) -> int:
    return store.forget_user(user_id)


def say(store: ListStore, user_id: int, state: UserState) -> None:
    assert store.put_state(user_id, state, store.state(user_id).version)


class Writer:
    """Does things to a store beside the event loop; to an embedded one in another process, for one opens it once."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._is_embedded = "://" not in places.lists
        self._store: ListStore | None = None
        self._executor: Executor = (
            ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) if self._is_embedded else ThreadPoolExecutor(1)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._executor.shutdown()
        if self._store is not None:
            self._store.close()

    async def do(self, what: Callable[..., Any], *arguments: Any) -> Any:
        work = _opened_for if self._is_embedded else self._with_store
        return await asyncio.get_running_loop().run_in_executor(
            self._executor, work, *([self._places] if self._is_embedded else []), what, *arguments
        )

    def _with_store(self, what: Callable[..., Any], *arguments: Any) -> Any:
        if self._store is None:
            self._store = open_store(self._places)
        return what(self._store, *arguments)


def _opened_for(places: Places, what: Callable[..., Any], *arguments: Any) -> Any:
    with open_store(places) as store:
        return what(store, *arguments)


def is_of_one_run(found: Found, user_id: int, *, may_lack: bool = False) -> bool:
    """Whether pointer, list and trending list are of the same run, and right."""
    run_id = found.live.run_id
    expected = a_list(run_id, user_id) if user_id in USERS else None
    is_right = found.user_list == expected or (may_lack and found.user_list is None)
    return is_right and found.trending == trending(run_id)


async def until(is_so: Callable[[], Any], seconds: float = 10.0) -> float:
    """Wait until an asynchronous question is answered with yes; returns how long that took."""
    began = time.monotonic()
    while not await is_so():
        assert time.monotonic() - began < seconds, f"not so after {seconds} s"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


async def is_live(lookup: Lookup, run_id: str) -> bool:
    found = await lookup.find(NOBODYS_ID)
    return found is not None and found.live.run_id == run_id
