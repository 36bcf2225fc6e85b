"""What every store of lists promises; each test runs against each store."""

import dataclasses
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from planted_lists import a_list

from pipelines.errors import DataError, RefusedError, UsageError
from pipelines.lists.codec import unpack
from pipelines.stores.embedded import EmbeddedStore
from pipelines.stores.interface import ListStore, Tally, checksum, run_day, sum_of, tally_of
from pipelines.stores.open import open_store
from pipelines.stores.places import Places
from pipelines.stores.user_state import FORGOTTEN, NOBODY, UserState

YESTERDAY, TODAY, TODAY_TOO = "20260130-aaaaaaaaaaaa", "20260131-bbbbbbbbbbbb", "20260131-cccccccccccc"
USERS = range(1, 301)


@dataclass
class Kind:
    """A kind of store: how this process opens it, and how another does, as source that binds `store`.

    `turns` are the constants by which it splits its writes and its deletions, as `module.name`: small ones let a few
    lists take several turns.
    """

    open: Callable[[], ListStore]
    source: str
    write_turns: tuple[str, ...]
    delete_turns: tuple[str, ...] = ()

    def with_turns_of(self, lists: int) -> str:
        """Source that makes another process write so many lists a turn."""
        settings = [name.rpartition(".") for name in self.write_turns]
        return "".join(f"import {module}\n{module}.{name} = {lists}\n" for module, _, name in settings)


@pytest.fixture(params=["embedded", "redis", "cassandra", pytest.param("pair", marks=pytest.mark.slow)])
def kind(request, tmp_path):
    if request.param == "embedded":
        path = tmp_path / "lists.lmdb"
        return Kind(
            lambda: EmbeddedStore(path),
            "from pathlib import Path\nfrom pipelines.stores.embedded import EmbeddedStore\n"
            f"store = EmbeddedStore(Path({str(path)!r}))\n",
            ("pipelines.stores.embedded._LISTS_A_TURN",),
            ("pipelines.stores.embedded._DELETES_A_TURN",),
        )
    places = request.getfixturevalue("places")
    if request.param == "redis":
        places = Places(places.cache)
    elif request.param == "cassandra":
        places = dataclasses.replace(places, cache="")
    return Kind(
        lambda: open_store(places),
        "from pipelines.stores.open import open_store\nfrom pipelines.stores.places import Places\n"
        f"store = open_store(Places(**{dataclasses.asdict(places)!r}))\n",
        {
            "redis": ("pipelines.stores.redis._LISTS_A_TURN",),
            "cassandra": ("pipelines.stores.cassandra._LISTS_A_TURN",),
            "pair": ("pipelines.stores.cassandra._LISTS_A_TURN", "pipelines.stores.redis._LISTS_A_TURN"),
        }[request.param],
    )


@pytest.fixture
def store(kind):
    store = kind.open()
    yield store
    store.close()


def trending(run_id):
    return a_list(run_id, 0)


def lists_of(run_id, users=USERS, seed=0):
    return ((user_id, a_list(run_id, user_id, seed)) for user_id in users)


def publish(store, run_id, users=USERS, **options):
    attempt = store.open_attempt(run_id)
    tally = store.put_many(run_id, attempt, lists_of(run_id, users))
    store.put_trending(run_id, attempt, trending(run_id))
    store.commit_manifest(run_id, attempt, {"list_count": tally.list_count})
    return store.go_live(run_id, attempt, **options)


def is_served_whole(store, run_id, users=USERS):
    # Many at once: a server's answer takes longer than ours to ask for it.
    with ThreadPoolExecutor(8) as asking:
        answers = list(asking.map(store.live_list, users))
    for user_id, answered in zip(users, answers, strict=True):
        if answered is None or answered.live.run_id != run_id or answered.trending != trending(run_id):
            return False
        if answered.user_list != a_list(run_id, user_id):
            return False
    return True


