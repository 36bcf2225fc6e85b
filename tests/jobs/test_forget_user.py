"""Erasing a person from the shell."""

import json
import sys
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from erasable import OTHER, RARE, answer, event_record, files_that_name, spooled, write_installation

from jobs import extract_events, forget_user, load_events, load_warehouse, remove_forgotten
from pipelines.command_line import run
from pipelines.spool import Spool
from pipelines.stores.embedded import EmbeddedStore


@pytest.fixture
def home(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("MARQUEE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def last_line(capsys) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_the_last_line_is_the_receipt_and_twice_gives_it_again(home: Path, capsys) -> None:
    write_installation(home)
    forget_user.main(RARE)
    receipt = last_line(capsys)
    assert receipt["job"] == "forget_user"
    assert receipt["asked_at"] <= receipt["suppressed_at"] <= receipt["removed_at"]
    assert receipt["places"]["lake.events"] == {"count": 6}
    assert receipt["places"]["warehouse"]["count"] is None
    forget_user.main(RARE)
    assert last_line(capsys) == receipt


def test_removal_can_wait_for_others_and_is_then_done_for_all(home: Path, capsys) -> None:
    write_installation(home)
    for user in (RARE, OTHER):
        forget_user.main(user, remove=False)
        assert last_line(capsys)["removed_at"] is None
    assert any(name.startswith("lake/events") for name in files_that_name(home))
    remove_forgotten.main()
    assert last_line(capsys) == {"job": "remove_forgotten", "removed": 2, "waiting": 0}
    remove_forgotten.main()
    assert last_line(capsys) == {"job": "remove_forgotten", "removed": 0, "waiting": 0}


def test_what_a_living_endpoint_is_writing_waits_and_is_dropped_when_it_is_loaded(home: Path, capsys) -> None:
    writer = Spool(home / "spool")
    for record in (answer(RARE), event_record(1, RARE), event_record(2, OTHER)):
        writer.append(record)
    writer.flush()
    forget_user.main(RARE)
    receipt = last_line(capsys)
    assert receipt["removed_at"] is None
    assert receipt["places"]["open_segments"]["count"] == 2
    writer.close()
    load_events.main()
    assert last_line(capsys)["event_count"] == 1
    with duckdb.connect(home / "warehouse.duckdb", read_only=True) as warehouse:
        assert warehouse.execute("SELECT user_id FROM events").fetchall() == [(OTHER,)]
        assert warehouse.execute("SELECT count(*) FROM answers").fetchone() == (0,)
    remove_forgotten.main()
    assert last_line(capsys) == {"job": "remove_forgotten", "removed": 1, "waiting": 0}


def test_a_segment_that_is_kept_for_a_person_keeps_nothing_of_an_erased_user(home: Path, capsys) -> None:
    spooled(home / "spool", event_record(1, RARE), event_record(-1, OTHER))
    [segment] = (home / "spool").glob("*.sealed")
    segment.write_bytes(segment.read_bytes() + b"torn")
    forget_user.main(RARE, remove=False)
    capsys.readouterr()
    load_events.main()
    assert last_line(capsys)["kept"] == 1
    assert not any(name.startswith("spool/") for name in files_that_name(home))


@pytest.mark.parametrize("value", ["0", "-7", "9223372036854775808"])
def test_what_can_be_no_user_ends_with_one_sentence(home: Path, capsys, monkeypatch, value: str) -> None:
    monkeypatch.setattr(sys, "argv", ["forget_user", "--user-id", value])
    with pytest.raises(SystemExit) as ended:
        run(forget_user.main, description=None)
    assert ended.value.code == 64
    assert capsys.readouterr().err == f"marquee: --user-id must lie between 1 and 2^63 - 1, not be {value}\n"
    assert not (home / "lake").exists()


def test_a_text_is_no_user(home: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["forget_user", "--user-id", "seven"])
    with pytest.raises(SystemExit) as ended:
        run(forget_user.main, description=None)
    assert ended.value.code == 2


@pytest.mark.parametrize("hours", [-1, 10**9])
def test_a_horizon_that_is_no_time_is_refused_before_anything_is_done(home: Path, hours: int) -> None:
    with pytest.raises(Exception, match="--keep-hours must lie between 0 and 8,760"):
        forget_user.main(RARE, keep_hours=hours)
    assert not home.exists()


@pytest.mark.slow
def test_a_back_fill_from_a_warehouse_that_still_has_the_user_does_not_bring_them_back(
    home: Path, tmp_path: Path, capsys
) -> None:
    from night import FIRST_DAY, write_world

    write_world(tmp_path / "world")
    load_warehouse.main(source="files", data=tmp_path / "world")
    extract_events.main(FIRST_DAY)
    user = 7
    forget_user.main(user)
    assert last_line(capsys)["places"]["lake.events"]["count"] == 3
    extract_events.main(FIRST_DAY)
    assert last_line(capsys)["users"] == 59
    with EmbeddedStore(home / "lists.lmdb") as store:
        assert store.forgotten() == {user}
    held = [pq.read_schema(file).names.count("user_id") and file for file in (home / "lake").rglob("day=*/*.parquet")]
    of_users = [file for file in held if file and "erasures" not in file.parts]
    assert of_users
    assert all(user not in pq.read_table(file, columns=["user_id"])["user_id"].to_pylist() for file in of_users)
