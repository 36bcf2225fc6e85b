import asyncio
from itertools import pairwise

import pytest

from pipelines.errors import UnavailableError
from pipelines.stores import hop as hops
from pipelines.stores.hop import FAILURES_IN_A_ROW, Hop


class Store:
    name = "somewhere"

    def __init__(self):
        self.asked_count, self.seconds, self.fails = 0, 0.0, False

    async def answer(self):
        self.asked_count += 1
        if self.fails:
            raise UnavailableError("it hung up")
        await asyncio.sleep(self.seconds)
        return 42


class Clock:
    """Time as a test has it."""

    def __init__(self, now):
        self._now = now

    def monotonic(self):
        return self._now[0]

    perf_counter = monotonic


def test_a_store_that_keeps_failing_is_left_alone_and_asked_by_one_after_a_while(monkeypatch):
    monkeypatch.setattr(hops, "REST_SECONDS", 0.5)
    store = Store()
    hop = Hop(store, deadline_seconds=0.1, look_seconds=1)

    async def ask_in_vain():
        with pytest.raises(UnavailableError):
            await hop.ask(Store.answer)

    async def play():
        assert await hop.ask(Store.answer) == 42
        store.seconds, store.asked_count = 60, 0
        for _ in range(FAILURES_IN_A_ROW + 10):
            await ask_in_vain()
        assert store.asked_count == FAILURES_IN_A_ROW
        await asyncio.sleep(0.6)
        await asyncio.gather(*(ask_in_vain() for _ in range(10)))
        assert store.asked_count == FAILURES_IN_A_ROW + 1
        store.seconds = 0
        await ask_in_vain()
        await asyncio.sleep(0.6)
        assert await hop.ask(Store.answer) == 42
        assert await asyncio.gather(*(hop.ask(Store.answer) for _ in range(10))) == [42] * 10

    asyncio.run(play())


def test_one_moment_of_silence_in_which_many_wait_is_no_reason_to_leave_a_store_alone():
    store = Store()
    store.seconds = 60
    hop = Hop(store, deadline_seconds=0.1, look_seconds=1)

    async def play():
        found = await asyncio.gather(*(hop.ask(Store.answer) for _ in range(50)), return_exceptions=True)
        assert {type(one) for one in found} == {UnavailableError}
        store.seconds = 0
        assert await hop.ask(Store.answer) == 42
        assert not hop.times.is_resting

    asyncio.run(play())


def test_rests_grow_from_a_tenth_of_a_second_to_the_longest(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(hops, "time", Clock(now))
    store = Store()
    store.fails = True
    hop = Hop(store, deadline_seconds=0.01, look_seconds=1)
    asked_at = []

    async def play():
        for _ in range(400):
            before = store.asked_count
            with pytest.raises(UnavailableError):
                await hop.ask(Store.answer)
            asked_at.extend([now[0]] * (store.asked_count - before))
            now[0] += 0.01

    asyncio.run(play())
    rests = [round(later - earlier, 2) for earlier, later in pairwise(asked_at)][FAILURES_IN_A_ROW - 1 :]
    assert rests[:5] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0], abs=0.02)


def test_whoever_gives_up_asking_does_not_count_as_a_failure():
    store = Store()
    store.seconds = 60
    hop = Hop(store, deadline_seconds=5, look_seconds=1)

    async def play():
        for _ in range(FAILURES_IN_A_ROW + 1):
            asking = asyncio.create_task(hop.ask(Store.answer))
            await asyncio.sleep(0)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        store.seconds = 0
        assert await hop.ask(Store.answer) == 42

    asyncio.run(play())