def elsewhere(kind, work):
    """Another process that opens the store and does this; it can make lists as we do."""
    here = Path(__file__).parent
    source = f"import sys\nsys.path[:0] = {[str(here), str(here.parents[1] / 'worlds')]!r}\n"
    source += f"from test_every_store import *\n{kind.source}{work}"
    return subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)


def test_nothing_is_live_in_a_new_store(store):
    assert store.live() is None
    assert store.live_list(1) is None
    assert store.manifest(TODAY) is None
    assert store.get(TODAY, 1) is None


def test_what_is_published_is_served(store):
    before = datetime.now(UTC)
    live = publish(store, TODAY)
    assert (live.run_id, live.move) == (TODAY, 1)
    assert before <= live.moved_at <= datetime.now(UTC)
    assert store.live() == live
    assert is_served_whole(store, TODAY)
    unpack(store.live_list(1).user_list)


def test_an_unknown_user_has_no_list_and_the_trending_one(store):
    publish(store, TODAY)
    answered = store.live_list(999)
    assert answered.user_list is None
    assert answered.trending == trending(TODAY)


def test_nothing_is_seen_before_the_pointer_moves(store):
    publish(store, YESTERDAY)
    attempt = store.open_attempt(TODAY)
    store.put_many(TODAY, attempt, lists_of(TODAY))
    store.put_trending(TODAY, attempt, trending(TODAY))
    assert is_served_whole(store, YESTERDAY)
    store.commit_manifest(TODAY, attempt, {})
    assert is_served_whole(store, YESTERDAY)
    store.go_live(TODAY, attempt)
    assert is_served_whole(store, TODAY)


def test_shards_in_any_order_add_up_to_what_is_read_back(store):
    attempt = store.open_attempt(TODAY)
    shards = [store.put_many(TODAY, attempt, lists_of(TODAY, USERS[part::3]), part=f"{part}/3") for part in (2, 0, 1)]
    assert sum_of(shards) == store.tally(TODAY) == tally_of(reversed(list(lists_of(TODAY))))
    assert sum_of(shards).list_count == len(USERS)
    assert sum_of([list(shard) for shard in shards]) == sum_of(shards)  # as JSON gives them back


def test_the_checksum_tells_a_changed_list_and_a_swapped_user_apart():
    assert checksum(1, b"a") != checksum(1, b"b")
    assert checksum(1, b"a") != checksum(2, b"a")
    assert tally_of([(1, b"a"), (2, b"b")]) != tally_of([(1, b"b"), (2, b"a")])


def test_a_shard_written_twice_is_as_good_as_once(store):
    attempt = store.open_attempt(TODAY)
    once = store.put_many(TODAY, attempt, lists_of(TODAY))
    assert store.put_many(TODAY, attempt, lists_of(TODAY)) == once == store.tally(TODAY)


def test_a_list_can_be_read_back_before_it_is_live(store):
    attempt = store.open_attempt(TODAY)
    store.put_many(TODAY, attempt, lists_of(TODAY))
    assert store.get(TODAY, 7) == a_list(TODAY, 7)
    assert store.get(TODAY, 999) is None


def test_an_empty_shard_counts_nothing(store):
    attempt = store.open_attempt(TODAY)
    assert store.put_many(TODAY, attempt, []) == Tally(0, 0) == store.tally(TODAY)


def test_attempts_are_numbered_upwards_over_the_whole_store(store):
    numbers = [store.open_attempt(run_id) for run_id in (TODAY, YESTERDAY, TODAY, TODAY_TOO)]
    assert numbers == sorted(set(numbers))
    store.drop_runs(keep=0)
    assert store.open_attempt(YESTERDAY) > max(numbers)


