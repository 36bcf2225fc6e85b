"""Data Docs quote what broke an expectation; what names an erased user goes, the rest of the page stays."""

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from erasable import OTHER, PAGE, RARE

from feature_defs.recommendations import RECOMMENDATION_SLOTS
from pipelines.arrow_schemas import arrow_schema
from pipelines.expectations import validate
from pipelines.quoted_samples import remove_samples


def test_a_quoted_value_or_key_goes_and_counts_and_other_numbers_stay(tmp_path: Path) -> None:
    page = tmp_path / "2026-01-31" / "users.html"
    page.parent.mkdir()
    page.write_text(PAGE)
    assert remove_samples(tmp_path, [RARE, OTHER]) == {RARE: 2}
    left = page.read_text()
    assert f">{RARE}<" not in left
    assert f"{RARE}7" in left
    assert f"2 rows, {OTHER} of them good" in left
    assert remove_samples(tmp_path, [RARE]) == {}
    assert list(tmp_path.rglob("*.rewritten")) == []


def test_what_great_expectations_renders_is_understood(tmp_path: Path) -> None:
    slot = {"slot": 1, "item_id": 5, "score": 1.0, "source": 1, "reason": 1}
    rows = [{"user_id": user, **slot} for user in (RARE, RARE, -OTHER)]
    path = tmp_path / "slots.parquet"
    pq.write_table(pa.Table.from_pylist(rows, arrow_schema(RECOMMENDATION_SLOTS)), path)
    docs = tmp_path / "docs"
    assert validate({RECOMMENDATION_SLOTS: path}, docs, dt.date(2026, 1, 31), "write_lists").critical
    quoted = [page for page in docs.rglob("*.html") if str(RARE) in page.read_text()]
    assert quoted
    assert remove_samples(docs, [RARE]) == {RARE: 1}
    assert not [page for page in docs.rglob("*.html") if str(RARE) in page.read_text()]
    assert f"-{OTHER}" in quoted[0].read_text()


def test_where_there_are_no_pages_nothing_is_found(tmp_path: Path) -> None:
    assert remove_samples(tmp_path / "none", [RARE]) == {}
