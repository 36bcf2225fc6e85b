"""Whatever is wrong, a job ends with one clear sentence, an exit code that says whose fault it is, nothing written."""

import shutil
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from night import ROOT, Night, write_world

from feature_defs.events import EVENTS
from feature_defs.record import QUARANTINE
from jobs import (
    assemble_models,
    build_features,
    build_snapshot,
    embed_items,
    evaluate_models,
    extract_events,
    load_warehouse,
    open_run,
    promote_models,
    publish_recommendations,
    score_users,
    train_als,
    train_ranker,
    train_towers,
    write_lists,
)
from pipelines.errors import DataError, MarqueeError, UnavailableError, UsageError
from pipelines.lake import Lake

DAY = date(2026, 1, 10)
EMPTY_DAY = date(2026, 3, 1)
AFTER_THE_RUN = [
    build_features.main,
    embed_items.main,
    train_als.main,
    train_towers.main,
    assemble_models.main,
    train_ranker.main,
    evaluate_models.main,
    promote_models.main,
    score_users.main,
    write_lists.main,
    build_snapshot.main,
    publish_recommendations.main,
]


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    write_world(folder / "files")
    Night(folder).must("load_warehouse", "--source", "files", "--data", folder / "files")
    return folder / "warehouse.duckdb"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MARQUEE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def filled(home: Path, warehouse: Path) -> Path:
    home.mkdir()
    shutil.copy(warehouse, home / "warehouse.duckdb")
    return home


def written(home: Path) -> set[str]:
    """The tables of the lake that hold anything, quarantine aside."""
    lake = home / "lake"
    return {path.name for path in lake.iterdir()} - {QUARANTINE.name} if lake.exists() else set()


def refused(error: pytest.ExceptionInfo[MarqueeError]) -> str:
    sentence = str(error.value)
    assert "\n" not in sentence
    assert "Traceback" not in sentence
    return sentence


def test_extracting_without_a_warehouse_says_where_it_was_looked_for(home: Path) -> None:
    with pytest.raises(UnavailableError) as error:
        extract_events.main(DAY)
    assert "warehouse.duckdb" in refused(error)
    assert not home.exists() or not written(home)


def test_extracting_from_what_is_no_database_says_so(home: Path) -> None:
    home.mkdir()
    (home / "warehouse.duckdb").write_text("this is no database " * 1000)
    with pytest.raises(DataError) as error:
        extract_events.main(DAY)
    assert "warehouse.duckdb" in refused(error)
    assert not written(home)


def test_extracting_from_a_warehouse_of_an_unknown_kind_says_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARQUEE_WAREHOUSE", "oracle://somewhere")
    with pytest.raises(UsageError, match="oracle"):
        extract_events.main(DAY)


def test_extracting_an_empty_day_says_which_days_there_are_and_writes_nothing(filled: Path) -> None:
    with pytest.raises(DataError) as error:
        extract_events.main(EMPTY_DAY)
    sentence = refused(error)
    assert "no events were received on 2026-03-01" in sentence
    assert "2026-01-01 to 2026-01-12" in sentence
    assert not written(filled)


def test_a_range_that_ends_before_it_begins_is_refused(filled: Path) -> None:
    with pytest.raises(UsageError, match=r"--from-day 2026-01-10 lies after --day 2026-01-09"):
        extract_events.main(date(2026, 1, 9), from_day=DAY)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            "UPDATE events SET watched_share = 1.7 WHERE event_id = 'e09-003-1'",
            "watched_share must lie between 0 and 1 (1",
        ),
        ("UPDATE events SET kind = 'dance' WHERE user_id = 5", "kind must be one of"),
        ("ALTER TABLE events DROP watched_share", "events lacks the column watched_share"),
        ("ALTER TABLE events RENAME kind TO sort", "events lacks the column kind"),
        ("UPDATE items SET title = NULL WHERE item_id = 7", "title must not be null (1 row)"),
        ("DROP TABLE users", "users"),
    ],
)
def test_a_bad_day_writes_nothing_and_names_column_rule_and_count(filled: Path, spoil: str, words: str) -> None:
    with duckdb.connect(filled / "warehouse.duckdb") as database:
        database.execute(spoil)
    with pytest.raises(DataError) as error:
        extract_events.main(DAY)
    assert words in refused(error)
    assert not written(filled)


def test_rejected_rows_are_kept_to_be_looked_at(filled: Path) -> None:
    with duckdb.connect(filled / "warehouse.duckdb") as database:
        database.execute("UPDATE events SET watched_share = 1.7 WHERE event_id = 'e09-003-1'")
    with pytest.raises(DataError):
        extract_events.main(DAY)
    kept = Lake(str(filled / "lake")).read(QUARANTINE).to_pylist()
    assert [(row["table_name"], row["column_name"]) for row in kept] == [("events", "watched_share")]
    assert "e09-003-1" in kept[0]["row"]


