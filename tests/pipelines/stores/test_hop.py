import asyncio

import pytest

from pipelines.errors import UnavailableError
from pipelines.stores import hop as hops
from pipelines.stores.hop import FAILURES_IN_A_ROW, Hop


class Store:
    name = "somewhere"

    def __init__(self):
        self.asked_count, self.seconds = 0, 0.0

    async def answer(self):
        self.asked_count += 1
        await asyncio.sleep(self.seconds)
        return 42


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
