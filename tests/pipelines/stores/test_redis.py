from datetime import UTC, datetime

import pytest
import redis

from pipelines.errors import DataError, RefusedError, UnavailableError, UsageError
from pipelines.local_redis import start_redis
from pipelines.local_servers import free_port, stop_servers
from pipelines.stores.interface import HOME, Live, Tally, tally_of
from pipelines.stores.redis import RedisStore
from pipelines.stores.redis_address import parse_redis_address
from pipelines.stores.user_state import FORGOTTEN, NOBODY, Stated, UserState

YESTERDAY, TODAY = "20260130-aaaaaaaaaaaa", "20260131-bbbbbbbbbbbb"
NOW = datetime(2026, 2, 1, 4, tzinfo=UTC)
DAY_SECONDS = 86_400


@pytest.fixture
def address(redis_server, redis_database):
    return f"redis://{redis_server.host}:{redis_server.port}/{redis_database}"


@pytest.fixture
def store(address):
    with RedisStore(address, expiry_days=3) as store:
        yield store


@pytest.fixture
def small_server(tmp_path):
    """One with room for 8 MB, which drops what expires when that is full."""
    server = start_redis(tmp_path / "redis", port=free_port(), memory="8mb")
    yield server
    stop_servers([server.server])


def lists(users=range(1, 50), data=b"x" * 1900):
    return [(user_id, data + b"%d" % user_id) for user_id in users]


def publish(store, run_id=TODAY, users=range(1, 50)):
    attempt = store.open_attempt(run_id)
    store.put_many(run_id, attempt, lists(users))
    store.put_trending(run_id, attempt, b"trending")
    store.commit_manifest(run_id, attempt, {})
    return store.go_live(run_id, attempt)


def copy(hot, users=range(1, 50), attempt=5, move=3):
    """As a pair copies what another store published."""
    hot.adopt_attempt(TODAY, attempt, NOW)
    hot.copy_lists(attempt, lists(users))
    hot.copy_trending(attempt, b"trending")
    live = Live(TODAY, attempt, move, NOW)
    assert hot.copy_pointer(HOME, live)
    return live


@pytest.mark.parametrize(
    ("text", "host", "port", "database", "user"),
    [
        ("redis://cache/0", "cache", 6379, 0, ""),
        ("redis://marquee@10.0.0.1:7000/12", "10.0.0.1", 7000, 12, "marquee"),
        ("redis://[::1]:7000/1", "::1", 7000, 1, ""),
    ],
)
def test_an_address_names_a_database_of_a_server(text, host, port, database, user):
    address = parse_redis_address(text)
    assert (address.host, address.port, address.database, address.user) == (host, port, database, user)
    assert parse_redis_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "redis://cache",
        "redis://cache/",
        "redis://cache/home",
        "redis:///0",
        "redis://cache:port/0",
        "redis://cache:99999/0",
        "redis://cache/0?db=1",
        "redis://[::1/0",
        "cache/0",
        "http://cache/0",
        "",
    ],
)
def test_an_address_of_another_form_is_refused(text):
    with pytest.raises(UsageError, match="no address of a Redis database"):
        parse_redis_address(text)


def test_a_password_in_an_address_is_refused_and_not_repeated():
    with pytest.raises(UsageError, match="MARQUEE_REDIS_PASSWORD") as refused:
        RedisStore("redis://user:secret@cache/0", expiry_days=3)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("redis://no-such-host.invalid/0", "cannot be reached"),
        ("redis://127.0.0.1:1/0", "cannot be reached"),
    ],
)
def test_a_server_that_is_not_there_is_named_in_one_sentence(address, what):
    with RedisStore(address, expiry_days=3) as store:
        for ask in (store.live, lambda: store.open_attempt(TODAY), store.forgotten, lambda: store.drop_runs(1)):
            with pytest.raises(UnavailableError, match=what) as said:
                ask()
            assert str(said.value).startswith("the Redis store redis://")
            assert "\n" not in str(said.value)


