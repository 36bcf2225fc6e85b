import subprocess
import sys
import time
from dataclasses import asdict

import pytest
import redis

from pipelines.errors import RefusedError, UnavailableError
from pipelines.local_redis import start_redis
from pipelines.local_servers import free_port, stop_servers
from pipelines.stores.cassandra import CassandraStore
from pipelines.stores.interface import HOME, Live, tally_of
from pipelines.stores.open import open_store
from pipelines.stores.pair import PairStore
from pipelines.stores.redis import RedisStore
from pipelines.stores.user_state import FORGOTTEN, Stated, UserState

YESTERDAY, TODAY = "20260130-aaaaaaaaaaaa", "20260131-bbbbbbbbbbbb"
USERS = range(1, 601)


@pytest.fixture
def durable(places):
    with CassandraStore(places) as durable:
        yield durable


@pytest.fixture
def hot(places):
    with RedisStore(places.cache, expiry_days=3) as hot:
        yield hot


@pytest.fixture
def pair(durable, hot):
    return PairStore(durable, hot)


@pytest.fixture
def lost_server(tmp_path):
    server = start_redis(tmp_path / "redis", port=free_port(), memory="64mb")
    yield server
    stop_servers([server.server])


def a_list(run_id, user_id):
    return f"{run_id} {user_id} ".encode() * 40


def lists_of(run_id, users=USERS):
    return ((user_id, a_list(run_id, user_id)) for user_id in users)


def publish(store, run_id, users=USERS):
    attempt = store.open_attempt(run_id)
    tally = store.put_many(run_id, attempt, lists_of(run_id, users))
    store.put_trending(run_id, attempt, run_id.encode())
    assert store.tally(run_id) == tally == tally_of(lists_of(run_id, users))
    store.commit_manifest(run_id, attempt, {})
    return store.go_live(run_id, attempt)


def is_whole(store, run_id, users=USERS):
    return all(
        (answered := store.live_list(user_id)) is not None
        and (answered.live.run_id, answered.user_list, answered.trending)
        == (run_id, a_list(run_id, user_id), run_id.encode())
        for user_id in users
    )


def rebuild(durable, hot, users=USERS):
    """What a copy needs so that it lacks nothing."""
    live = durable.live()
    hot.adopt_attempt(live.run_id, live.attempt, live.moved_at)
    hot.mark_forgotten(durable.forgotten())
    found = ((user_id, durable.live_list(user_id).user_list) for user_id in users)
    hot.copy_lists(live.attempt, ((user_id, data) for user_id, data in found if data is not None))
    for user_id in users:
        hot.copy_state(user_id, durable.state(user_id))
    hot.copy_trending(live.attempt, durable.live_list(1).trending)
    return hot.copy_pointer(HOME, live)


def test_what_is_published_is_whole_in_both_stores(pair, durable, hot):
    live = publish(pair, TODAY)
    assert durable.live() == hot.live() == live
    for store in (pair, durable, hot):
        assert is_whole(store, TODAY)
    assert pair.trouble is None


def test_states_and_erasures_reach_both_stores(pair, durable, hot):
    publish(pair, TODAY)
    state = UserState(is_opted_out=True, watched=(1, 2))
    assert pair.put_state(7, state, 0)
    assert not pair.put_state(7, UserState(), 0)
    assert durable.state(7) == hot.state(7) == (state, 1)
    assert pair.forget_user(7) == 1
    for store in (pair, durable, hot):
        assert store.forgotten() == {7}
        assert store.state(7).state == FORGOTTEN
        assert store.live_list(7).user_list is None


def test_the_copy_gets_no_list_of_who_was_forgotten_before_or_meanwhile(pair, durable, hot, redis_client):
    pair.forget_user(7)

    def writing():
        for user_id, data in lists_of(TODAY):
            if user_id == 300:
                durable.forget_user(8)
                redis_client.flushdb()
            yield user_id, data

    attempt = pair.open_attempt(TODAY)
    pair.put_many(TODAY, attempt, writing())
    assert not redis_client.keys("m:l:*:7")
    assert not redis_client.keys("m:l:*:8")
    assert hot.forgotten() >= {8}
    assert redis_client.exists(f"m:l:{attempt}:600")


def test_when_the_copy_is_emptied_in_the_midst_answers_are_right(pair, durable, hot, redis_client):
    publish(pair, YESTERDAY)
    pair.put_state(7, UserState(is_opted_out=True), 0)
    pair.forget_user(8)
    attempt = pair.open_attempt(TODAY)

    def writing():
        for user_id, data in lists_of(TODAY):
            if user_id == 300:
                redis_client.flushdb()
                assert is_whole(pair, YESTERDAY, [1, 7, 9, 600])
                assert pair.live_list(8).user_list is None
                assert pair.state(7) == (UserState(is_opted_out=True), 1)
                assert pair.forgotten() == {8}
            yield user_id, data

    tally = pair.put_many(TODAY, attempt, writing())
    assert pair.tally(TODAY) == tally == tally_of(lists_of(TODAY))
    pair.put_trending(TODAY, attempt, TODAY.encode())
    pair.commit_manifest(TODAY, attempt, {})
    pair.go_live(TODAY, attempt)
    others = [user_id for user_id in USERS if user_id != 8]
    assert is_whole(pair, TODAY, others)
    redis_client.flushdb()
    assert rebuild(durable, hot)
    assert is_whole(hot, TODAY, others)
    assert hot.state(7) == (UserState(is_opted_out=True), 1)
    assert hot.live_list(8).user_list is None


