"""An earlier run is served again at once; what is not kept is refused, and nothing moves."""

import json
from datetime import date, timedelta
from pathlib import Path

import pyarrow.compute as pc
import pytest
from publishing import Publishing

from feature_defs.record import STEPS
from pipelines.runs import Run
from pipelines.stores.places import Places

DAY = date(2026, 1, 31)
YESTERDAY = DAY - timedelta(1)
# Who, and why.
WORD = ("--by", "Ada", "--reason", "lists of a broken night")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Publishing, Run, Run]:
    home = tmp_path_factory.mktemp("home")
    publishing = Publishing(home, Places(str(home / "lists.lmdb")))
    runs = []
    for day in (YESTERDAY, DAY):
        runs.append(publishing.make(day))
        publishing.publish(runs[-1])
    return publishing, runs[0], runs[1]


def test_yesterday_is_served_again_and_the_same_again_is_harmless(published: tuple[Publishing, Run, Run]) -> None:
    publishing, yesterday, today = published
    publishing.must("rollback_lists", "--run-id", today.run_id, *WORD)
    ended = publishing.run("rollback_lists", "--day", YESTERDAY, *WORD)
    assert ended.returncode == 0, ended.stderr
    assert f"live was run {today.run_id}" in ended.stdout
    assert f"live is run {yesterday.run_id}" in ended.stdout
    publishing.assert_serves(yesterday)
    before = publishing.live()
    again = publishing.must("rollback_lists", "--run-id", yesterday.run_id, *WORD)
    assert publishing.live() == before
    assert again["was"] == {"run_id": yesterday.run_id, "attempt": yesterday.attempt, "move": before.move}


def test_it_is_recorded_what_was_live_before(published: tuple[Publishing, Run, Run]) -> None:
    publishing, yesterday, today = published
    publishing.must("rollback_lists", "--run-id", today.run_id, *WORD)
    publishing.must("rollback_lists", "--run-id", yesterday.run_id, *WORD)
    of_run = (pc.field("run_id") == yesterday.run_id) & (pc.field("job") == "rollback_lists")
    rows = sorted(publishing.lake.read(STEPS, where=of_run).to_pylist(), key=lambda row: row["started_at"])
    counts = json.loads(rows[-1]["counts"])
    assert counts["was"]["run_id"] == today.run_id
    assert counts["surface"] == "home"


def test_the_runs_that_are_kept_are_shown(published: tuple[Publishing, Run, Run]) -> None:
    publishing, yesterday, today = published
    publishing.must("rollback_lists", "--run-id", today.run_id, *WORD)
    shown = publishing.run("rollback_lists", "--list").stdout.splitlines()
    assert [line.split()[:2] for line in shown] == [[str(DAY), today.run_id], [str(YESTERDAY), yesterday.run_id]]
    assert shown[0].endswith("40 lists  live")
    assert shown[1].endswith("40 lists")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("--run-id", "20260130-ffffffffffff"), 77, "no lists of the run 20260130-ffffffffffff are kept"),
        (("--day", "2026-01-01"), 77, "no lists of a run of 2026-01-01 are kept"),
        (("--run-id", "yesterday"), 64, "is not a run id"),
        ((), 64, "say one of --run-id RUN, --day DAY and --list"),
    ],
)
def test_what_is_not_kept_is_refused_in_a_sentence_and_the_pointer_stays(
    published: tuple[Publishing, Run, Run], arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    publishing, _, _ = published
    before = publishing.live()
    ended = publishing.run("rollback_lists", *arguments, *WORD)
    assert ended.returncode == code
    assert sentence in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert publishing.live() == before


def test_a_run_that_was_let_go_of_is_refused(tmp_path: Path) -> None:
    publishing = Publishing(tmp_path, Places(str(tmp_path / "lists.lmdb")))
    first = publishing.make(YESTERDAY)
    publishing.publish(first)
    publishing.publish(publishing.make(DAY))
    with publishing.store() as store:
        assert store.drop_runs(1) == [first.run_id]
    before = publishing.live()
    assert publishing.run("rollback_lists", "--run-id", first.run_id, *WORD).returncode == 77
    assert publishing.live() == before


def test_the_next_night_goes_live_after_a_rollback(tmp_path: Path) -> None:
    publishing = Publishing(tmp_path, Places(str(tmp_path / "lists.lmdb")))
    days = [YESTERDAY, DAY, DAY + timedelta(1)]
    runs = []
    for day in days[:2]:
        runs.append(publishing.make(day))
        publishing.publish(runs[-1])
    publishing.must("rollback_lists", "--day", YESTERDAY, *WORD)
    newest = publishing.make(days[2])
    publishing.write(newest)
    publishing.must("publish_recommendations", "--day", days[2])
    publishing.assert_serves(newest)
