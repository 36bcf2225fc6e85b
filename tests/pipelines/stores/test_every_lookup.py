"""What every lookup promises; each test runs against each, over real servers."""

import asyncio
import dataclasses
import signal
from contextlib import asynccontextmanager

import msgspec
import pytest
from planted_lists import (
    NOBODYS_ID,
    TODAY,
    TOMORROW,
    USERS,
    YESTERDAY,
    Writer,
    a_list,
    forget,
    is_live,
    is_of_one_run,
    publish,
    roll_back,
    say,
    trending,
    until,
)

from pipelines.errors import RefusedError, UnavailableError, UsageError
from pipelines.local_redis import start_redis
from pipelines.local_servers import free_port, stop_servers
from pipelines.stores.open import open_store
from pipelines.stores.open_lookup import open_lookup
from pipelines.stores.places import Places
from pipelines.stores.user_state import UserState

# Machines that run tests are slow: these tests are about what is answered, not how soon.
PATIENT = {"redis_seconds": 5.0, "cassandra_seconds": 5.0}


@pytest.fixture(params=["embedded", "redis", "cassandra", "pair"])
def kind(request):
    return request.param


@pytest.fixture
def where(kind, request, tmp_path):
    if kind == "embedded":
        return Places(str(tmp_path / "lists.lmdb"))
    places = request.getfixturevalue("places")
    if kind == "redis":
        return Places(places.cache)
    return places if kind == "pair" else dataclasses.replace(places, cache="")


@asynccontextmanager
async def looking(places):
    tasks = asyncio.all_tasks()
    lookup = await open_lookup(places, **PATIENT)
    try:
        yield lookup
    finally:
        await lookup.close()
    assert asyncio.all_tasks() <= tasks, "it goes on after it was closed"


def test_nothing_is_found_before_the_first_run_is_live(where):
    open_store(where).close()

    async def ask():
        async with looking(where) as lookup:
            assert await lookup.find(1) is None
            assert await lookup.find(1, "kids") is None

    asyncio.run(ask())


def test_what_is_live_is_found_whole_by_many_at_once(where, kind):
    async def ask():
        with Writer(where) as writer:
            live = await writer.do(publish, TODAY)
            async with looking(where) as lookup:
                users = [*USERS, *USERS, NOBODYS_ID, 2**63 - 1]
                answers = await asyncio.gather(*(lookup.find(user_id) for user_id in users))
        for user_id, found in zip(users, answers, strict=True):
            assert is_of_one_run(found, user_id)
            assert (found.live.run_id, found.live.attempt, found.live.move) == (TODAY, live.attempt, live.move)
            assert abs(found.live.moved_at - live.moved_at).total_seconds() < 0.01
            assert found.state == UserState()
            if user_id in USERS:
                assert found.store == {"pair": "redis"}.get(kind, kind)

    asyncio.run(ask())


def test_a_publication_and_a_rollback_are_on_every_answer_within_ten_seconds_and_none_is_of_two_runs(where):
    async def ask():
        with Writer(where) as writer:
            await writer.do(publish, YESTERDAY)
            async with looking(where) as lookup:
                seen, is_over = set(), asyncio.Event()

                async def keep_asking(part):
                    while not is_over.is_set():
                        for user_id in USERS[part::3]:
                            found = await lookup.find(user_id)
                            assert is_of_one_run(found, user_id)
                            seen.add(found.live.run_id)
                            await asyncio.sleep(0.005)

                async def is_answered(run_id):
                    return run_id in seen

                async with asyncio.TaskGroup() as group:
                    for part in range(3):
                        group.create_task(keep_asking(part))
                    try:
                        await writer.do(publish, TODAY)
                        await until(lambda: is_answered(TODAY))
                        back = await writer.do(roll_back, YESTERDAY)
                        await until(lambda: is_live(lookup, YESTERDAY))
                        assert await writer.do(roll_back, YESTERDAY) == back
                    finally:
                        is_over.set()
                assert await is_live(lookup, YESTERDAY)
                assert seen == {YESTERDAY, TODAY}

    asyncio.run(ask())


def test_what_a_user_says_and_that_they_were_forgotten_is_found_from_the_next_answer_on(where):
    async def ask():
        with Writer(where) as writer:
            await writer.do(publish, TODAY)
            async with looking(where) as lookup:
                assert (await lookup.find(7)).state == UserState()
                for state in (
                    UserState(is_opted_out=True),
                    UserState(account_opts_out=True, account_limit=7),
                    UserState(is_opted_out=False, account_opts_out=True),
                    UserState(maturity_limit=12, not_interested=(5, 6)),
                ):
                    await writer.do(say, 7, state)
                    found = await lookup.find(7)
                    # The list of who opted out is not even read.
                    expected = None if state.opts_out else a_list(TODAY, 7)
                    assert (found.state, found.user_list) == (state, expected)
                    assert await lookup.state(7) == state
                await writer.do(forget, 7)
                assert (await lookup.find(7))[1:4] == (None, trending(TODAY), UserState(is_forgotten=True))
                assert (await lookup.find(8))[1:4] == (a_list(TODAY, 8), trending(TODAY), UserState())
                # And in no later run.
                await writer.do(publish, TOMORROW)
                await until(lambda: is_live(lookup, TOMORROW))
                assert (await lookup.find(7)).user_list is None
                assert (await lookup.find(8)).user_list == a_list(TOMORROW, 8)

    asyncio.run(ask())