def test_an_overtaken_attempt_loses(store):
    old = store.open_attempt(TODAY)
    store.put_many(TODAY, old, lists_of(TODAY, seed=1))
    store.put_trending(TODAY, old, trending(TODAY))
    new = store.open_attempt(TODAY)
    for late in (
        lambda: store.put_many(TODAY, old, lists_of(TODAY, seed=1)),
        lambda: store.put_many(TODAY, old, []),
        lambda: store.put_trending(TODAY, old, b"late"),
        lambda: store.commit_manifest(TODAY, old, {}),
        lambda: store.go_live(TODAY, old),
    ):
        with pytest.raises(RefusedError):
            late()
    # What it had written is not seen by the new attempt.
    tally = store.put_many(TODAY, new, lists_of(TODAY, USERS[:100]))
    assert store.tally(TODAY) == tally
    assert store.get(TODAY, USERS[200]) is None


def test_a_writer_that_is_overtaken_between_two_lists_stops(store, kind, monkeypatch):
    for name in kind.write_turns:
        monkeypatch.setattr(name, 50)
    old = store.open_attempt(TODAY)

    def slow():
        for user_id, data in lists_of(TODAY, seed=1):
            if user_id == 120:
                publish(store, TODAY)
            yield user_id, data

    with pytest.raises(RefusedError, match="overtaken"):
        store.put_many(TODAY, old, slow())
    assert is_served_whole(store, TODAY)
    assert store.tally(TODAY) == tally_of(lists_of(TODAY))


def test_a_new_attempt_at_the_live_run_does_not_disturb_what_is_served(store):
    publish(store, TODAY)
    again = store.open_attempt(TODAY)
    store.put_many(TODAY, again, lists_of(TODAY, USERS[:10], seed=1))
    assert is_served_whole(store, TODAY)


def test_a_committed_attempt_is_not_changed_any_more(store):
    live = publish(store, TODAY)
    with pytest.raises(RefusedError, match="committed"):
        store.put_many(TODAY, live.attempt, lists_of(TODAY, seed=1))
    with pytest.raises(RefusedError, match="committed"):
        store.commit_manifest(TODAY, live.attempt, {"list_count": 0})
    store.commit_manifest(TODAY, live.attempt, {"list_count": len(USERS)})  # a retry says the same
    assert store.manifest(TODAY) == (live.attempt, {"list_count": len(USERS)})


def test_what_was_never_opened_is_refused(store):
    attempt = store.open_attempt(TODAY)
    for run_id, number in ((YESTERDAY, attempt), (TODAY, attempt + 1)):
        with pytest.raises(RefusedError):
            store.put_many(run_id, number, lists_of(TODAY))
        with pytest.raises(RefusedError):
            store.go_live(run_id, number)
    with pytest.raises(RefusedError):
        store.tally(YESTERDAY)


@pytest.mark.parametrize("run_id", ["", "today", "20260131", "20260231-0123456789ab", "20260131-0123456789AB", "../x"])
def test_a_wrong_run_id_is_refused(store, run_id):
    with pytest.raises(UsageError, match="run id"):
        store.open_attempt(run_id)


def test_a_run_id_begins_with_its_day():
    assert str(run_day(TODAY)) == "2026-01-31"


@pytest.mark.parametrize("user_id", [0, -1, 2**63])
def test_a_user_id_out_of_range_is_refused(store, user_id):
    attempt = store.open_attempt(TODAY)
    with pytest.raises(DataError, match="user id"):
        store.put_many(TODAY, attempt, [(5, b""), (user_id, b"")])
    assert store.tally(TODAY).list_count == 0


def test_a_run_without_a_manifest_or_a_trending_list_does_not_go_live(store):
    attempt = store.open_attempt(TODAY)
    store.put_many(TODAY, attempt, lists_of(TODAY))
    with pytest.raises(RefusedError, match="trending"):
        store.commit_manifest(TODAY, attempt, {})
    with pytest.raises(RefusedError, match="manifest"):
        store.go_live(TODAY, attempt)
    assert store.live() is None


def test_going_live_twice_moves_the_pointer_once(store):
    live = publish(store, TODAY)
    assert store.go_live(TODAY, live.attempt) == live


