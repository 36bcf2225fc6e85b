"""What only the store in Cassandra promises; what all stores do is in `test_every_store.py`."""

import contextlib
import dataclasses
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from tcp_proxy import TcpProxy

from pipelines.errors import RefusedError, UnavailableError, UsageError
from pipelines.stores import cassandra_session
from pipelines.stores.cassandra import CassandraStore
from pipelines.stores.cassandra_session import CassandraAddress, connect, parse_address
from pipelines.stores.interface import tally_of
from pipelines.stores.places import Places
from pipelines.stores.user_state import FORGOTTEN

YESTERDAY, TODAY = "20260130-aaaaaaaaaaaa", "20260131-bbbbbbbbbbbb"
USERS = range(1, 41)


@pytest.fixture
def places(places):
    return dataclasses.replace(places, cache="")


@pytest.fixture
def store(places):
    with CassandraStore(places) as store:
        yield store


@pytest.fixture
def other(places):
    with CassandraStore(places) as store:
        yield store


@pytest.fixture
def session(places):
    cluster, session = connect(places)
    yield session
    cluster.shutdown()


@pytest.fixture
def proxied(places, monkeypatch):
    """A proxy in front of Cassandra, and a store behind it that waits for a second at a time."""
    monkeypatch.setattr(cassandra_session, "_STORING_SECONDS", 1.0)
    address = parse_address(places.lists)
    with TcpProxy(address.hosts[0], address.port) as proxy:
        lists = dataclasses.replace(address, port=proxy.port)
        with CassandraStore(dataclasses.replace(places, lists=str(lists))) as store:
            yield proxy, store


def lists_of(users=USERS, mark=b"a"):
    return ((user_id, mark * 100 + user_id.to_bytes(8, "big")) for user_id in users)


def written(store, run_id, users=USERS):
    attempt = store.open_attempt(run_id)
    store.put_many(run_id, attempt, lists_of(users))
    store.put_trending(run_id, attempt, b"trending")
    store.commit_manifest(run_id, attempt, {"lists": len(users)})
    return attempt


def publish(store, run_id, users=USERS):
    return store.go_live(run_id, written(store, run_id, users))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("cassandra://u@h/k", CassandraAddress("u", ("h",), 9042, "k")),
        ("cassandra://u@h:1/k_2", CassandraAddress("u", ("h",), 1, "k_2")),
        ("cassandra://u@10.0.0.1:9142,b.c,d-e/k", CassandraAddress("u", ("10.0.0.1", "b.c", "d-e"), 9142, "k")),
        ("cassandra://u@[::1]:9142,h/k", CassandraAddress("u", ("::1", "h"), 9142, "k")),
    ],
)
def test_an_address_names_a_user_hosts_and_a_keyspace(text, address):
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cassandra://h/k",
        "cassandra://u@h",
        "cassandra://u@h/K",
        "cassandra://u:secret@h/k",
        "cassandra://u@/k",
        "cassandra://u@h,/k",
        "cassandra://u@h:0/k",
        "cassandra://u@h:65536/k",
        "cassandra://u@h/k;DROP",
        "redis://u@h/k",
    ],
)
def test_another_form_of_address_is_refused(text):
    with pytest.raises(UsageError, match="an address of Cassandra is"):
        parse_address(text)


@pytest.mark.parametrize("setting", ["cassandra_write_consistency", "cassandra_read_consistency"])
def test_an_unknown_consistency_is_refused(places, setting):
    with pytest.raises(UsageError, match=f"MARQUEE_{setting.upper()}.*LOCAL_QUORUM"):
        CassandraStore(dataclasses.replace(places, **{setting: "MOST"}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"host": "no-such-host.invalid"}, "no host of .* is known"),
        ({"port": 9}, "no host of .* answers"),
        ({"password": "hunter2"}, "refuses the user .* or the password"),
        ({"keyspace": "h1_nowhere"}, "no keyspace h1_nowhere .*jobs.migrate_cassandra"),
        ({"keyspace": "system_auth"}, "tables .* not as needed.*jobs.migrate_cassandra"),
        ({"datacenter": "nowhere"}, "data centre"),
    ],
)
def test_what_cannot_be_reached_is_said_in_one_sentence_and_soon(cassandra_server, change, said):
    at = {
        "host": cassandra_server.host,
        "port": cassandra_server.port,
        "password": cassandra_server.password,
        "keyspace": "system",
        "datacenter": "datacenter1",
    } | change
    places = Places(
        f"cassandra://{cassandra_server.user}@{at['host']}:{at['port']}/{at['keyspace']}",
        cassandra_password=at["password"],
        cassandra_datacenter=at["datacenter"],
    )
    before = threading.active_count()
    started = time.monotonic()
    with pytest.raises(UnavailableError, match=said) as error:
        CassandraStore(places)
    assert time.monotonic() - started < 10
    assert "\n" not in str(error.value)
    assert "hunter2" not in str(error.value)
    assert threading.active_count() <= before + 1  # the driver's event loop is one for all


