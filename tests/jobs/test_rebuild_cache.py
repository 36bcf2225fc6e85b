"""A cache that lost everything is filled again from behind it, and answers as before."""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
import redis
from publishing import SHARDS, USERS_COUNT, Publishing, closed_port

from feature_defs.recommendations import RECOMMENDATIONS
from pipelines.runs import Run
from pipelines.stores.places import Places
from pipelines.stores.redis import RedisStore
from pipelines.stores.user_state import UserState

DAY = date(2026, 1, 31)


@pytest.fixture
def cached(tmp_path: Path, redis_server, redis_database) -> Publishing:
    address = f"redis://{redis_server.host}:{redis_server.port}/{redis_database}"
    return Publishing(tmp_path, Places(str(tmp_path / "lists.lmdb"), cache=address))


@pytest.fixture
def client(redis_server, redis_database) -> Iterator[redis.Redis]:
    with redis.Redis(host=redis_server.host, port=redis_server.port, db=redis_database) as client:
        yield client


def hot_copy(publishing: Publishing) -> RedisStore:
    return RedisStore(publishing.places.cache, expiry_days=1)


def today(publishing: Publishing) -> Run:
    made = publishing.make(DAY)
    publishing.publish(made)
    return made


def test_an_emptied_cache_answers_again_as_the_store_behind_it(cached: Publishing, client: redis.Redis) -> None:
    made = today(cached)
    with cached.store() as store:
        assert store.put_state(7, UserState(not_interested=(3,)), 0)
        store.forget_user(8)
    client.flushdb()
    for shard in SHARDS:
        cached.must("rebuild_cache", "--shard", shard)
    expected = {user: data for user, data in cached.expected(made).items() if user != 8}
    assert cached.served(hot_copy(cached)) == (made.run_id, expected)
    with hot_copy(cached) as hot:
        assert hot.live() == cached.live()
        assert hot.forgotten() == {8}
        assert hot.state(7).state.not_interested == (3,)
        answered = hot.live_list(USERS_COUNT + 1)
        assert answered is not None
        assert answered.trending == b"trending"
        hot.copy_lists(made.attempt, [(8, b"late")])
        again = hot.live_list(8)
        assert again is not None
        assert again.user_list is None, "who was forgotten stays so"


def test_where_the_lake_let_go_of_the_rows_each_list_is_asked_for(cached: Publishing, client: redis.Redis) -> None:
    made = today(cached)
    expected = cached.expected(made)
    client.flushdb()
    for shard in SHARDS:
        nothing = cached.lake.read(RECOMMENDATIONS).slice(0, 0).drop_columns(["day"])
        cached.lake.replace(RECOMMENDATIONS, nothing, DAY, where={"shard": shard})
    ended = cached.run("rebuild_cache")
    assert ended.returncode == 0, ended.stderr
    assert "asking for each user's" in ended.stdout
    assert cached.served(hot_copy(cached)) == (made.run_id, expected)


def test_the_same_again_is_harmless_and_a_rollback_is_followed(cached: Publishing, client: redis.Redis) -> None:
    yesterday = cached.make(DAY - timedelta(1))
    cached.publish(yesterday)
    made = today(cached)
    cached.must("rollback_lists", "--day", yesterday.day, "--by", "Ada", "--reason", "a test")
    client.flushdb()
    first, again = cached.must("rebuild_cache"), cached.must("rebuild_cache")
    assert first == again
    assert first["lists"] == USERS_COUNT
    assert cached.served(hot_copy(cached)) == (yesterday.run_id, cached.expected(yesterday))
    assert made.run_id != yesterday.run_id


def test_without_a_cache_there_is_nothing_to_rebuild(tmp_path: Path) -> None:
    ended = Publishing(tmp_path, Places(str(tmp_path / "lists.lmdb"))).run("rebuild_cache")
    assert ended.returncode == 77
    assert ended.stderr == "marquee: there is no cache to rebuild: the setting MARQUEE_CACHE names none\n"


def test_before_the_first_run_there_is_nothing_to_fill_it_with(cached: Publishing) -> None:
    ended = cached.run("rebuild_cache")
    assert ended.returncode == 77
    assert "no run was published yet" in ended.stderr


def test_a_cache_that_is_down_is_named_in_a_sentence(tmp_path: Path) -> None:
    behind = Publishing(tmp_path, Places(str(tmp_path / "lists.lmdb")))
    today(behind)
    ended = behind.run("rebuild_cache", MARQUEE_CACHE=f"redis://127.0.0.1:{closed_port()}/0")
    assert ended.returncode == 69
    assert len(ended.stderr.splitlines()) == 1
