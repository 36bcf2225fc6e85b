"""The record grows by whole, signed entries at its end, whoever writes at the same time, and on nothing broken."""

import json
import shutil
from datetime import date, timedelta
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import pytest
from audited import add, signer_of
from judged import rewrite

from feature_defs.record import AUDIT_RECORDS
from pipelines.audit.canonical import canonical
from pipelines.audit.chain import verify_chain
from pipelines.audit.export import EXPORT, PUBLIC_KEY, read_export
from pipelines.audit.records import append_record, records, signed_records, trusted_records
from pipelines.audit.signing import make_key, open_signer, read_public_key
from pipelines.errors import DataError, RefusedError, UnavailableError
from pipelines.lake import Lake

DAY = date(2026, 1, 31)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An installation with four entries, of two days."""
    for number in range(4):
        add(tmp_path, "challenger", {"model_set": "abcd"[number], "share": 0.1 * number}, DAY + timedelta(number // 2))
    return tmp_path


def lake_of(home: Path) -> Lake:
    return Lake(str(home / "lake"))


def refused(home: Path) -> str:
    with pytest.raises(RefusedError) as error:
        trusted_records(lake_of(home), signer_of(home).public_key, home / "audits")
    sentence = str(error.value)
    assert "\n" not in sentence
    # Nothing is built on it either.
    with pytest.raises(RefusedError):
        add(home, "challenger", {}, DAY)
    return sentence


def test_entries_are_numbered_chained_and_say_when_and_that_they_are_of_a_demo(home: Path) -> None:
    found = records(lake_of(home))
    assert [entry.number for entry in found] == [1, 2, 3, 4]
    assert [entry.audit_id for entry in found] == [
        "challenger-20260131-1",
        "challenger-20260131-2",
        "challenger-20260201-3",
        "challenger-20260201-4",
    ]
    assert [entry.previous for entry in found[1:]] == [entry.digest for entry in found[:-1]]
    assert found[2].content["day"] == "2026-02-01"
    assert found[2].content["share"] == 0.2
    assert all(entry.content["is_demo"] is True for entry in found)
    verify_chain(found, signer_of(home).public_key)
    assert trusted_records(lake_of(home), signer_of(home).public_key, home / "audits") == found


def test_with_a_key_of_ones_own_only_what_says_so_is_of_a_demo(tmp_path: Path) -> None:
    make_key(tmp_path / "own.key")
    signer = open_signer(tmp_path / "own.key", tmp_path)
    for content in ({}, {"is_demo": False}, {"is_demo": True}):
        append_record(lake_of(tmp_path), signer, "challenger", content, DAY, audits=tmp_path / "audits")
    assert [entry.content["is_demo"] for entry in records(lake_of(tmp_path))] == [False, False, True]


def test_each_entry_is_exported_with_all_before_it_and_the_key(home: Path) -> None:
    assert read_export(home / "audits" / EXPORT) == records(lake_of(home))
    assert read_public_key(home / "audits" / PUBLIC_KEY) == signer_of(home).public_key


def test_an_empty_record_is_trusted(tmp_path: Path) -> None:
    assert records(lake_of(tmp_path)) == []
    assert trusted_records(lake_of(tmp_path), "0" * 64, tmp_path / "audits") == []


def test_an_export_that_lags_behind_as_after_a_crash_is_no_fault_and_is_made_up_for(home: Path) -> None:
    path = home / "audits" / EXPORT
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    add(home, "challenger", {}, DAY)
    assert len(read_export(path)) == 5
    path.unlink()
    add(home, "challenger", {}, DAY)
    assert len(read_export(path)) == 6


def test_an_altered_record_is_refused(home: Path) -> None:
    def alter(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        rows[1]["content"] = rows[1]["content"].replace('"b"', '"x"')
        return rows

    rewrite(lake_of(home), alter)
    assert refused(home) == "record 2 was altered: its content has not the digest that it carries"


def test_a_content_that_is_written_otherwise_is_refused_though_it_says_the_same(home: Path) -> None:
    def alter(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        rows[2]["content"] = json.dumps(json.loads(rows[2]["content"]))
        return rows

    rewrite(lake_of(home), alter)
    assert refused(home) == "record 3 was altered: of its content, it is not written in the canonical way"


def test_a_deleted_record_is_refused(home: Path) -> None:
    rewrite(lake_of(home), lambda rows: [rows[0], *rows[2:]])
    assert refused(home) == "record 2 was deleted: record 3 stands in its place"


def test_a_truncated_record_is_refused_as_the_export_knows_what_is_missing(home: Path) -> None:
    rewrite(lake_of(home), lambda rows: rows[:3])
    assert refused(home).startswith("the chain was truncated or rewritten: it ends with record 3")


def test_a_record_without_any_entry_left_is_truncated(home: Path) -> None:
    shutil.rmtree(home / "lake" / AUDIT_RECORDS.name)
    assert refused(home).startswith("the chain was truncated or rewritten: it ends with record 0")


def test_reordered_records_are_refused(home: Path) -> None:
    def exchange(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        rows[1]["number"], rows[2]["number"] = 3, 2
        return rows

    rewrite(lake_of(home), exchange)
    assert refused(home) == "the records were reordered: what was signed as record 3 is numbered 2"


def test_records_of_a_foreign_key_are_refused(home: Path) -> None:
    (home / "audit.key").unlink()
    assert refused(home).startswith("record 1 was signed with a foreign key")


def test_an_export_that_was_altered_is_refused(home: Path) -> None:
    path = home / "audits" / EXPORT
    path.write_bytes(path.read_bytes()[:-1])
    assert refused(home).endswith("was altered or truncated: its last line has no end")


def test_entries_that_are_as_they_were_signed_are_found_whatever_befell_the_others(home: Path) -> None:
    def alter(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        rows[0]["content"] = "{"
        rows[2]["content"] = rows[2]["content"].replace('"c"', '"x"')
        return rows

    rewrite(lake_of(home), alter)
    found = signed_records(lake_of(home), signer_of(home).public_key)
    assert [entry.number for entry in found] == [2, 4]
    assert signed_records(lake_of(home), "0" * 64) == []


@pytest.mark.parametrize(
    "content",
    [{"user_id": 7}, {"findings": [{"users": 3, "user_ids": [1]}]}, {"share": float("nan")}, {"day": DAY}],
)
def test_what_names_users_or_cannot_be_written_is_not_recorded(home: Path, content: dict[str, Any]) -> None:
    if "day" in content:
        content = {"when": content["day"]}
    with pytest.raises(DataError):
        add(home, "challenger", content, DAY)
    assert len(records(lake_of(home))) == 4


@pytest.mark.parametrize("repeat", range(4))
def test_of_those_who_add_at_the_same_time_each_adds_or_is_told_to_try_again(tmp_path: Path, repeat: int) -> None:
    signer_of(tmp_path)

    def attempt(number: int) -> str:
        try:
            return add(tmp_path, "challenger", {"writer": number}, DAY).audit_id
        except UnavailableError as error:
            assert "\n" not in str(error)
            return ""

    with ThreadPool(6) as threads:
        added = [name for name in threads.map(attempt, range(12)) if name]
    found = trusted_records(lake_of(tmp_path), signer_of(tmp_path).public_key, tmp_path / "audits")
    assert sorted(added) == sorted(entry.audit_id for entry in found)
    assert found


def test_a_second_writer_of_the_same_number_ends_in_one_sentence(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = records(lake_of(home))
    add(home, "challenger", {"writer": "quicker"}, DAY)
    monkeypatch.setattr("pipelines.audit.records.trusted_records", lambda *_: stale)
    with pytest.raises(
        UnavailableError, match=r"^somebody else added to the record of audits at the same time .*again$"
    ):
        add(home, "challenger", {"writer": "slower"}, DAY)
    assert [entry.content.get("writer") for entry in records(lake_of(home))][4:] == ["quicker"]


def test_the_stored_content_is_the_signed_text_itself(home: Path) -> None:
    row = min(lake_of(home).read(AUDIT_RECORDS).to_pylist(), key=lambda row: row["number"])
    assert row["content"] == canonical(records(lake_of(home))[0].content).decode()