def test_a_back_fill_of_an_old_day_does_not_move_the_pointer(store):
    live = publish(store, TODAY)
    with pytest.raises(RefusedError, match="older day"):
        publish(store, YESTERDAY)
    assert store.live() == live
    assert is_served_whole(store, TODAY)


def test_a_person_may_take_an_old_run_live_again(store):
    old = publish(store, YESTERDAY)
    publish(store, TODAY)
    back = store.go_live(YESTERDAY, old.attempt, allow_older=True)
    assert back.move == 3
    assert is_served_whole(store, YESTERDAY)


def test_of_two_runs_of_a_day_the_one_opened_last_ends_up_live(store):
    publish(store, YESTERDAY)
    first, second = store.open_attempt(TODAY), store.open_attempt(TODAY_TOO)
    for run_id, attempt, part in ((TODAY, first, 0), (TODAY_TOO, second, 0), (TODAY, first, 1), (TODAY_TOO, second, 1)):
        store.put_many(run_id, attempt, lists_of(run_id, USERS[part::2]), part=f"{part}/2")
        store.put_trending(run_id, attempt, trending(run_id))
    store.commit_manifest(TODAY_TOO, second, {})
    store.go_live(TODAY_TOO, second)
    assert store.drop_runs(keep=0) == [YESTERDAY, TODAY]
    with pytest.raises(RefusedError):
        store.commit_manifest(TODAY, first, {})
    assert is_served_whole(store, TODAY_TOO)


def test_the_earlier_of_two_runs_of_a_day_does_not_replace_the_later(store):
    first, second = store.open_attempt(TODAY), store.open_attempt(TODAY_TOO)
    for run_id, attempt in ((TODAY, first), (TODAY_TOO, second)):
        store.put_trending(run_id, attempt, trending(run_id))
        store.commit_manifest(run_id, attempt, {})
    store.go_live(TODAY_TOO, second)
    with pytest.raises(RefusedError, match="older"):
        store.go_live(TODAY, first)


def test_surfaces_have_pointers_of_their_own(store):
    publish(store, YESTERDAY)
    publish(store, TODAY, surface="kids")
    assert store.live().run_id == YESTERDAY
    assert store.live("kids").run_id == TODAY
    assert store.live_list(1, "kids").user_list == a_list(TODAY, 1)
    assert store.live("search") is None


def test_a_forgotten_user_has_no_list_in_any_run_and_never_again(store):
    publish(store, YESTERDAY)
    publish(store, TODAY)
    assert store.forget_user(7) == 2
    assert store.forget_user(7) == 0
    assert store.get(TODAY, 7) is None
    assert store.live_list(7).user_list is None
    publish(store, TODAY_TOO)
    assert store.live_list(7).user_list is None
    assert store.live_list(8).user_list == a_list(TODAY_TOO, 8)
    assert store.forget_user(7) == 1  # the erasure of what was written since


def test_retention_keeps_the_newest_runs_the_live_one_and_what_is_being_written(store, kind, monkeypatch):
    for name in kind.delete_turns:
        monkeypatch.setattr(name, 70)
    days = [f"202601{day}-aaaaaaaaaaaa" for day in range(10, 16)]
    for run_id in days:
        publish(store, run_id)
    kept_attempt = store.manifest(days[3]).attempt
    overtaken = store.open_attempt(TODAY)
    store.put_many(TODAY, overtaken, lists_of(TODAY))
    writing = store.open_attempt(TODAY)
    store.put_many(TODAY, writing, lists_of(TODAY))
    assert store.drop_runs(keep=3) == days[:3]
    assert store.drop_runs(keep=3) == []
    for run_id in days[:3]:
        assert store.manifest(run_id) is None
        assert store.get(run_id, 1) is None
    for run_id in (*days[3:], TODAY):
        assert store.tally(run_id) == tally_of(lists_of(run_id))
    assert is_served_whole(store, days[-1])
    assert store.go_live(days[3], kept_attempt, allow_older=True).run_id == days[3]


