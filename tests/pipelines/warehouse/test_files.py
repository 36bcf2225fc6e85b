"""A user's own files in, declared rows out."""

from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_defs.events import EVENTS
from feature_defs.items import ITEMS
from feature_defs.users import PROTECTED_ATTRIBUTES, USERS
from pipelines.arrow_schemas import arrow_schema
from pipelines.errors import DataError, UnavailableError
from pipelines.warehouse.files import read_files

EVENTS_CSV = "event_id,user_id,item_id,kind,happened_at,received_at\n"
A_LINE = "a,1,2,play,2026-01-31T20:15:00Z,2026-01-31T20:15:00Z\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "events.csv").write_text(EVENTS_CSV + A_LINE)
    (tmp_path / "items.csv").write_text(
        "item_id,title,kind,published_at,moderation_state,genres\n"
        '2,"One, two\nthree",video,2026-01-01,approved,Drama|Comedy\n'
    )
    (tmp_path / "users.csv").write_text("user_id,signup_at,is_opted_out,age\n1,2026-01-01 10:00,TRUE,40\n")
    return tmp_path


def rows(folder, table):
    return pa.Table.from_batches(read_files(folder)[table], arrow_schema(table))


def test_columns_that_may_be_null_may_be_absent_and_unknown_ones_are_not_read(folder) -> None:
    [user] = rows(folder, USERS).to_pylist()
    assert user == {
        "user_id": 1,
        "signup_at": datetime(2026, 1, 1, 10, tzinfo=UTC),
        "is_opted_out": True,
        **dict.fromkeys(["age_band", "city", "country", "device", "onboarding_genres", "maturity_limit"]),
    }
    assert rows(folder, PROTECTED_ATTRIBUTES).num_rows == 0


def test_a_list_is_parted_by_bars_and_a_text_may_hold_commas_and_lines(folder) -> None:
    [item] = rows(folder, ITEMS).to_pylist()
    assert (item["title"], item["genres"], item["territories"]) == ("One, two\nthree", ["Drama", "Comedy"], None)


@pytest.mark.parametrize(
    ("text", "hour", "minute", "microsecond"),
    [
        ("2026-01-31T20:15:00Z", 20, 15, 0),
        ("2026-01-31 20:15:00.25", 20, 15, 250_000),
        ("2026-01-31T22:15:00+02:00", 20, 15, 0),
        ("2026-01-31T15:45:00.000001-0430", 20, 15, 1),
        ("2026-01-31 20:15:00.5+00", 20, 15, 500_000),
        ("2026-01-31 22:15:00+02", 20, 15, 0),
        ("2026-01-31 15:15:00-05", 20, 15, 0),
        ("2026-01-31T20:15", 20, 15, 0),
        ("2026-01-31", 0, 0, 0),
    ],
)
def test_a_moment_may_have_a_zone_and_else_is_utc(folder, text, hour, minute, microsecond) -> None:
    (folder / "events.csv").write_text(EVENTS_CSV + f"a,1,2,play,{text},{text}\n")
    [event] = rows(folder, EVENTS).to_pylist()
    assert event["happened_at"] == datetime(2026, 1, 31, hour, minute, 0, microsecond, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("b,u42,2,play,2026-01-31,2026-01-31", r"events\.csv, row 2: user_id is 'u42', and must be an integer"),
        ("b,1.5,2,play,2026-01-31,2026-01-31", r"row 2: user_id is '1\.5', and must be an integer"),
        ("b,1,2,play,yesterday,2026-01-31", r"row 2: happened_at is 'yesterday', and must be a moment such as"),
        ("b,1,2", r"events\.csv cannot be read as csv: .*Expected 6 columns, got 3"),
    ],
)
def test_a_value_that_is_not_of_its_type_is_named(folder, line, sentence) -> None:
    (folder / "events.csv").write_text(EVENTS_CSV + A_LINE + line + "\n")
    with pytest.raises(DataError, match=sentence):
        rows(folder, EVENTS)


def test_a_required_column_that_is_absent_is_named_before_anything_is_read(folder) -> None:
    (folder / "events.csv").write_text("event_id,user_id,item_id,kind,happened_at\n")
    with pytest.raises(DataError, match=r"events\.csv lacks the column received_at, which every row must have"):
        read_files(folder)


def test_a_parquet_file_is_read_by_its_types(folder) -> None:
    (folder / "events.csv").unlink()
    moment = pa.array([1_769_890_500_000_000_000], pa.timestamp("ns"))
    columns = {
        "event_id": ["a"],
        "user_id": pa.array([1], pa.int32()),
        "item_id": pa.array([2.0]),
        "kind": ["play"],
        "happened_at": moment,
        "received_at": moment,
        "watched_share": pa.array([0.1], pa.float64()),
        "other": [[1]],
    }
    pq.write_table(pa.table(columns), folder / "events.parquet")
    [event] = rows(folder, EVENTS).to_pylist()
    assert (event["item_id"], event["received_at"]) == (2, datetime(2026, 1, 31, 20, 15, tzinfo=UTC))
    pq.write_table(pa.table({**columns, "item_id": pa.array([2.5])}), folder / "events.parquet")
    with pytest.raises(DataError, match=r"events\.parquet: item_id is of type double where int64 is declared"):
        rows(folder, EVENTS)


def test_a_file_that_is_not_what_its_name_says_is_named(folder) -> None:
    (folder / "users.csv").unlink()
    (folder / "users.parquet").write_text("not Parquet at all")
    with pytest.raises(DataError, match=r"users\.parquet cannot be read as parquet"):
        read_files(folder)
    (folder / "users.parquet").unlink()
    (folder / "users.csv").write_bytes(b"")
    with pytest.raises(DataError, match=r"users\.csv cannot be read as csv"):
        read_files(folder)
    (folder / "users.csv").write_bytes(b"user_id,signup_at,is_opted_out,city\n1,2026-01-01,true,K\xf6ln\n")
    with pytest.raises(DataError, match=r"users\.csv cannot be read as csv: .*UTF8"):
        rows(folder, USERS)


def test_what_is_not_there_or_there_twice_is_named(folder, tmp_path) -> None:
    with pytest.raises(UnavailableError, match="there is no folder"):
        read_files(tmp_path / "nowhere")
    (folder / "items.parquet").write_bytes(b"")
    with pytest.raises(DataError, match=r"holds both items\.parquet and items\.csv"):
        read_files(folder)
    (folder / "items.parquet").unlink()
    (folder / "items.csv").unlink()
    with pytest.raises(UnavailableError, match=r"holds neither items\.parquet nor items\.csv"):
        read_files(folder)
