"""The setting picks the warehouse; what is wrong with it is said in one sentence."""

import subprocess
import sys
from datetime import date

import duckdb
import pytest

from feature_defs.events import EVENTS
from pipelines.errors import DataError, UnavailableError, UsageError
from pipelines.warehouse.open import open_for_loading, open_warehouse
from pipelines.warehouse.snowflake import connection_parameters


def test_a_warehouse_that_is_not_there_is_named(tmp_path) -> None:
    path = tmp_path / "nowhere.duckdb"
    with pytest.raises(UnavailableError, match=f"there is no warehouse at {path}"):
        open_warehouse(str(path))
    assert not path.exists()


def test_a_file_that_is_no_database_is_named(tmp_path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("x" * 10_000)
    with pytest.raises(DataError, match=f"{path} is not a DuckDB database"):
        open_warehouse(str(path))


def test_a_folder_is_no_warehouse(tmp_path) -> None:
    with pytest.raises(UnavailableError, match=str(tmp_path)):
        open_for_loading(str(tmp_path))


def test_many_may_read_but_nobody_while_another_process_writes(tmp_path) -> None:
    path = tmp_path / "warehouse.duckdb"
    with open_for_loading(str(path)) as warehouse:
        warehouse.replace_all({EVENTS: []})
    read = "import sys; from pipelines.warehouse.open import open_warehouse; open_warehouse(sys.argv[1]).close()"
    with open_warehouse(str(path)), open_warehouse(str(path)):
        subprocess.run([sys.executable, "-c", read, str(path)], check=True)
    write = f"import duckdb; c = duckdb.connect({str(path)!r}); print('held', flush=True); input()"
    writer = subprocess.Popen([sys.executable, "-c", write], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert writer.stdin is not None and writer.stdout is not None
    with writer:
        writer.stdout.readline()
        for opening in (open_warehouse, open_for_loading):
            with pytest.raises(UnavailableError, match=f"{path} is held by another process"):
                opening(str(path))
        writer.stdin.close()


def test_what_is_read_does_not_depend_on_the_time_zone_of_the_machine(tmp_path) -> None:
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute(
            "CREATE TABLE events AS SELECT 'a' AS event_id, '2026-01-31 23:30:00+00'::TIMESTAMPTZ AS received_at, "
            "'2026-01-31 23:30:00'::TIMESTAMP AS happened_at"
        ).fetchall()
    read = (
        "import sys; from datetime import date; from pipelines.warehouse.open import open_warehouse\n"
        "from feature_defs.events import EVENTS\n"
        "with open_warehouse(sys.argv[1]) as w:\n"
        "    [batch] = w.read_day(EVENTS, date(2026, 1, 31))\n"
        "    print(batch.to_pylist()[0]['received_at'], batch.to_pylist()[0]['happened_at'], w.days(EVENTS))"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", read, str(path)], env={"TZ": zone}, check=True, capture_output=True, text=True
        ).stdout
        for zone in ("UTC", "Asia/Tokyo", "America/New_York")
    }
    day = date(2026, 1, 31)
    assert printed == {f"2026-01-31 23:30:00+00:00 2026-01-31 23:30:00+00:00 {(day, day)!r}\n"}


def test_a_url_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UsageError, match="names postgres://"):
        open_warehouse("postgres://somewhere/db")


def test_a_snowflake_url_is_taken_apart() -> None:
    assert connection_parameters("snowflake://me%40home@ORG-Account/DB/Schema?warehouse=WH&role=R") == {
        "user": "me@home",
        "account": "ORG-Account",
        "database": "DB",
        "schema": "Schema",
        "warehouse": "WH",
        "role": "R",
    }


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("snowflake://account/DB/SCHEMA", "must be of the form"),
        ("snowflake://me@account/DB", "must be of the form"),
        ("snowflake://me@account/DB/SCHEMA?whouse=x", "unknown part whouse"),
        ("snowflake://me:hunter2@account/DB/SCHEMA", "holds a password"),
    ],
)
def test_a_snowflake_url_that_is_wrong_is_refused_and_its_password_is_not_repeated(url, what) -> None:
    with pytest.raises(UsageError, match=what) as refusal:
        open_warehouse(url, "secret")
    assert "hunter2" not in str(refusal.value)