def test_retention_drops_nothing_while_nothing_is_live(store):
    attempt = store.open_attempt(TODAY)
    store.put_many(TODAY, attempt, lists_of(TODAY))
    assert store.drop_runs(keep=0) == []
    assert store.tally(TODAY).list_count == len(USERS)


def test_a_writer_killed_in_its_midst_changes_nothing_and_a_retry_ends_like_a_clean_run(store, kind, tmp_path):
    publish(store, YESTERDAY)
    store.close()
    rng = random.Random(3)
    for kill_after in (0, 150, None, None):  # none: as fast as it can, killed at any moment
        work = kind.with_turns_of(20) + "attempt = store.open_attempt(TODAY)\ndef writing():\n"
        if kill_after is None:
            work += "    print('ready', flush=True)\n    while True:\n        yield from lists_of(TODAY)\n"
        else:
            work += (
                "    for user_id, data in lists_of(TODAY):\n"
                f"        if user_id > {kill_after}:\n"
                "            print('ready', flush=True)\n"
                "            time.sleep(60)\n"
                "        yield user_id, data\n"
            )
        writer = elsewhere(kind, work + "store.put_many(TODAY, attempt, writing())\n")
        assert writer.stdout.readline() == "ready\n"
        reader = kind.open()
        assert is_served_whole(reader, YESTERDAY)
        if kill_after is None:
            time.sleep(rng.uniform(0.01, 0.3))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        assert is_served_whole(reader, YESTERDAY)
        reader.close()
    again = kind.open()
    live = publish(again, TODAY)
    assert live.move == 2
    assert is_served_whole(again, TODAY)
    assert again.tally(TODAY) == tally_of(lists_of(TODAY))
    assert again.drop_runs(keep=0) == [YESTERDAY]
    again.close()


def test_no_answer_mixes_two_runs_while_the_pointer_moves_in_another_process(store, kind):
    days = [f"202601{day}-aaaaaaaaaaaa" for day in range(10, 18)]
    publish(store, days[0])
    expected = {run_id: (a_list(run_id, 5), trending(run_id)) for run_id in days}
    writer = elsewhere(
        kind,
        f"for run_id in {days[1:]!r}:\n    publish(store, run_id, range(1, 21))\n    store.drop_runs(keep=1)\n"
        "print('done', flush=True)\n",
    )
    ended = threading.Event()
    waiting = threading.Thread(target=lambda: (writer.wait(), ended.set()))
    waiting.start()
    seen = set()
    while not ended.is_set():
        live, user_list, popular = store.live_list(5)
        assert (user_list, popular) == expected[live.run_id]
        seen.add(live.run_id)
    waiting.join()
    assert writer.stdout.read() == "done\n"
    writer.stdout.close()
    assert store.live().run_id == days[-1]
    assert len(seen) > 1


def test_two_processes_write_shards_of_one_attempt_at_the_same_time(store, kind):
    attempt = store.open_attempt(TODAY)
    writers = [
        elsewhere(
            kind, f"print(*store.put_many(TODAY, {attempt}, lists_of(TODAY, USERS[{part}::2]), part='{part}/2'))\n"
        )
        for part in (0, 1)
    ]
    shards = [tuple(map(int, writer.communicate()[0].split())) for writer in writers]
    assert sum_of(shards) == store.tally(TODAY) == tally_of(lists_of(TODAY))


