"""The snapshot of the live run, kept as good as it can be."""

import asyncio
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from planted_snapshot import NOW, RUN_ID, planted_snapshot, title, write_snapshot

from pipelines.errors import DataError
from pipelines.serving.snapshots import Snapshots, read_snapshot
from pipelines.snapshot_record import SnapshotRecord, read_record, records, write_record

OTHER_RUN = "20260201-aaaaaaaaaaaa"


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "snapshots")


def test_what_was_written_is_read_back(place: str) -> None:
    titles = [title(1, series_id=4, season=1, episode=2, territories=("DE",), withdrawn_at=NOW), title(2)]
    snapshot = planted_snapshot(
        place, titles, neighbours={1: (2,)}, cohorts={("18_24", None, "a"): b"list"}, explorable={2: 1.0}, audit_id="a1"
    )
    assert [snapshot.titles.get(one.item_id) for one in titles] == titles
    assert snapshot.titles.get(3) is None
    assert (snapshot.neighbours, snapshot.cohorts) == ({1: (2,)}, {("18_24", None, "a"): b"list"})
    assert (snapshot.run_id, snapshot.audit_id, snapshot.generated_at) == (RUN_ID, "a1", NOW)
    assert len(snapshot.explorable) == 1


def test_a_refresh_takes_up_what_is_new_and_reads_nothing_where_nothing_is(place: str) -> None:
    write_snapshot(place, [title(1)])
    snapshots = Snapshots(place)
    assert snapshots.current is None
    asyncio.run(snapshots.refresh(RUN_ID))
    first = snapshots.current
    assert first is not None
    asyncio.run(snapshots.refresh(RUN_ID))
    assert snapshots.current is first
    write_snapshot(place, [title(1)], generated_at=NOW + timedelta(minutes=5))
    asyncio.run(snapshots.refresh(RUN_ID))
    looked_at_again = snapshots.current
    assert looked_at_again.titles is first.titles
    assert looked_at_again.generated_at == NOW + timedelta(minutes=5)
    write_snapshot(place, [title(1), title(2)])
    asyncio.run(snapshots.refresh(RUN_ID))
    assert len(snapshots.current.titles) == 2


def test_without_a_run_the_newest_snapshot_is_taken(place: str) -> None:
    write_snapshot(place, [title(1)])
    write_snapshot(place, [title(1), title(2)], run_id=OTHER_RUN, generated_at=NOW - timedelta(hours=1))
    assert read_snapshot(place, None).run_id == RUN_ID
    assert read_snapshot(place, OTHER_RUN).run_id == OTHER_RUN


def test_what_cannot_be_read_leaves_the_last_good_one_and_is_said(place: str) -> None:
    write_snapshot(place, [title(1)])
    snapshots = Snapshots(place)
    asyncio.run(snapshots.refresh(RUN_ID))
    good = snapshots.current
    digest = write_snapshot(place, [title(1), title(2)])
    file = Path(place) / digest / "titles.msgpack"
    whole = file.read_bytes()
    for broken in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[:10], b""):
        file.write_bytes(broken)
        asyncio.run(snapshots.refresh(RUN_ID))
        assert snapshots.current is good
        assert "titles.msgpack" in snapshots.trouble
    file.unlink()
    asyncio.run(snapshots.refresh(RUN_ID))
    assert (snapshots.current, "titles.msgpack" in snapshots.trouble) == (good, True)
    asyncio.run(snapshots.refresh(OTHER_RUN))
    assert (snapshots.current, OTHER_RUN in snapshots.trouble) == (good, True)
    file.write_bytes(whole)
    asyncio.run(snapshots.refresh(RUN_ID))
    assert (len(snapshots.current.titles), snapshots.trouble) == (2, None)


def test_where_there_is_nothing_it_is_said(place: str) -> None:
    snapshots = Snapshots(place)
    asyncio.run(snapshots.refresh(None))
    assert (snapshots.current, "there is no snapshot" in snapshots.trouble) == (None, True)
    with pytest.raises(DataError, match="has no snapshot"):
        read_snapshot(place, RUN_ID)


def test_an_object_store_is_read_as_a_folder_is(tmp_path: Path) -> None:
    place = f"file://{tmp_path}/snapshots"
    write_snapshot(place, [title(1)])
    assert len(read_snapshot(place, None).titles) == 1


def test_what_is_said_of_a_run_is_replaced_whole_and_what_is_broken_is_passed_over(place: str) -> None:
    record = SnapshotRecord(RUN_ID, "d" * 32, "m", None, NOW)
    write_record(place, record)
    write_record(place, record)
    folder = Path(place) / "by_run"
    assert [path.name for path in folder.iterdir()] == [f"{RUN_ID}.json"]
    assert read_record(place, RUN_ID) == record
    assert read_record(place, OTHER_RUN) is None
    (folder / f"{OTHER_RUN}.json").write_text("{")
    assert records(place) == [record]
    with pytest.raises(DataError, match="cannot be read"):
        read_record(place, OTHER_RUN)
    (folder / f"{OTHER_RUN}.json").write_bytes((folder / f"{RUN_ID}.json").read_bytes())
    with pytest.raises(DataError, match="is said of"):
        read_record(place, OTHER_RUN)
    with pytest.raises(DataError, match="not a run id"):
        read_record(place, "../../etc/passwd")


def test_reading_a_snapshot_from_a_folder_needs_nothing_heavy(place: str) -> None:
    write_snapshot(place, [title(1)])
    code = (
        "import sys\nfrom pipelines.serving.snapshots import read_snapshot\n"
        "from pipelines.serving import arranging\n"
        f"read_snapshot({place!r}, None)\n"
        "print([name for name in ('pyarrow', 'numba', 'polars', 'duckdb', 'torch') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ended.stdout.strip() == "[]"
