"""The suites say what the declarations say, to pandas and to Spark alike, and leave pages for people."""

from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from feature_defs.declarations import NotNull
from feature_defs.events import EVENTS
from feature_defs.items import ITEMS
from feature_defs.recommendations import RECOMMENDATION_SLOTS
from feature_defs.tables import ALL_TABLES
from pipelines.arrow_schemas import arrow_schema
from pipelines.checked_rows import check_rows
from pipelines.errors import DataError
from pipelines.expectations import Validated, expectation_suite, validate

DAY = date(2026, 1, 31)
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def event(number: int, **changes: object) -> dict:
    row = {"event_id": f"e{number}", "user_id": 1, "item_id": 1, "kind": "play", "watched_share": 0.5}
    return {**row, "happened_at": NOON, "received_at": NOON, **changes}


def validated(tmp_path: Path, rows: list[dict], **settings: int) -> Validated:
    table = pa.Table.from_pylist(rows, arrow_schema(EVENTS))
    with check_rows(EVENTS, table, DAY) as checked:
        return validate({EVENTS: checked.path}, tmp_path / "docs", DAY, "test", **settings)


@pytest.mark.parametrize("table", ALL_TABLES, ids=lambda table: table.name)
def test_a_suite_expects_each_required_column_and_the_key(table) -> None:
    suite = expectation_suite(table)
    kinds = [(found.expectation_type, getattr(found, "column", None)) for found in suite.expectations]
    for field in table:
        expected = any(isinstance(rule, NotNull) for rule in field.rules)
        assert (("expect_column_values_to_not_be_null", field.name) in kinds) == expected
    assert any("unique" in kind for kind, _ in kinds)


def test_good_rows_pass_and_leave_a_page(tmp_path: Path) -> None:
    found = validated(tmp_path, [event(1), event(2, watched_share=None)])
    assert (found.critical, found.warnings) == ((), ())
    assert found.page.exists()
    index = (tmp_path / "docs" / "index.html").read_text()
    assert "2026-01-31/test/index.html" in index


def test_bad_rows_are_named_by_column_and_count(tmp_path: Path) -> None:
    found = validated(tmp_path, [event(1, watched_share=1.7), event(2, kind="dance"), event(3, user_id=None)])
    words = " ".join(found.critical)
    for column in ("watched_share", "kind", "user_id"):
        assert f"{column}: " in words
    with pytest.raises(DataError, match=r"does not meet its expectations: events.user_id"):
        found.refuse_if_critical("events of 2026-01-31")


def test_no_rows_at_all_are_not_what_was_expected(tmp_path: Path) -> None:
    assert any("row count" in sentence for sentence in validated(tmp_path, []).critical)


@pytest.mark.slow
@pytest.mark.usefixtures("spark")  # Great Expectations takes the session that is there, or starts one, which would stay
def test_spark_finds_in_a_large_day_what_pandas_finds_in_a_small_one(tmp_path: Path) -> None:
    rows = [event(1, watched_share=1.7), event(2), event(2), event(3, kind=None)]
    small, large = validated(tmp_path, rows), validated(tmp_path, rows, spark_rows=1)
    assert small.critical == large.critical
    assert small.expectation_count == large.expectation_count


def test_lists_among_the_columns_are_no_hindrance(tmp_path: Path) -> None:
    row = {"item_id": 1, "title": "A", "genres": ["War"], "kind": "video", "published_at": NOON}
    table = pa.Table.from_pylist([{**row, "moderation_state": "approved"}], arrow_schema(ITEMS))
    with check_rows(ITEMS, table, DAY) as checked:
        assert validate({ITEMS: checked.path}, tmp_path / "docs", DAY, "test").critical == ()


def test_a_list_with_a_title_twice_does_not_go_out(tmp_path: Path) -> None:
    place = {"user_id": 1, "item_id": 5, "score": 0.5, "source": 0, "reason": 255}
    table = pa.Table.from_pylist([{**place, "slot": 0}, {**place, "slot": 1}], arrow_schema(RECOMMENDATION_SLOTS))
    path = tmp_path / "slots.parquet"
    pa.parquet.write_table(table, path)
    found = validate({RECOMMENDATION_SLOTS: path}, tmp_path / "docs", DAY, "test")
    assert any(sentence.startswith("recommendation_slots.user_id, item_id: ") for sentence in found.critical)
