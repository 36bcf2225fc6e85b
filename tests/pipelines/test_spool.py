"""What the endpoint's spool keeps, and what survives of it when its writer does not."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import spool
from pipelines.errors import DataError, UnavailableError
from pipelines.spool import (
    Answer,
    AnsweredItem,
    EventRecord,
    Segment,
    Spool,
    records_being_written,
    remove_unfinished,
    seal_orphans,
    sealed_segments,
)

NOON = datetime(2026, 1, 31, 12, 0, 0, 123_456, tzinfo=UTC)
ANSWER = Answer("r", NOON, 1, None, "trending", [AnsweredItem(0, 2, 1.5, 0.5), AnsweredItem(1, 3, None, None)])
EVENT = EventRecord("e", "r", 1, 2, "play", NOON, NOON, watched_share=0.5)


def names(folder):
    return sorted(path.suffix for path in folder.iterdir()) if folder.exists() else []


def test_records_come_back_in_order_and_whole(tmp_path) -> None:
    writer = Spool(tmp_path / "new" / "spool")
    for record in (ANSWER, EVENT, EVENT):
        writer.append(record)
    writer.close()
    [segment] = sealed_segments(tmp_path / "new" / "spool")
    assert list(segment) == [ANSWER, EVENT, EVENT]
    assert segment.torn_byte_count == 0


def test_an_event_has_no_place_for_a_propensity() -> None:
    assert not {"run_id", "slot", "propensity"} & set(EventRecord.__struct_fields__)
    payload = msgspec.msgpack.encode({**msgspec.to_builtins(EVENT), "propensity": 1.0})
    assert not hasattr(msgspec.msgpack.decode(payload, type=EventRecord), "propensity")


def test_nothing_is_made_before_there_is_something_to_write(tmp_path) -> None:
    writer = Spool(tmp_path / "spool")
    writer.flush()
    writer.close()
    assert names(tmp_path / "spool") == []
    assert sealed_segments(tmp_path / "spool") == []
    assert seal_orphans(tmp_path / "spool") == 0


def test_a_segment_is_sealed_when_it_is_large_enough_or_old_enough(tmp_path, monkeypatch) -> None:
    writer = Spool(tmp_path, segment_bytes=200, segment_seconds=60)
    writer.append(EVENT)
    writer.flush()
    assert names(tmp_path) == [".open"]
    writer.append(ANSWER)
    writer.append(ANSWER)
    writer.flush()
    assert names(tmp_path) == [".sealed"]
    writer.append(EVENT)
    writer.flush()
    now = spool.time.monotonic()
    monkeypatch.setattr(spool.time, "monotonic", lambda: now + 61)
    writer.flush()
    assert names(tmp_path) == [".sealed", ".sealed"]
    assert [record for segment in sealed_segments(tmp_path) for record in segment] == [EVENT, ANSWER, ANSWER, EVENT]


def test_an_open_segment_is_left_to_its_writer(tmp_path) -> None:
    writer = Spool(tmp_path)
    writer.append(EVENT)
    writer.flush()
    assert seal_orphans(tmp_path) == 0
    writer.append(ANSWER)
    writer.close()
    [segment] = sealed_segments(tmp_path)
    assert list(segment) == [EVENT, ANSWER]


def test_what_a_killed_writer_flushed_is_not_lost(tmp_path) -> None:
    code = (
        "import sys, os, signal; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path; from datetime import datetime, UTC\n"
        "from pipelines.spool import EventRecord, Spool\n"
        "now = datetime.now(UTC); spool = Spool(Path(sys.argv[1]))\n"
        "for n in range(1000): spool.append(EventRecord(str(n), None, 1, 2, 'play', now, now))\n"
        "spool.flush(); spool.append(EventRecord('unflushed', None, 1, 2, 'play', now, now))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path), str(Path.cwd())], check=False)
    assert done.returncode == -signal.SIGKILL
    assert names(tmp_path) == [".open"]
    assert seal_orphans(tmp_path) == 1
    [segment] = sealed_segments(tmp_path)
    assert [record.event_id for record in segment] == [str(number) for number in range(1000)]


@settings(max_examples=80, deadline=None)
@given(cut=st.integers(0, 10_000), zeros=st.integers(0, 20))
def test_of_a_segment_cut_anywhere_all_whole_records_are_read_and_the_rest_is_counted(
    cut, zeros, tmp_path_factory
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    writer = Spool(folder)
    sizes = [8]
    for number in range(5):
        record = msgspec.structs.replace(EVENT, event_id="x" * number)
        writer.append(record)
        sizes.append(sizes[-1] + 8 + len(msgspec.msgpack.encode(record)))
    writer.close()
    [segment] = sealed_segments(folder)
    data = segment.path.read_bytes()
    assert len(data) == sizes[-1]
    kept = cut % (len(data) + 1)
    segment.path.write_bytes(data[:kept] + b"\0" * (zeros if kept >= 8 else 0))
    whole = sum(1 for size in sizes[1:] if size <= kept)
    # Zeros may stand for the end of the record that was cut; then it is whole after all.
    read = list(segment)
    assert whole <= len(read) <= whole + 1
    assert all(record.user_id == 1 for record in read)
    if len(read) == whole:
        assert segment.torn_byte_count == (kept - sizes[whole] + zeros if kept >= 8 else 0)


def test_a_changed_byte_ends_the_reading(tmp_path) -> None:
    writer = Spool(tmp_path)
    for _ in range(3):
        writer.append(EVENT)
    writer.close()
    [segment] = sealed_segments(tmp_path)
    data = bytearray(segment.path.read_bytes())
    data[-5] ^= 1
    segment.path.write_bytes(data)
    assert len(list(segment)) == 2
    assert segment.torn_byte_count == (len(data) - 8) // 3


def test_a_file_that_is_no_segment_is_named(tmp_path) -> None:
    path = tmp_path / "notes.sealed"
    path.write_text("something else altogether")
    with pytest.raises(DataError, match=f"{path} is not a segment"):
        list(Segment(path))
    with pytest.raises(UnavailableError, match="cannot be read"):
        list(Segment(tmp_path / "gone.sealed"))


def test_a_record_of_an_unknown_kind_is_not_passed_over(tmp_path, monkeypatch) -> None:
    class Later(msgspec.Struct, tag="later"):
        at: int

    writer = Spool(tmp_path)
    writer.append(Later(1))
    writer.close()
    [segment] = sealed_segments(tmp_path)
    with pytest.raises(DataError, match="a record at byte 8 that is not known"):
        list(segment)


def test_a_disk_that_does_not_take_records_loses_none_of_them(tmp_path, monkeypatch) -> None:
    writer = Spool(tmp_path)
    writer.append(EVENT)
    writer.flush()
    writer.append(ANSWER)
    real = os.write
    monkeypatch.setattr(spool.os, "write", lambda file, data: real(file, data[:5]) if len(data) > 5 else full())

    def full():
        raise OSError(28, "No space left on device")

    with pytest.raises(UnavailableError, match=f"the spool {tmp_path} cannot be written: No space left on device"):
        writer.flush()
    assert writer.waiting_count == 1
    monkeypatch.undo()
    writer.close()
    assert seal_orphans(tmp_path) == 1
    first, second = sealed_segments(tmp_path)
    assert (list(first), list(second)) == ([EVENT], [ANSWER])
    assert first.torn_byte_count > 0


def test_a_kept_segment_is_not_read_again_and_a_removed_one_is_gone(tmp_path) -> None:
    for _ in range(2):
        writer = Spool(tmp_path)
        writer.append(EVENT)
        writer.close()
    first, second = sealed_segments(tmp_path)
    assert first.keep().suffix == ".kept"
    second.remove()
    assert sealed_segments(tmp_path) == []
    assert names(tmp_path) == [".kept"]


def _event(number: int, user: int) -> EventRecord:
    now = datetime.now(UTC)
    return EventRecord(f"e{number}", None, user, 1, "click", now, now)


def test_a_segment_without_a_user_holds_all_others_byte_by_byte(tmp_path):
    writer = Spool(tmp_path)
    for number, user in enumerate((7, 8, 7, 9)):
        writer.append(_event(number, user))
    writer.close()
    [segment] = sealed_segments(tmp_path)
    before = list(segment)
    assert segment.without({7, 10}) == {7: 2}
    assert list(segment) == [record for record in before if record.user_id != 7]
    assert segment.torn_byte_count == 0
    assert segment.without({7}) == {}
    assert [path.suffix for path in tmp_path.iterdir()] == [".sealed"]


@pytest.mark.parametrize(("user", "is_left"), [(7, False), (8, True)])
def test_a_torn_tail_goes_with_the_user_whom_it_names(tmp_path, user, is_left):
    writer = Spool(tmp_path)
    for number, owner in enumerate((9, user)):
        writer.append(_event(number, owner))
    writer.close()
    [segment] = sealed_segments(tmp_path)
    segment.path.write_bytes(segment.path.read_bytes()[:-3])
    assert segment.without({7}) == ({} if is_left else {7: 1})
    assert [record.user_id for record in segment] == [9]
    assert (segment.torn_byte_count > 0) == is_left


def test_of_a_segment_that_is_being_written_the_records_are_counted_and_left(tmp_path):
    writer = Spool(tmp_path)
    writer.append(_event(1, 7))
    writer.flush()
    [path] = tmp_path.glob("*.open")
    before = path.read_bytes()
    assert records_being_written(tmp_path, {7, 8}) == {7: 1}
    assert path.read_bytes() == before
    writer.close()
    assert records_being_written(tmp_path, {7}) == {}


def test_what_a_killed_rewriting_left_is_removed_after_an_hour(tmp_path):
    fresh, stale = tmp_path / "a.sealed.0.rewritten", tmp_path / "b.sealed.0.rewritten"
    for path in (fresh, stale):
        path.write_bytes(b"some")
    os.utime(stale, (0, 0))
    assert remove_unfinished(tmp_path) == 1
    assert list(tmp_path.iterdir()) == [fresh]