def test_what_listens_and_says_nothing_is_given_up_soon(cassandra_server):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        started = time.monotonic()
        with pytest.raises(UnavailableError, match=r"no host of .* answers"):
            CassandraStore(Places(f"cassandra://u@127.0.0.1:{port}/k"))
    assert time.monotonic() - started < 10


def test_lists_and_what_names_them_expire(store, session, places):
    attempt = store.open_attempt(TODAY)
    store.put_many(TODAY, attempt, lists_of(), part="0/1")
    limit = timedelta(days=places.retention_days).total_seconds()
    ttl = session.execute("SELECT TTL(data) FROM lists WHERE attempt = %s AND user_id = 1", [attempt]).one()[0]
    assert limit - 600 < ttl <= limit
    for query in (
        "SELECT TTL(run_id) FROM recent_attempts WHERE bucket = 0 AND attempt = %s",
        "SELECT TTL(checksum) FROM parts WHERE attempt = %s AND part = '0/1'",
    ):
        assert ttl < session.execute(query, [attempt]).one()[0] <= limit + 86400


def test_an_attempt_whose_lists_have_expired_is_neither_written_nor_taken_live(store, session):
    publish(store, YESTERDAY)
    old = written(store, TODAY)
    again = store.open_attempt(TODAY)
    for attempt in (old, again):
        # Only ever written by lightweight transactions.
        session.execute(
            "UPDATE attempts SET expires_at = %s WHERE run_id = %s AND attempt = %s IF EXISTS",
            [datetime.now(UTC) - timedelta(seconds=1), TODAY, attempt],
        )
    with pytest.raises(RefusedError, match="expire"):
        store.put_many(TODAY, again, lists_of())
    with pytest.raises(RefusedError, match="expired on"):
        store.go_live(TODAY, old, allow_older=True)
    assert store.live().run_id == YESTERDAY


def test_a_resumed_part_writes_only_what_is_missing_or_different(store, session, monkeypatch):
    monkeypatch.setattr("pipelines.stores.cassandra._LISTS_A_TURN", 10)
    attempt = store.open_attempt(TODAY)

    def broken():
        yield from lists_of(USERS[:20])
        yield from lists_of(USERS[20:30], mark=b"b")
        raise EOFError

    with pytest.raises(EOFError):
        store.put_many(TODAY, attempt, broken())
    assert store.tally(TODAY).list_count == 0

    def written_at():
        rows = session.execute("SELECT user_id, WRITETIME(data) AS at FROM lists")
        return {row.user_id: row.at for row in rows}

    before = written_at()
    assert before.keys() == set(USERS[:30])
    assert store.put_many(TODAY, attempt, lists_of()) == tally_of(lists_of()) == store.tally(TODAY)
    after = written_at()
    assert [user_id for user_id in USERS if after[user_id] != before.get(user_id)] == list(USERS[20:])
    assert [store.get(TODAY, user_id) for user_id in USERS] == [data for _, data in lists_of()]


def test_a_writer_that_wakes_after_an_erasure_does_not_bring_the_list_back(store, other):
    attempt = store.open_attempt(TODAY)

    def paused():
        yield from lists_of(USERS[:10])
        other.forget_user(3)
        yield from lists_of(USERS[10:])

    assert store.put_many(TODAY, attempt, paused()).list_count == len(USERS)
    assert store.get(TODAY, 3) is None
    # Nor does one that begins again; the rest of its lists is written.
    store.put_many(TODAY, attempt, lists_of(mark=b"b"))
    assert store.get(TODAY, 3) is None
    assert store.get(TODAY, 4) == dict(lists_of(mark=b"b"))[4]