def test_a_null_key_from_files_is_refused_before_it_is_in_the_warehouse(home: Path, tmp_path: Path) -> None:
    write_world(tmp_path / "files")
    path = tmp_path / "files" / "events.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[3]["user_id"] = None
    pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(DataError) as error:
        load_warehouse.main("files", tmp_path / "files")
    assert "user_id" in refused(error)


@pytest.mark.parametrize("main", AFTER_THE_RUN, ids=lambda main: main.__module__)
def test_a_job_of_a_day_that_was_never_opened_says_what_to_run_first(home: Path, main) -> None:
    with pytest.raises(DataError) as error:
        main(DAY)
    assert "python -m jobs." in refused(error)
    assert not home.exists() or not written(home)


def test_opening_a_run_of_a_day_that_was_not_extracted_says_what_to_run_first(home: Path) -> None:
    with pytest.raises(DataError, match="extract_events --day 2026-01-10"):
        open_run.main(DAY)


@pytest.mark.parametrize("main", [score_users.main, write_lists.main], ids=lambda main: main.__module__)
def test_a_shard_that_is_none_is_refused(home: Path, main) -> None:
    with pytest.raises(UsageError, match="'2/2' is no shard"):
        main(DAY, "2/2")


def test_a_lake_that_is_a_file_is_named(filled: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MARQUEE_LAKE", str(tmp_path / "file"))
    with pytest.raises(UnavailableError) as error:
        extract_events.main(DAY)
    assert str(tmp_path / "file") in refused(error)


def test_jobs_out_of_order_say_which_comes_first(filled: Path) -> None:
    extract_events.main(DAY)
    open_run.main(DAY)
    for main, first in (
        (assemble_models.main, "train_als"),
        (evaluate_models.main, "assemble_models"),
        (promote_models.main, "evaluate_models"),
        (write_lists.main, "score_users"),
        (publish_recommendations.main, "write_lists"),
    ):
        with pytest.raises(DataError) as error:
            main(DAY)
        assert f"python -m jobs.{first} --day 2026-01-10" in refused(error)


def test_events_with_clocks_wrong_by_years_are_set_aside_and_the_day_goes_on(filled: Path) -> None:
    with duckdb.connect(filled / "warehouse.duckdb") as database:
        database.execute(
            "UPDATE events SET happened_at = ? WHERE event_id = 'e09-003-1'", [datetime(2019, 1, 1, tzinfo=UTC)]
        )
    extract_events.main(DAY)
    lake = Lake(str(filled / "lake"))
    assert lake.read(EVENTS, DAY, DAY).num_rows == 179
    assert [row["column_name"] for row in lake.read(QUARANTINE).to_pylist()] == ["happened_at"]


def job(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, check=False, capture_output=True, text=True, env=variables or None
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("jobs.extract_events", "--day", "2026-02-30"), 2),
        (("jobs.extract_events",), 2),
        (("jobs.open_run", "--day", "2026-01-01", "--als.factors", "many"), 2),
        (("jobs.open_run", "--day", "2026-01-01", "--als.factors", "0"), 64),
        (("jobs.load_warehouse", "--source", "files", "--data", "/nowhere/at/all"), 69),
        (("jobs.open_run", "--day", "2026-01-01", "--towers.heads", "3"), 64),
        (("jobs.load_warehouse", "--source", "movielens"), 64),
        (("jobs.load_warehouse", "--source", "simulated", "--users", "3"), 64),
        (("jobs.run_demo", "--source", "movielens"), 64),
        (("jobs.run_demo", "--data", "/tmp"), 64),
        (("jobs.run_demo", "--source", "movielens", "--data", "/nowhere"), 64),
    ],
)
def test_a_wrong_command_line_ends_with_its_exit_code_and_no_traceback(
    tmp_path: Path, arguments: tuple[str, ...], code: int
) -> None:
    ended = job(*arguments, MARQUEE_HOME=str(tmp_path), PATH="/usr/bin:/bin")
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr + ended.stdout
    assert ended.stderr.strip()
    if code != 2:
        assert len(ended.stderr.strip().splitlines()) == 1
        assert ended.stderr.startswith("marquee: ")


def test_a_setting_of_the_wrong_type_is_named(tmp_path: Path) -> None:
    ended = job("jobs.serve_lookup", MARQUEE_HOME=str(tmp_path), MARQUEE_PORT="door", PATH="/usr/bin:/bin")
    assert ended.returncode == 64
    assert "MARQUEE_PORT" in ended.stderr
    assert "Traceback" not in ended.stderr
