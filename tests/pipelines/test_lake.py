"""A day is replaced whole or not at all, a version stays what it was, and what is refused is kept to be seen."""

import datetime as dt
import multiprocessing
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from feature_defs.events import EVENTS
from feature_defs.record import QUARANTINE, STEPS
from pipelines.arrow_schemas import arrow_schema
from pipelines.errors import DataError, RefusedError, UnavailableError
from pipelines.lake import Lake

DAY = dt.date(2026, 1, 31)
NEXT = DAY + dt.timedelta(1)
NOON = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)


def event(number: int, **changes: object) -> dict:
    row = {"event_id": f"e{number:04d}", "user_id": 1, "item_id": number + 1, "kind": "play", "watched_share": 0.5}
    return {**row, "happened_at": NOON, "received_at": NOON, **changes}


def events(*rows: dict) -> pa.Table:
    return pa.Table.from_pylist(list(rows), arrow_schema(EVENTS))


def ids(table: pa.Table) -> list[str]:
    return sorted(table.column("event_id").to_pylist())


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def test_a_table_that_was_never_written_has_no_rows(lake: Lake) -> None:
    assert lake.read(EVENTS).num_rows == 0
    assert lake.version(EVENTS) is None
    assert lake.days(EVENTS) == []
    assert lake.files(EVENTS) == []


def test_a_day_is_replaced_and_other_days_stay(lake: Lake) -> None:
    lake.replace(EVENTS, events(event(1), event(2)), DAY)
    lake.replace(EVENTS, events(event(3)), NEXT)
    lake.replace(EVENTS, events(event(4)), DAY)
    assert ids(lake.read(EVENTS, DAY, DAY)) == ["e0004"]
    assert ids(lake.read(EVENTS)) == ["e0003", "e0004"]
    assert lake.days(EVENTS) == [DAY, NEXT]


def test_a_pinned_version_stays_what_it_was(lake: Lake) -> None:
    before = lake.replace(EVENTS, events(event(1)), DAY).version
    lake.replace(EVENTS, events(event(2)), DAY)
    assert ids(lake.read(EVENTS, version=before)) == ["e0001"]
    assert ids(pa.Table.from_batches(lake.batches(EVENTS, version=before))) == ["e0001"]
    assert lake.files(EVENTS, version=before) != lake.files(EVENTS)


def test_the_same_rows_again_in_any_order_make_no_new_version(lake: Lake) -> None:
    first = lake.replace(EVENTS, events(event(1), event(2)), DAY)
    again = lake.replace(EVENTS, events(event(2), event(1)), DAY)
    assert first.is_new
    assert not again.is_new
    assert (again.version, again.digests) == (first.version, first.digests)


def test_a_digest_tells_the_content_of_each_day_however_the_days_were_written(lake: Lake, tmp_path: Path) -> None:
    other = Lake(str(tmp_path / "other"))
    days = pa.array([DAY, NEXT], pa.date32())
    lake.replace(EVENTS, events(event(1), event(2)).append_column("day", days), DAY, NEXT)
    other.replace(EVENTS, events(event(2)), NEXT)
    other.replace(EVENTS, events(event(1)), DAY)
    assert lake.digests(EVENTS) == other.digests(EVENTS)
    assert set(lake.digests(EVENTS)) == {"2026-01-31", "2026-02-01"}
    assert set(lake.digests(EVENTS, last_day=DAY)) == {"2026-01-31"}
    lake.replace(EVENTS, events(event(3)), DAY)
    assert lake.digests(EVENTS)["2026-01-31"] != other.digests(EVENTS)["2026-01-31"]


def test_a_range_in_which_a_day_became_empty_says_so(lake: Lake) -> None:
    days = pa.array([DAY, NEXT], pa.date32())
    lake.replace(EVENTS, events(event(1), event(2)).append_column("day", days), DAY, NEXT)
    lake.replace(EVENTS, events(event(1)).append_column("day", days[:1]), DAY, NEXT)
    assert set(lake.digests(EVENTS)) == {"2026-01-31"}
    assert ids(lake.read(EVENTS)) == ["e0001"]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"user_id": None}, "events of 2026-01-31: user_id must not be null .1 row.; nothing was written"),
        ({"watched_share": 1.7}, "watched_share must lie between 0 and 1 .1 row."),
        ({"event_id": "e0001"}, "event_id must be unique .1 row."),
    ],
)
def test_a_critical_breach_writes_nothing_and_names_column_rule_and_count(lake: Lake, bad: dict, words: str) -> None:
    lake.replace(EVENTS, events(event(9)), DAY)
    with pytest.raises(DataError, match=words):
        lake.replace(EVENTS, events(event(1), event(2, **bad)), DAY)
    assert ids(lake.read(EVENTS)) == ["e0009"]
    kept = lake.read(QUARANTINE).to_pylist()
    assert [row["column_name"] for row in kept] == [next(iter(bad))]
    assert kept[0]["table_name"] == "events"