def test_a_wrong_password_or_database_is_named_in_one_sentence(small_server):
    with redis.Redis(small_server.host, small_server.port) as redis_client:
        redis_client.config_set("requirepass", "right")
        redis_client.acl_setuser("reader", enabled=True, passwords=["+right"], keys=["*"], commands=["+hget"])
    for address, password in (
        (small_server.address, ""),
        (small_server.address, "wrong"),
        (small_server.address.replace("//", "//nobody@"), "right"),
        (small_server.address.replace("//", "//reader@"), "right"),
    ):
        with RedisStore(address, password=password, expiry_days=3) as store:
            with pytest.raises(UnavailableError, match="user name or password") as said:
                store.open_attempt(TODAY)
            assert "wrong" not in str(said.value)
    with (
        RedisStore(small_server.address.replace("/0", "/99"), password="right", expiry_days=3) as store,
        pytest.raises(UnavailableError, match="DB index is out of range"),
    ):
        store.live()
    with RedisStore(small_server.address, password="right", expiry_days=3) as store:
        assert publish(store).move == 1


def test_lists_expire_and_what_decides_does_not(store, redis_client):
    store.put_state(7, UserState(is_opted_out=True), 0)
    store.forget_user(8)
    live = publish(store)
    ends = {key: redis_client.ttl(key) for key in redis_client.scan_iter()}
    expiring = {key for key, seconds in ends.items() if seconds >= 0}
    assert all(3 * DAY_SECONDS - 60 < ends[key] <= 3 * DAY_SECONDS for key in expiring)
    assert {key for key in ends if key.startswith(b"m:l:")} < expiring
    assert not expiring & {b"m:pointers", b"m:s:7", b"m:f:8", b"m:forgotten", b"m:t:%d" % live.attempt}


def test_what_was_lost_is_missed_when_lists_are_read_back(store, redis_client):
    attempt = store.open_attempt(TODAY)
    assert store.put_many(TODAY, attempt, lists()) == store.tally(TODAY) == tally_of(lists())
    redis_client.delete(b"m:l:%d:7" % attempt)
    redis_client.set(b"m:l:%d:8" % attempt, b"changed")
    found = store.tally(TODAY)
    assert found.list_count == len(lists()) - 1
    assert found.checksum != tally_of(one for one in lists() if one[0] != 7).checksum


def test_of_two_writings_of_a_part_one_is_counted(store):
    attempt = store.open_attempt(TODAY)

    def interrupted():
        yield from lists(range(1, 10))
        store.put_many(TODAY, attempt, lists(), part="0/1")
        yield from lists(range(10, 50))

    store.put_many(TODAY, attempt, interrupted(), part="0/1")
    assert store.tally(TODAY) == tally_of(lists())


def test_a_copy_is_read_like_a_store(store):
    live = copy(store)
    assert store.live() == live
    assert store.live_list(7) == (live, b"x" * 1900 + b"7", b"trending")
    assert store.get(TODAY, 7) == b"x" * 1900 + b"7"
    assert store.live_list(99) == (live, None, b"trending")


def test_everything_in_a_copy_but_pointers_and_marks_expires(store, redis_client):
    copy(store)
    store.copy_state(7, Stated(UserState(watched=(1,)), 4))
    store.mark_forgotten([8])
    lasting = {key for key in redis_client.scan_iter() if redis_client.ttl(key) < 0}
    assert lasting == {
        *(b"m:epoch", b"m:attempts", b"m:newest", b"m:written", b"m:pointers"),
        *(b"m:forgotten", b"m:f:8", b"m:s:8"),
    }


def test_the_copy_of_a_pointer_never_moves_back(store):
    live = copy(store, move=3)
    for move in (1, 2, 3):
        assert not store.copy_pointer(HOME, Live(YESTERDAY, 4, move, NOW))
        assert store.live() == live
    rolled_back = Live(YESTERDAY, 4, 4, NOW)
    assert store.copy_pointer(HOME, rolled_back)
    assert store.live() == rolled_back
    assert store.copy_pointer("kids", live)
    assert store.live() == rolled_back


def test_the_copy_of_a_state_never_goes_back(store, redis_client):
    newer, older = Stated(UserState(watched=(1, 2)), 2), Stated(UserState(watched=(1,)), 1)
    assert store.copy_state(7, NOBODY)
    assert redis_client.exists("m:s:7")
    assert store.copy_state(7, newer)
    assert not store.copy_state(7, older)
    assert not store.copy_state(7, NOBODY)
    assert store.state(7) == newer
    assert store.copy_state(7, newer)  # and its expiry begins anew