def test_a_part_that_was_broken_off_is_resumed_in_the_same_attempt(store, kind, monkeypatch):
    for name in kind.write_turns:
        monkeypatch.setattr(name, 20)
    attempt = store.open_attempt(TODAY)

    def broken():
        yield from lists_of(TODAY, USERS[:150])
        raise EOFError

    whole = store.put_many(TODAY, attempt, lists_of(TODAY, range(301, 401)), part="1/2")
    with pytest.raises(EOFError):
        store.put_many(TODAY, attempt, broken(), part="0/2")
    resumed = store.put_many(TODAY, attempt, lists_of(TODAY), part="0/2")
    assert resumed == tally_of(lists_of(TODAY))
    assert store.tally(TODAY) == sum_of([whole, resumed])
    store.put_trending(TODAY, attempt, trending(TODAY))
    store.commit_manifest(TODAY, attempt, {})
    store.go_live(TODAY, attempt)
    assert is_served_whole(store, TODAY, [*USERS, *range(301, 401)])


def test_a_part_written_again_with_other_lists_holds_those(store):
    attempt = store.open_attempt(TODAY)
    store.put_many(TODAY, attempt, lists_of(TODAY, seed=1))
    assert store.put_many(TODAY, attempt, lists_of(TODAY)) == store.tally(TODAY) == tally_of(lists_of(TODAY))
    assert store.get(TODAY, 7) == a_list(TODAY, 7)


def test_nothing_is_kept_about_a_user_until_it_is_said(store):
    assert store.state(7) == NOBODY


def test_what_is_said_about_a_user_is_kept(store):
    state = UserState(
        is_opted_out=True,
        maturity_limit=12,
        not_interested=(3, 2**40),
        watched=(5, 4),
        onboarding_genres=("Drama", "Komödie"),
    )
    assert store.put_state(7, state, 0)
    assert store.state(7) == (state, 1)
    assert store.state(8) == NOBODY
    assert store.put_state(7, UserState(), 1)
    assert store.state(7) == (UserState(), 2)


def test_of_two_who_change_a_state_at_once_one_reads_again(store):
    store.put_state(7, UserState(watched=(1,)), 0)
    version = store.state(7).version
    assert store.put_state(7, UserState(watched=(1, 2)), version)
    assert not store.put_state(7, UserState(watched=(1, 3)), version)
    assert store.state(7) == (UserState(watched=(1, 2)), 2)
    assert not store.put_state(9, UserState(), 1)
    assert store.state(9) == NOBODY


def test_no_change_of_a_state_is_lost_between_processes(store, kind):
    work = (
        "for item_id in range({part}, 12, 2):\n"
        "    while True:\n"
        "        state, version = store.state(7)\n"
        "        if store.put_state(7, UserState(watched=(*state.watched, item_id)), version):\n"
        "            break\n"
    )
    writers = [elsewhere(kind, work.format(part=part)) for part in (0, 1)]
    for writer in writers:
        writer.communicate()
    state, version = store.state(7)
    assert sorted(state.watched) == list(range(12))
    assert version == 12


def test_states_stay_when_runs_come_and_go(store):
    store.put_state(7, UserState(is_opted_out=True), 0)
    for run_id in (YESTERDAY, TODAY):
        publish(store, run_id)
        store.drop_runs(keep=1)
    assert store.state(7) == (UserState(is_opted_out=True), 1)


def test_a_forgotten_user_has_no_state_and_gets_none(store):
    store.put_state(7, UserState(watched=(1, 2)), 0)
    store.forget_user(7)
    store.forget_user(8)
    for user_id in (7, 8):
        assert store.state(user_id).state == FORGOTTEN
        with pytest.raises(RefusedError, match="forgotten"):
            store.put_state(user_id, UserState(is_opted_out=False), store.state(user_id).version)
        assert store.state(user_id).state == FORGOTTEN


def test_everybody_who_was_forgotten_is_named(store, kind):
    assert store.forgotten() == frozenset()
    for user_id in (7, 2**63 - 1, 7):
        store.forget_user(user_id)
    assert store.forgotten() == {7, 2**63 - 1}
    assert elsewhere(kind, "print(*sorted(store.forgotten()))\n").communicate()[0] == f"7 {2**63 - 1}\n"
