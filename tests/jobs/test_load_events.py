"""From the spool into the warehouse, exactly once."""

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_defs.users import USERS
from jobs.load_events import main
from pipelines.arrow_schemas import arrow_schema
from pipelines.extraction import extract
from pipelines.spool import Answer, AnsweredItem, EventRecord, Preference, Spool, sealed_segments
from pipelines.warehouse.open import open_for_loading, open_warehouse

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
ANSWER = Answer("r", NOON, 1, "run", "embedded", [AnsweredItem(0, 2, 1.5, 0.5), AnsweredItem(1, 3, 1.0, 0.25)])


def event(event_id, item_id=3, request_id="r", kind="click"):
    return EventRecord(event_id, request_id, 1, item_id, kind, NOON, NOON)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MARQUEE_HOME", str(tmp_path))
    return tmp_path


def spooled(home, *records):
    writer = Spool(home / "spool")
    for record in records:
        writer.append(record)
    writer.close()


def load(capsys):
    main()
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def events(home):
    with duckdb.connect(home / "warehouse.duckdb", read_only=True) as connection:
        return connection.execute("SELECT event_id, run_id, slot, propensity FROM events ORDER BY 1").fetchall()


def test_answers_and_events_move_and_their_segment_is_gone(home, capsys) -> None:
    spooled(home, ANSWER, event("a"))
    spooled(home, event("b", item_id=2), event("a"))
    counts = load(capsys)
    assert counts == {
        "segments": 2,
        "orphans": 0,
        "kept": 0,
        "torn_bytes": 0,
        "refused": 0,
        "answer_count": 2,
        "event_count": 2,
        "repeated_event_count": 1,
        "preference_count": 0,
    }
    assert events(home) == [("a", "run", 1, 0.25), ("b", "run", 0, 0.5)]
    assert list((home / "spool").iterdir()) == []
    assert load(capsys)["segments"] == 0


def test_without_a_spool_there_is_nothing_to_do_and_no_warehouse_is_made(home, capsys) -> None:
    assert load(capsys)["segments"] == 0
    assert not (home / "warehouse.duckdb").exists()


@pytest.mark.parametrize("method", ["remove", "take_up"])
def test_killed_before_or_after_the_commit_nothing_is_there_twice_and_nothing_is_lost(home, capsys, method) -> None:
    spooled(home, ANSWER, event("a"), event("b"))
    owner = "pipelines.spool.Segment" if method == "remove" else "pipelines.warehouse.duckdb.DuckDBWarehouse"
    module, _, name = owner.rpartition(".")
    killed = (
        f"import os, signal; from {module} import {name} as owner\n"
        f"owner.{method} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from jobs.load_events import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", killed], env=dict(os.environ), check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert len(sealed_segments(home / "spool")) == 1
    counts = load(capsys)
    assert counts["event_count"] == (0 if method == "remove" else 2)
    assert events(home) == [("a", "run", 1, 0.25), ("b", "run", 1, 0.25)]
    assert sealed_segments(home / "spool") == []


def test_the_segment_of_a_dead_process_is_taken_up_and_its_torn_tail_is_kept_and_counted(home, capsys) -> None:
    spooled(home, ANSWER, event("a"), event("b"))
    [segment] = sealed_segments(home / "spool")
    orphan = segment.path.rename(segment.path.with_suffix(".open"))
    orphan.write_bytes(orphan.read_bytes()[:-3])
    counts = load(capsys)
    assert (counts["orphans"], counts["event_count"], counts["kept"]) == (1, 1, 1)
    assert counts["torn_bytes"] > 0
    assert [path.suffix for path in (home / "spool").iterdir()] == [".kept"]
    assert load(capsys)["segments"] == 0


def test_rows_that_break_a_rule_stay_out_and_their_segment_is_kept(home, capsys) -> None:
    spooled(home, event("good"), event("bad", kind="hack"), event("worse", item_id=0))
    counts = load(capsys)
    assert (counts["event_count"], counts["refused"], counts["kept"]) == (1, 2, 1)
    assert [row[0] for row in events(home)] == ["good"]


def test_who_opted_out_at_the_endpoint_is_opted_out_when_users_are_extracted(home, capsys) -> None:
    known = [{"user_id": user_id, "signup_at": NOON, "is_opted_out": user_id == 3} for user_id in (1, 2, 3)]
    with open_for_loading(str(home / "warehouse.duckdb"), "") as warehouse:
        rows = pa.Table.from_pylist(known, arrow_schema(USERS))
        warehouse.replace_all({USERS: rows.to_batches()})
    spooled(
        home,
        Preference(1, NOON, is_opted_out=True, maturity_limit=12),
        Preference(2, NOON, onboarding_genres=("Drama",), age_band="18_24", city="Ulm"),
        Preference(3, NOON, is_opted_out=False),
        Preference(4, NOON, is_opted_out=True),
    )
    assert load(capsys)["preference_count"] == 4
    with (
        open_warehouse(str(home / "warehouse.duckdb"), "") as warehouse,
        extract(warehouse, USERS, NOON.date(), NOON.date()) as checked,
    ):
        users = {row["user_id"]: row for row in pq.read_table(checked.path).to_pylist()}
    assert {user_id: row["is_opted_out"] for user_id, row in users.items()} == {1: True, 2: False, 3: False}
    assert (users[1]["maturity_limit"], users[2]["onboarding_genres"], users[2]["city"]) == (12, ["Drama"], "Ulm")