def test_a_copied_erasure_removes_lists_and_state_and_stays(store, redis_client):
    copy(store)
    store.copy_state(7, Stated(UserState(watched=(1,)), 4))
    store.mark_forgotten([7, 1000])
    store.mark_forgotten(iter([7]))
    store.copy_state(9, Stated(FORGOTTEN, 5))
    assert store.forgotten() == {7, 9, 1000}
    for user_id in (7, 9):
        assert store.live_list(user_id).user_list is None
        assert not redis_client.exists(f"m:l:5:{user_id}")
        assert store.state(user_id).state == FORGOTTEN
        assert not store.copy_state(user_id, Stated(UserState(), 99))
    store.copy_lists(5, lists([7]))
    assert store.live_list(7).user_list is None


def test_an_erasure_finds_lists_that_came_after_a_copy_was_lost(store, redis_client):
    live = copy(store)
    redis_client.flushdb()
    store.copy_pointer(HOME, live)
    redis_client.set("m:l:5:7", b"by whoever serves from it")
    assert store.forget_user(7) == 1
    assert not redis_client.exists("m:l:5:7")


def test_an_erasure_finds_lists_of_runs_that_were_dropped(store, redis_client):
    first = publish(store, YESTERDAY)
    publish(store, TODAY)
    assert store.drop_runs(keep=1) == [YESTERDAY]
    assert redis_client.exists(b"m:l:%d:7" % first.attempt)
    assert store.forget_user(7) == 2
    assert not redis_client.keys("m:l:*:7")


def test_attempts_opened_elsewhere_count(store):
    store.adopt_attempt(TODAY, 41, NOW)
    store.adopt_attempt(TODAY, 40, NOW)
    assert store.put_many(TODAY, 41, lists()) == store.tally(TODAY)
    with pytest.raises(RefusedError, match="overtaken"):
        store.put_many(TODAY, 40, lists())
    assert store.open_attempt(YESTERDAY) == 42
    with pytest.raises(UsageError, match="run id"):
        store.adopt_attempt("today", 43, NOW)


def test_a_copied_list_of_no_user_is_refused(store):
    store.adopt_attempt(TODAY, 5, NOW)
    for user_id in (0, 2**63):
        with pytest.raises(DataError, match="user id"):
            store.copy_lists(5, [(7, b""), (user_id, b"")])
    assert store.copy_lists(5, []) == Tally(0, 0)


def test_scripts_are_known_again_after_a_restart(store, redis_client):
    publish(store, YESTERDAY)
    redis_client.script_flush()
    assert publish(store, TODAY).move == 2


def test_at_the_memory_limit_lists_give_way_and_the_pointer_stays(small_server):
    with RedisStore(small_server.address, expiry_days=3) as hot, redis.Redis(port=small_server.port) as redis_client:
        live = copy(hot)
        hot.mark_forgotten([3])
        given = hot.copy_lists(6, lists(range(1, 8001)))
        assert given.list_count == 8000
        assert redis_client.info("stats")["evicted_keys"] > 1000
        assert hot.live() == live
        assert hot.forgotten() == {3}
        newer = Live(TODAY, 6, 4, NOW)
        assert hot.copy_pointer(HOME, newer)
        assert hot.live() == newer


def test_a_store_of_its_own_that_lost_lists_at_its_memory_limit_is_found_out(small_server):
    with RedisStore(small_server.address, expiry_days=3) as store:
        attempt = store.open_attempt(TODAY)
        given = store.put_many(TODAY, attempt, lists(range(1, 8001)))
        assert store.tally(TODAY) != given


def test_a_write_that_finds_no_room_says_so_in_one_sentence(small_server):
    with RedisStore(small_server.address, expiry_days=3) as store, redis.Redis(port=small_server.port) as redis_client:
        live = publish(store, YESTERDAY, range(1, 5))
        attempt = store.open_attempt(TODAY)
        redis_client.config_set("maxmemory-policy", "noeviction")
        used = redis_client.info("memory")["used_memory"]
        for room, write in (
            (200_000, lambda: store.put_many(TODAY, attempt, lists(range(1, 8001)))),
            (200_000, lambda: store.copy_lists(attempt, lists(range(1, 8001)))),
            (-200_000, lambda: store.put_trending(TODAY, attempt, b"trending")),
            (-200_000, lambda: store.copy_pointer(HOME, Live(TODAY, attempt, 2, NOW))),
        ):
            redis_client.config_set("maxmemory", used + room)
            with pytest.raises(UnavailableError, match="is full: its memory limit is reached") as said:
                write()
            assert len(str(said.value)) < 200
        assert store.live_list(3) == (live, b"x" * 1900 + b"3", b"trending")
