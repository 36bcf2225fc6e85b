"""What a lookup makes of stores that disagree; what all promise over real servers is in `test_every_lookup.py`."""

import asyncio
import time
from datetime import UTC, datetime

import msgspec
import pytest

from pipelines.errors import UnavailableError
from pipelines.stores.hop import Hop
from pipelines.stores.interface import Live
from pipelines.stores.pair_lookup import PairLookup
from pipelines.stores.reads import OfUser
from pipelines.stores.user_state import FORGOTTEN, NOBODY, Stated, UserState

LIVE = Live("20260131-bbbbbbbbbbbb", 1, 1, datetime(2026, 1, 31, tzinfo=UTC))
LIMITED = Stated(UserState(maturity_limit=7), 3)


class Planted:
    """A store that says what it was told to say, and remembers what it is told of states."""

    def __init__(self, name, of_user, *, is_down=False):
        self.name, self.said, self.is_down, self.told = name, of_user, is_down, []

    async def live(self, surface):
        return LIVE

    async def trending(self, live):
        return b"trending"

    async def of_user(self, attempt, user_id):
        if self.is_down:
            raise UnavailableError(f"{self.name} is down")
        return self.said

    async def state(self, user_id):
        return (await self.of_user(1, user_id)).stated

    async def keep_live(self, surface, live, trending): ...

    async def keep_user(self, attempt, user_id, found): ...

    async def keep_state(self, user_id, stated):
        if self.is_down:
            raise UnavailableError(f"{self.name} is down")
        self.told.append((user_id, stated))

    async def close(self): ...


class Slow:
    """A store of states that takes its time to write."""

    def __init__(self, seconds):
        self.seconds = seconds

    def state(self, user_id):
        return NOBODY

    def put_state(self, user_id, state, version):
        time.sleep(self.seconds)
        return True

    def close(self): ...


def lookup_of(durable, hot, store=None):
    return PairLookup(Hop(durable, 1.0, 60.0), Hop(hot, 1.0, 60.0), lambda: store)


@pytest.mark.parametrize("newer", [LIMITED, Stated(FORGOTTEN, 1), Stated(UserState(is_opted_out=True), 9)])
def test_a_replica_that_is_behind_does_not_overrule_what_the_copy_knows(newer) -> None:
    async def ask():
        lookup = lookup_of(
            Planted("cassandra", OfUser(b"list", Stated(UserState(), 0))), Planted("redis", OfUser(None, newer))
        )
        await lookup.start()
        found = await lookup.find(7)
        await lookup.close()
        assert found.state == newer.state
        assert (found.user_list is None) == newer.state.has_no_list

    asyncio.run(ask())


def test_what_the_copy_has_yet_to_be_told_holds_while_it_is_down_and_a_replica_is_behind() -> None:
    async def ask():
        hot = Planted("redis", OfUser(None, None), is_down=True)
        lookup = lookup_of(Planted("cassandra", OfUser(b"list", NOBODY)), hot, Slow(0))
        await lookup.start()
        await lookup.change_state(7, lambda state: msgspec.structs.replace(state, is_opted_out=True))
        found = await lookup.find(7)
        await lookup.close()
        assert found.state.is_opted_out
        assert found.user_list is None

    asyncio.run(ask())


def test_a_write_that_ends_after_nobody_waits_any_more_still_reaches_the_copy(monkeypatch) -> None:
    monkeypatch.setattr("pipelines.stores.pair_lookup._STATE_DEADLINE_SECONDS", 0.05)

    async def ask():
        hot = Planted("redis", OfUser(b"list", NOBODY))
        lookup = lookup_of(Planted("cassandra", OfUser(b"list", NOBODY)), hot, Slow(0.3))
        await lookup.start()
        with pytest.raises(UnavailableError, match="in time"):
            await lookup.change_state(7, lambda state: msgspec.structs.replace(state, maturity_limit=7))
        assert not hot.told
        await lookup.close()
        assert hot.told == [(7, Stated(UserState(maturity_limit=7), 1))]

    asyncio.run(ask())