def test_an_erasure_outdoes_an_attempt_opened_by_a_clock_that_is_ahead(store, session):
    attempt = store.open_attempt(TODAY)
    ahead = datetime.now(UTC) + timedelta(hours=1)
    for query in (
        "UPDATE attempts SET opened_at = %s WHERE run_id = %s AND attempt = %s IF EXISTS",
        "INSERT INTO recent_attempts (opened_at, run_id, attempt, bucket) VALUES (%s, %s, %s, 0)",
    ):
        session.execute(query, [ahead, TODAY, attempt])
    store.put_many(TODAY, attempt, lists_of())
    assert store.get(TODAY, 3) is not None
    assert store.forget_user(3) == 1
    assert store.get(TODAY, 3) is None


def test_a_forgotten_user_who_was_only_marked_is_not_answered_with_a_list(store, session):
    publish(store, TODAY)
    store.forget_user(3)
    publish(store, "20260201-cccccccccccc")  # writes one anew
    assert store.get("20260201-cccccccccccc", 3) is not None
    assert store.live_list(3).user_list is None
    assert store.state(3).state == FORGOTTEN


def test_attempts_opened_at_once_have_numbers_of_their_own_and_the_largest_may_write(store, other):
    numbers = {store: [], other: []}

    def opening(one):
        for _ in range(8):
            numbers[one].append(one.open_attempt(TODAY))

    at_once(lambda: opening(store), lambda: opening(other))
    drawn = sorted(numbers[store] + numbers[other])
    assert len(set(drawn)) == 16
    store.put_many(TODAY, drawn[-1], lists_of())
    for attempt in drawn[:-1]:
        with pytest.raises(RefusedError, match="overtaken"):
            store.put_trending(TODAY, attempt, b"late")


@pytest.mark.parametrize("last_act", ["put_trending", "commit_manifest"])
def test_an_attempt_overtaken_between_its_last_look_and_its_last_act_changes_nothing(
    store, other, monkeypatch, last_act
):
    attempt = store.open_attempt(TODAY)
    store.put_trending(TODAY, attempt, b"early")
    looked = store._may_write
    newer = []

    def look_and_pause(*arguments):
        row = looked(*arguments)
        if not newer:
            newer.append(other.open_attempt(TODAY))
        return row

    monkeypatch.setattr(store, "_may_write", look_and_pause)
    with pytest.raises(RefusedError, match="overtaken"):
        getattr(store, last_act)(TODAY, attempt, {"put_trending": b"late", "commit_manifest": {}}[last_act])
    assert store.manifest(TODAY) is None


def test_an_attempt_overtaken_between_its_last_look_and_its_move_does_not_go_live(store, other, monkeypatch):
    publish(store, YESTERDAY)
    attempt = written(store, TODAY)
    looked = store._may_go_live
    newer = []

    def look_and_pause(*arguments, **options):
        looked(*arguments, **options)
        if not newer:
            newer.append(other.open_attempt(TODAY))

    monkeypatch.setattr(store, "_may_go_live", look_and_pause)
    with pytest.raises(RefusedError, match="overtaken"):
        store.go_live(TODAY, attempt)
    assert store.live().run_id == YESTERDAY


def test_the_pointer_moves_without_gaps_when_two_move_it_at_once(store, other):
    runs = {run_id: written(store, run_id) for run_id in (YESTERDAY, TODAY)}
    seen = []

    def moving(one, run_id):
        seen.extend(one.go_live(run_id, runs[run_id], allow_older=True) for _ in range(8))

    at_once(lambda: moving(store, YESTERDAY), lambda: moving(other, TODAY))
    last = store.live()
    # Each number belongs to one move, and none is left out.
    assert {live.move for live in seen} == set(range(1, last.move + 1))
    assert len(set(seen)) == last.move


def test_a_run_taken_live_while_it_is_dropped_is_kept(store, other, monkeypatch):
    old = written(store, YESTERDAY)
    publish(store, TODAY)
    drop = store._drop

    def pause_and_drop(row):
        other.go_live(YESTERDAY, old, allow_older=True)
        return drop(row)

    monkeypatch.setattr(store, "_drop", pause_and_drop)
    assert store.drop_runs(keep=1) == []
    assert store.manifest(YESTERDAY).attempt == old
    assert store.live_list(1).user_list == dict(lists_of())[1]


def test_of_two_writers_of_a_part_the_one_that_began_last_records_it(store, other):
    attempt = store.open_attempt(TODAY)

    def paused():
        yield from lists_of(USERS[:20])
        other.put_many(TODAY, attempt, lists_of())
        yield from lists_of(USERS[20:])

    with pytest.raises(RefusedError, match="begun anew"):
        store.put_many(TODAY, attempt, paused())
    assert store.tally(TODAY) == tally_of(lists_of())