@pytest.mark.parametrize(
    "places",
    [
        Places("cassandra://marquee@127.0.0.1:1/h3_nowhere"),
        Places("redis://127.0.0.1:1/0"),
        Places("cassandra://marquee@127.0.0.1:1/h3_nowhere", cache="redis://127.0.0.1:1/0"),
    ],
)
def test_where_no_store_ever_answered_a_lookup_says_so_and_is_open_soon(places, capsys):
    async def ask():
        async with asyncio.timeout(10), looking(places) as lookup:
            for surface in ("home", "kids"):
                with pytest.raises(UnavailableError):
                    await lookup.find(1, surface)

    asyncio.run(ask())
    assert "marquee: " in capsys.readouterr().err


def test_an_embedded_store_that_is_not_there_is_an_error_until_it_is(tmp_path):
    places = Places(str(tmp_path / "lists.lmdb"))

    async def ask():
        async with looking(places) as lookup:
            with pytest.raises(UnavailableError, match="nothing was published"):
                await lookup.find(1)
            with Writer(places) as writer:
                await writer.do(publish, TODAY)
            assert is_of_one_run(await lookup.find(1), 1)

    asyncio.run(ask())


@pytest.mark.parametrize(
    ("places", "setting"),
    [
        (Places("postgres://host/db"), "MARQUEE_LISTS"),
        (Places("cassandra://host"), "cassandra://USER@HOST"),
        (Places("redis://host/zero"), "redis://"),
        (Places("cassandra://marquee@host/lists", cache="memcached://host"), "MARQUEE_CACHE"),
        (Places("cassandra://marquee@host/lists", cache="some/folder"), "MARQUEE_CACHE"),
    ],
)
def test_a_setting_of_no_known_form_is_refused(places, setting):
    with pytest.raises(UsageError, match=setting):
        asyncio.run(open_lookup(places))


def test_what_is_said_through_it_is_found_by_it_and_by_others_at_once_whoever_else_speaks(where):
    async def ask():
        with Writer(where) as writer:
            await writer.do(publish, TODAY)
            async with looking(where) as lookup:
                assert await lookup.change_state(7, lambda state: state) == UserState()  # nothing to write
                await asyncio.gather(*(lookup.change_state(7, turned_down(item)) for item in range(8)))
                state = await lookup.state(7)
                assert sorted(state.not_interested) == list(range(8))
                assert (await lookup.find(7)).state == state
                assert (await lookup.find(8)).state == await lookup.state(8) == UserState()
                await writer.do(forget, 9)
                with pytest.raises(RefusedError):
                    await lookup.change_state(9, turned_down(1))
            async with looking(where) as another:
                assert await another.state(7) == (await another.find(7)).state == state

    asyncio.run(ask())


def turned_down(item):
    return lambda state: msgspec.structs.replace(state, not_interested=(*state.not_interested, item))


def test_an_earlier_attempt_is_read_while_it_is_kept(where):
    async def ask():
        with Writer(where) as writer:
            before = await writer.do(publish, YESTERDAY)
            async with looking(where) as lookup:
                await until(lambda: is_live(lookup, YESTERDAY))
                await writer.do(publish, TODAY)
                await until(lambda: is_live(lookup, TODAY))
                earlier = await lookup.find(7, at=before)
                assert is_of_one_run(earlier, 7)
                assert earlier.live.run_id == YESTERDAY
                assert is_of_one_run(await lookup.find(7), 7)
                assert await lookup.find(7, at=dataclasses.replace(before, attempt=10**6)) is None

    asyncio.run(ask())


def test_only_so_many_surfaces_are_looked_at(where):
    async def ask():
        with Writer(where) as writer:
            await writer.do(publish, TODAY)
            async with looking(where) as lookup:
                for number in range(40):
                    assert await lookup.find(1, f"surface-{number}") is None
                assert is_of_one_run(await lookup.find(1), 1)
                assert len(getattr(lookup, "_surfaces", ())) <= 16

    asyncio.run(ask())


@pytest.mark.slow
def test_a_copy_that_was_away_when_something_was_said_never_answers_with_what_was_before(places, tmp_path):
    port = free_port()
    server = start_redis(tmp_path / "redis", port=port, memory="64mb").server
    where = dataclasses.replace(places, cache=f"redis://127.0.0.1:{port}/0")

    async def play():
        with Writer(where) as writer:
            await writer.do(publish, TODAY)
            async with looking(where) as lookup:
                assert (await lookup.find(7)).state == UserState()
                server.process.send_signal(signal.SIGSTOP)
                said = await lookup.change_state(7, turned_down(42))
                assert said.not_interested == (42,)
                assert (await lookup.find(7)).state == said
                server.process.send_signal(signal.SIGCONT)
                # It is there again, with what it held; what it missed goes before that from the first answer on.
                for _ in range(200):
                    found = await lookup.find(7)
                    assert found.state == said
                    if found.store == "redis" and not lookup._untold:
                        break
                    await asyncio.sleep(0.05)
                assert not lookup._untold
            async with looking(where) as another:
                assert (await another.find(7)).state == said

    try:
        asyncio.run(asyncio.wait_for(play(), 50))
    finally:
        server.process.send_signal(signal.SIGCONT)
        stop_servers([server])
