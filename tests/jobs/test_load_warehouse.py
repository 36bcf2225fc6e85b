"""The warehouse is filled from files, whole or not at all."""

import json
import os
import signal
import subprocess
import sys

import duckdb
import pytest

from jobs.load_warehouse import main

EVENTS_CSV = "event_id,user_id,item_id,kind,happened_at,received_at\n"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MARQUEE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "mine"
    path.mkdir()
    write_events(path, "old", "older")
    (path / "items.csv").write_text("item_id,title,kind,published_at,moderation_state\n2,A,video,2026-01-01,approved\n")
    (path / "users.csv").write_text("user_id,signup_at,is_opted_out\n1,2026-01-01,false\n")
    return path


def write_events(folder, *ids, user_id=1):
    lines = [f"{event_id},{user_id},2,play,2026-01-31,2026-01-31\n" for event_id in ids]
    (folder / "events.csv").write_text(EVENTS_CSV + "".join(lines))


def event_ids(home):
    with duckdb.connect(home / "warehouse.duckdb", read_only=True) as connection:
        return [row[0] for row in connection.execute("SELECT event_id FROM events ORDER BY 1").fetchall()]


def job(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "jobs.load_warehouse", *map(str, arguments)], check=False, capture_output=True, text=True
    )


def test_a_folder_of_files_fills_all_tables(home, folder, capsys) -> None:
    main("files", folder)
    counts = json.loads(capsys.readouterr().out.splitlines()[-1])
    del counts["seconds"]
    assert counts == {"events": 2, "items": 1, "users": 1, "protected_attributes": 0, "answers": 0}
    assert event_ids(home) == ["old", "older"]


def test_movielens_fills_all_tables(home, tmp_path, capsys) -> None:
    (tmp_path / "u.data").write_text("1\t10\t5\t880000000\n2\t10\t1\t880000001\n")
    (tmp_path / "u.item").write_text("10|A (1990)|01-Jan-1990||u|" + "|".join("0" * 19) + "\n")
    (tmp_path / "u.user").write_text("1|24|M|writer|1\n2|53|F|other|2\n")
    main("movielens", tmp_path)
    counts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (counts["events"], counts["items"], counts["users"], counts["protected_attributes"]) == (2, 1, 2, 2)
    assert event_ids(home) == ["ml-100k:1:10", "ml-100k:2:10"]


def test_bad_rows_change_nothing_and_end_with_one_sentence(home, folder) -> None:
    main("files", folder)
    write_events(folder, "new", user_id=0)
    done = job("--source", "files", "--data", folder)
    assert done.returncode == 65
    assert done.stderr == "marquee: events: user_id must be at least 1 (1 row); nothing was loaded\n"
    assert event_ids(home) == ["old", "older"]


def test_a_path_that_is_not_there_ends_with_one_sentence(home, tmp_path) -> None:
    done = job("--source", "movielens", "--data", tmp_path / "nowhere")
    assert done.returncode == 69
    assert done.stderr == f"marquee: there is no folder {tmp_path / 'nowhere'}\n"
    assert not home.exists()


def test_killed_in_the_middle_the_old_warehouse_is_still_whole(home, folder) -> None:
    main("files", folder)
    write_events(folder, *(f"new {number}" for number in range(300_000)))
    killed = (
        "import os, signal, sys; from pathlib import Path\n"
        "from pipelines.warehouse.duckdb import DuckDBWarehouse\n"
        "replace = DuckDBWarehouse._replace\n"
        "def replace_and_die(self, table, batches):\n"
        "    count = replace(self, table, batches)\n"
        "    if table.name == 'events':\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return count\n"
        "DuckDBWarehouse._replace = replace_and_die\n"
        "from jobs.load_warehouse import main; main('files', Path(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", killed, str(folder)], env=dict(os.environ), check=False)
    assert done.returncode == -signal.SIGKILL
    assert event_ids(home) == ["old", "older"]
    main("files", folder)
    assert len(event_ids(home)) == 300_000