class Wire:
    """A line to Cassandra that can be cut."""

    def __init__(self, host, port):
        self._target = (host, port)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._open = []
        self.is_cut = False
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def cut(self):
        self.is_cut = True
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self):
        self.is_cut = False

    def close(self):
        self.cut()
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join()
        for end in self._open:
            end.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                if self.is_cut:
                    near.close()
                    continue
                far = socket.create_connection(self._target)
                self._open += [near, far]
                for ends in ((near, far), (far, near)):
                    self._threads.append(threading.Thread(target=self._copy, args=ends))
                    self._threads[-1].start()

    def _copy(self, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def wire(cassandra_server):
    wire = Wire(cassandra_server.host, cassandra_server.port)
    yield wire
    wire.close()


def test_a_line_cut_in_mid_write_and_mended_costs_no_list(places, wire, cassandra_server, monkeypatch):
    monkeypatch.setattr("pipelines.stores.cassandra._LISTS_A_TURN", 2000)
    over_wire = dataclasses.replace(places, lists=places.lists.replace(f":{cassandra_server.port}", f":{wire.port}"))
    users = range(1, 4001)
    with CassandraStore(over_wire) as store:
        attempt = store.open_attempt(TODAY)

        def cutting():
            for user_id, data in lists_of(users):
                if user_id == 2001:
                    threading.Timer(0.1, wire.cut).start()
                    threading.Timer(1.5, wire.mend).start()
                yield user_id, data

        tally = store.put_many(TODAY, attempt, cutting())
        assert not wire.is_cut
        assert tally == tally_of(lists_of(users)) == store.tally(TODAY)
        for user_id, data in lists_of(users[1950::50]):
            assert store.get(TODAY, user_id) == data


def test_a_line_cut_for_good_in_mid_write_ends_in_one_sentence(places, wire, cassandra_server):
    over_wire = dataclasses.replace(places, lists=places.lists.replace(f":{cassandra_server.port}", f":{wire.port}"))
    with CassandraStore(over_wire) as store:
        attempt = store.open_attempt(TODAY)

        def cutting():
            yield from lists_of()
            wire.cut()

        started = time.monotonic()
        with pytest.raises(UnavailableError, match="cassandra://") as error:
            store.put_many(TODAY, attempt, cutting())
        assert time.monotonic() - started < 60
        assert "\n" not in str(error.value)


@pytest.mark.slow
def test_writing_many_lists_takes_no_more_memory_than_a_few(places):
    source = f"""
import ctypes
import gc
import os
import statistics
import pipelines.stores.cassandra
from pipelines.stores.cassandra import CassandraStore
from pipelines.stores.places import Places
pipelines.stores.cassandra._LISTS_A_TURN = 1000
noise = os.urandom(1_000_000)
seen = []
def lists():
    for user_id in range(1, 40_001):
        if user_id % 1000 == 1:
            # What is held, not what the allocator keeps for the next turn.
            gc.collect()
            ctypes.CDLL("libc.so.6").malloc_trim(0)
            seen.append(int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
        start = user_id * 7919 % 998_000
        yield user_id, noise[start : start + 1900]
with CassandraStore(Places(**{dataclasses.asdict(places)!r})) as store:
    attempt = store.open_attempt({TODAY!r})
    store.put_many({TODAY!r}, attempt, lists())
assert len(seen) == 40
print(*(int(statistics.median(turns)) for turns in (seen[10:20], seen[30:])))
print(max(seen[15:]) - seen[14])
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, timeout=300)
    early, late, most_grown = map(int, done.stdout.split())
    assert late - early < 2_000_000  # of 38 MB written between
    assert most_grown < 8_000_000  # of 50 MB


def at_once(*works):
    failed = []

    def guarded(work):
        try:
            work()
        except Exception as error:  # noqa: BLE001
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def test_a_moment_in_which_nothing_is_answered_costs_an_attempt_time_and_nothing_else(proxied):
    proxy, store = proxied
    written(store, YESTERDAY)
    proxy.is_hanging = True
    again = threading.Timer(1.5, lambda: setattr(proxy, "is_hanging", False))
    again.start()
    try:
        attempt = store.open_attempt(TODAY)
    finally:
        again.join()
    assert store.put_many(TODAY, attempt, lists_of()).list_count == len(USERS)


def test_what_stays_silent_is_given_up_in_one_sentence(proxied):
    proxy, store = proxied
    written(store, YESTERDAY)
    proxy.is_hanging = True
    with pytest.raises(UnavailableError, match="did not answer in time"):
        store.open_attempt(TODAY)