def test_a_publication_goes_on_without_its_copy_and_a_rebuild_mends_it(durable, lost_server, capfd):
    with RedisStore(lost_server.address, expiry_days=3) as hot:
        pair = PairStore(durable, hot)
        publish(pair, YESTERDAY)
        attempt = pair.open_attempt(TODAY)

        def writing():
            for user_id, data in lists_of(TODAY):
                if user_id == 300:
                    stop_servers([lost_server.server])
                yield user_id, data

        assert pair.put_many(TODAY, attempt, writing()) == tally_of(lists_of(TODAY))
        pair.put_trending(TODAY, attempt, TODAY.encode())
        pair.commit_manifest(TODAY, attempt, {})
        live = pair.go_live(TODAY, attempt)
        pair.put_state(9, UserState(is_opted_out=True), 0)
        assert pair.drop_runs(keep=1) == [YESTERDAY]
        assert is_whole(pair, TODAY)
        assert "cannot be reached" in pair.trouble
        assert capfd.readouterr().err.count("marquee:") == 1
        with pytest.raises(UnavailableError, match="forget them again"):
            pair.forget_user(8)
        assert pair.forgotten() == {8}
        again = start_redis(lost_server.server.log.parent, port=lost_server.port, memory="64mb")
        try:
            assert rebuild(durable, hot)
            assert hot.live() == live
            assert is_whole(hot, TODAY, [user_id for user_id in USERS if user_id != 8])
            assert hot.live_list(8).user_list is None
            assert hot.state(9) == (UserState(is_opted_out=True), 1)
            assert pair.forget_user(8) == 0
        finally:
            stop_servers([again.server])


def test_a_publication_goes_on_where_the_copy_never_was(durable):
    with RedisStore("redis://127.0.0.1:1/0", expiry_days=3) as hot:
        pair = PairStore(durable, hot)
        publish(pair, TODAY)
        assert is_whole(pair, TODAY, [1, 600])
        assert "cannot be reached" in pair.trouble


def test_a_copy_that_hangs_does_not_hold_a_publication_up_for_long(durable, lost_server, monkeypatch):
    monkeypatch.setattr("pipelines.stores.redis._ANSWER_SECONDS", 0.5)
    with (
        RedisStore(lost_server.address, expiry_days=3) as hot,
        redis.Redis(lost_server.host, lost_server.port) as redis_client,
    ):
        redis_client.client_pause(60_000)
        started = time.monotonic()
        pair = PairStore(durable, hot)
        publish(pair, TODAY)
        assert time.monotonic() - started < 30
        assert "does not answer in time" in pair.trouble


def test_a_publication_is_refused_by_the_durable_store_alone(pair, hot):
    old = pair.open_attempt(TODAY)
    pair.put_many(TODAY, old, lists_of(TODAY))
    live = publish(pair, TODAY)
    with pytest.raises(RefusedError):
        pair.put_many(TODAY, old, ((user_id, b"late") for user_id in USERS))
    with pytest.raises(RefusedError):
        pair.go_live(TODAY, old)
    assert hot.live() == live
    for store in (pair, hot):
        assert is_whole(store, TODAY)


def test_a_mistake_in_the_lists_ends_both_writers(pair):
    attempt = pair.open_attempt(TODAY)

    def broken():
        yield from lists_of(TODAY)
        raise EOFError

    with pytest.raises(EOFError):
        pair.put_many(TODAY, attempt, broken())
    assert pair.put_many(TODAY, attempt, lists_of(TODAY)) == pair.tally(TODAY)


@pytest.mark.parametrize("how", ["go_live", "repair"])
def test_a_publisher_killed_between_the_two_pointers_leaves_no_mixed_answer(places, pair, durable, hot, how):
    before = publish(pair, YESTERDAY)
    attempt = pair.open_attempt(TODAY)
    pair.put_many(TODAY, attempt, lists_of(TODAY))
    pair.put_trending(TODAY, attempt, TODAY.encode())
    pair.commit_manifest(TODAY, attempt, {})
    source = (
        "from pipelines import crash_points\nfrom pipelines.stores.open import open_store\n"
        "from pipelines.stores.places import Places\ncrash_points.arm('pair.between_pointers')\n"
        f"open_store(Places(**{asdict(places)!r})).go_live({TODAY!r}, {attempt})\n"
    )
    assert subprocess.run([sys.executable, "-c", source], check=False).returncode == 137
    assert durable.live().run_id == TODAY
    assert hot.live() == before
    assert is_whole(pair, TODAY, USERS[::50])
    assert is_whole(hot, YESTERDAY, USERS[::50])
    if how == "repair":
        assert pair.repair()
        assert not pair.repair()
    else:
        pair.go_live(TODAY, attempt)
    assert hot.live() == durable.live()
    assert is_whole(hot, TODAY)


def test_the_copy_follows_a_rollback_and_never_an_older_move(pair, durable, hot):
    first = publish(pair, YESTERDAY)
    second = publish(pair, TODAY)
    back = pair.go_live(YESTERDAY, first.attempt, allow_older=True)
    assert hot.live() == durable.live() == back
    assert is_whole(hot, YESTERDAY, USERS[::50])
    # A publisher that slept between the two pointers.
    assert not hot.copy_pointer(HOME, second)
    assert not pair.repair()
    assert hot.live() == Live(YESTERDAY, first.attempt, 3, back.moved_at)


def test_a_newer_state_in_the_copy_stays(pair, hot):
    pair.put_state(7, UserState(watched=(1,)), 0)
    hot.copy_state(7, Stated(UserState(watched=(1, 2)), 2))
    assert not hot.copy_state(7, pair.state(7))
    assert hot.state(7).version == 2


def test_the_settings_open_a_pair(places):
    with open_store(places) as store:
        assert isinstance(store, PairStore)
        assert store.live() is None
