"""A publication that is killed, overtaken or cut off leaves yesterday whole, and its retry ends as a clean run.

On the embedded store, and on Cassandra with Redis in front. Lists are made beforehand (`tests/worlds/made_lists.py`):
only `write_lists` and `publish_recommendations` are run.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from breaking_line import BreakingLine
from publishing import (
    SHARDS,
    USERS_COUNT,
    Publishing,
    closed_port,
    elsewhere,
    overtake,
    publish_another,
    settings_of,
)

import jobs.publish_recommendations
import jobs.write_lists
from pipelines import crash_points
from pipelines.crash_points import EXIT_CODE, PUBLICATION_POINTS
from pipelines.errors import RefusedError
from pipelines.runs import Run
from pipelines.stores.interface import tally_of
from pipelines.stores.places import Places
from pipelines.stores.redis import RedisStore

pytestmark = pytest.mark.slow

DAY = date(2026, 1, 31)
YESTERDAY = DAY - timedelta(1)
STORES = ("embedded", "pair")
KILLS = [(store, point) for store in STORES for point in PUBLICATION_POINTS if store == "pair" or "pair" not in point]


@pytest.fixture
def in_store(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str], Publishing]:
    def made(store: str) -> Publishing:
        places = Places(str(tmp_path / "lists.lmdb")) if store == "embedded" else request.getfixturevalue("places")
        return Publishing(tmp_path, places)

    return made


def two_days(publishing: Publishing) -> tuple[Run, Run]:
    """Yesterday's run live, today's made and not yet written."""
    yesterday = publishing.make(YESTERDAY)
    publishing.publish(yesterday)
    return yesterday, publishing.make(DAY)


def hot_copy(publishing: Publishing) -> RedisStore:
    return RedisStore(publishing.places.cache, expiry_days=1)


@pytest.mark.parametrize(("store", "point"), KILLS)
def test_killed_anywhere_yesterday_is_served_whole_and_the_retry_ends_as_a_clean_run(
    in_store: Callable[[str], Publishing], store: str, point: str
) -> None:
    publishing = in_store(store)
    yesterday, today = two_days(publishing)
    command: tuple[object, ...] = ("publish_recommendations", "--day", DAY)
    if point.startswith("write_lists"):
        command = ("write_lists", "--day", DAY, "--shard", SHARDS[0])
        publishing.write(today, SHARDS[1:])
    else:
        publishing.write(today)
    ended = publishing.run(*command, MARQUEE_CRASH_AT=f"{point}:7" if point == "write_lists.after_list" else point)
    assert ended.returncode == EXIT_CODE, ended.stdout + ended.stderr
    is_moved = point in ("pair.between_pointers", "publication.after_pointer")
    publishing.assert_serves(today if is_moved else yesterday)
    if store == "pair":
        follows = today if point == "publication.after_pointer" else yesterday
        assert publishing.served(hot_copy(publishing)) == (follows.run_id, publishing.expected(follows))

    publishing.must(*command)
    publishing.assert_written_as_made(today)
    if point.startswith("write_lists"):
        publishing.assert_serves(yesterday)
        return
    publishing.assert_serves(today)
    with publishing.store() as opened:
        manifest = opened.manifest(today.run_id)
    clean = tally_of(publishing.expected(today).items())
    assert manifest is not None
    assert (manifest.content["lists"], manifest.content["checksum"]) == (USERS_COUNT, f"{clean.checksum:016x}")
    if store == "pair":
        assert publishing.served(hot_copy(publishing)) == (today.run_id, publishing.expected(today))


def meanwhile(patch: pytest.MonkeyPatch, point: str, happens: Callable[[], object]) -> None:
    """Let a job in this process stand still at the first pass of a point while something else happens."""
    waiting = [happens]

    def passing(name: str) -> None:
        if name == point and waiting:
            waiting.pop()()

    patch.setattr(crash_points, "passing", passing)


def here(patch: pytest.MonkeyPatch, publishing: Publishing) -> None:
    """Jobs in this process work in this home."""
    for name, value in {"MARQUEE_HOME": str(publishing.home), **settings_of(publishing.places)}.items():
        patch.setenv(name, value)


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("point", ["write_lists.after_list", "write_lists.before_part_recorded"])
def test_an_attempt_paused_and_overtaken_loses_its_writes_when_it_wakes(
    in_store: Callable[[str], Publishing], monkeypatch: pytest.MonkeyPatch, store: str, point: str
) -> None:
    publishing = in_store(store)
    _, today = two_days(publishing)
    newer: list[Run] = []

    here(monkeypatch, publishing)
    meanwhile(monkeypatch, point, lambda: newer.append(elsewhere(overtake, publishing, today)))
    with pytest.raises(RefusedError):
        jobs.write_lists.main(DAY, SHARDS[0])
    live = publishing.live()
    assert live is not None
    assert live.attempt == newer[0].attempt
    publishing.assert_serves(today)
    publishing.assert_written_as_made(today)


@pytest.mark.parametrize("store", STORES)
def test_of_two_runs_of_a_day_the_later_wins_and_the_other_ends_refused(
    in_store: Callable[[str], Publishing], monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    publishing = in_store(store)
    _, first = two_days(publishing)
    publishing.write(first)
    second: list[Run] = []

    here(monkeypatch, publishing)
    happens = lambda: second.append(elsewhere(publish_another, publishing, DAY))  # noqa: E731
    meanwhile(monkeypatch, "publication.before_pointer", happens)
    with pytest.raises(RefusedError, match="is older than attempt"):
        jobs.publish_recommendations.main(DAY)
    publishing.assert_serves(second[0])


@pytest.mark.parametrize("store", STORES)
def test_a_back_fill_of_an_old_day_leaves_the_live_pointer_where_it_is(
    in_store: Callable[[str], Publishing], store: str
) -> None:
    publishing = in_store(store)
    today = publishing.make(DAY)
    publishing.publish(today)
    before = publishing.live()
    publishing.write(publishing.make(YESTERDAY))
    ended = publishing.run("publish_recommendations", "--day", YESTERDAY)
    assert ended.returncode == 0, ended.stderr
    assert "the live pointer stays where it is" in ended.stdout
    assert publishing.live() == before
    publishing.assert_serves(today)


def test_what_cannot_be_reached_ends_in_one_sentence_and_the_pointer_stays(
    in_store: Callable[[str], Publishing], cassandra_server
) -> None:
    publishing = in_store("pair")
    yesterday, today = two_days(publishing)
    address = publishing.places.lists
    server = f"{cassandra_server.host}:{cassandra_server.port}"
    for wrong in (
        {"MARQUEE_LISTS": address.replace(server, f"{cassandra_server.host}:{closed_port()}")},
        {"MARQUEE_CASSANDRA_PASSWORD": "wrong"},
        {"MARQUEE_LISTS": address.rpartition("/")[0] + "/h5_missing"},
    ):
        ended = publishing.run("write_lists", "--day", DAY, "--shard", SHARDS[0], **wrong)
        assert ended.returncode == 69, (wrong, ended.stderr)
        assert len(ended.stderr.splitlines()) == 1, ended.stderr
        assert ended.stderr.startswith("marquee: ")
    publishing.assert_serves(yesterday)
    assert today.run_id != yesterday.run_id


def test_a_node_that_dies_in_mid_write_ends_the_job_in_one_sentence(
    in_store: Callable[[str], Publishing], cassandra_server
) -> None:
    publishing = in_store("pair")
    yesterday, today = two_days(publishing)
    publishing.write(today, SHARDS[1:])
    server = f"{cassandra_server.host}:{cassandra_server.port}"
    # 20 lists of some 2 KB go over the line; it breaks in their midst.
    with BreakingLine(cassandra_server.host, cassandra_server.port, breaks_after=30_000) as line:
        through = publishing.places.lists.replace(server, f"127.0.0.1:{line.port}")
        ended = publishing.run("write_lists", "--day", DAY, "--shard", SHARDS[0], MARQUEE_LISTS=through)
        assert line.is_broken
    assert ended.returncode == 69, ended.stdout + ended.stderr
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    publishing.assert_serves(yesterday)
    publishing.must("write_lists", "--day", DAY, "--shard", SHARDS[0])
    publishing.assert_written_as_made(today)


def test_with_redis_down_the_publication_completes_and_says_so(in_store: Callable[[str], Publishing]) -> None:
    publishing = in_store("pair")
    _, today = two_days(publishing)
    away = replace(publishing.places, cache=f"redis://127.0.0.1:{closed_port()}/0")
    without = Publishing(publishing.home, away)
    for command in (("write_lists", "--shard", SHARDS[0]), ("write_lists", "--shard", SHARDS[1])):
        ended = without.run(*command, "--day", DAY)
        assert ended.returncode == 0, ended.stderr
        assert "rebuild" in ended.stderr
    ended = without.run("publish_recommendations", "--day", DAY)
    assert ended.returncode == 0, ended.stderr
    assert "rebuild" in ended.stderr
    publishing.assert_serves(today)