def test_a_missing_column_writes_nothing_and_is_named(lake: Lake) -> None:
    with pytest.raises(DataError, match="events lacks the column kind"):
        lake.replace(EVENTS, events(event(1)).drop_columns(["kind"]), DAY)
    assert lake.version(EVENTS) is None


def test_a_row_set_aside_is_kept_in_quarantine_and_the_others_are_written(lake: Lake) -> None:
    wrong_by_years = NOON - dt.timedelta(days=1500)
    written = lake.replace(EVENTS, events(event(1), event(2, happened_at=wrong_by_years)), DAY)
    assert ids(lake.read(EVENTS)) == ["e0001"]
    assert written.row_count == 1
    assert "happened_at" in written.notes[0]
    assert "1 row" in written.notes[0]
    assert [row["column_name"] for row in lake.read(QUARANTINE).to_pylist()] == ["happened_at"]


def test_a_stream_is_checked_across_its_batches(lake: Lake) -> None:
    def stream(*tables: pa.Table) -> pa.RecordBatchReader:
        batches = [batch for table in tables for batch in table.combine_chunks().to_batches()]
        return pa.RecordBatchReader.from_batches(arrow_schema(EVENTS), batches)

    with pytest.raises(DataError, match="event_id must be unique"):
        lake.replace(EVENTS, stream(events(event(1)), events(event(1))), DAY)
    streamed = lake.replace(EVENTS, stream(events(event(1)), events(event(2))), DAY)
    assert not lake.replace(EVENTS, events(event(1), event(2)), DAY).is_new
    assert streamed.row_count == 2


def test_a_part_of_a_day_is_replaced_alone(lake: Lake) -> None:
    for surface in ("home", "search"):
        rows = events(*(event(number, surface=surface, event_id=f"{surface}{number}") for number in range(2)))
        lake.replace(EVENTS, rows, DAY, where={"surface": surface})
    only = events(event(7, surface="home", event_id="home7"))
    lake.replace(EVENTS, only, DAY, where={"surface": "home"})
    assert ids(lake.read(EVENTS)) == ["home7", "search0", "search1"]
    assert ids(lake.read(EVENTS, where=pc.field("surface") == "home")) == ["home7"]
    assert not lake.replace(EVENTS, only, DAY, where={"surface": "home"}).is_new


def _replace_part(root: str, surface: str) -> None:
    rows = [event(number, surface=surface, event_id=f"{surface}{number}") for number in range(50)]
    Lake(root).replace(EVENTS, events(*rows), DAY, where={"surface": surface})


def test_parts_of_a_day_written_by_processes_at_once_are_all_there(lake: Lake) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_replace_part, args=(lake.root, f"s{number}")) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 4
    assert lake.read(EVENTS).num_rows == 200


def step(number: int) -> pa.Table:
    row = {"run_id": "r", "run_day": DAY, "job": f"j{number}", "started_at": NOON, "seconds": 1.0}
    return pa.Table.from_pylist([{**row, "reads": "{}", "writes": "{}", "counts": "{}"}], arrow_schema(STEPS))


def test_of_two_records_of_one_number_one_is_refused(lake: Lake) -> None:
    lake.append(STEPS, step(1), DAY, number=1)
    lake.append(STEPS, step(2), DAY, number=2)
    with pytest.raises(RefusedError, match="already holds record 2"):
        lake.append(STEPS, step(3), DAY, number=2)
    assert lake.read(STEPS).num_rows == 2


def test_a_place_that_cannot_be_written_is_named_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UnavailableError, match="cannot write events in"):
        Lake(str(tmp_path / "file")).replace(EVENTS, events(event(1)), DAY)


def test_a_truncated_file_is_found_when_it_is_read(lake: Lake) -> None:
    lake.replace(EVENTS, events(event(1)), DAY)
    file = Path(lake.files(EVENTS)[0].removeprefix("file://"))
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(UnavailableError, match="cannot read events"):
        lake.read(EVENTS)
