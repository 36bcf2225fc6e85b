"""A digest tells content, and nothing but content."""

import datetime as dt
import itertools
from pathlib import Path

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.digests import ContentDigest, code_digest, digest_of

SCHEMA = pa.schema(
    [
        ("number", pa.int64()),
        ("share", pa.float32()),
        ("flag", pa.bool_()),
        ("text", pa.string()),
        ("moment", pa.timestamp("us", tz="UTC")),
        ("day", pa.date32()),
        ("many", pa.list_(pa.int64())),
        ("words", pa.list_(pa.string())),
    ]
)
MOMENTS = st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2040, 1, 1), timezones=st.just(dt.UTC))  # noqa: DTZ001
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "number": st.none() | st.integers(-(2**40), 2**40),
            "share": st.none() | st.floats(0, 1, width=32),
            "flag": st.none() | st.booleans(),
            "text": st.none() | st.text(max_size=5),
            "moment": st.none() | MOMENTS,
            "day": st.none() | st.dates(dt.date(1990, 1, 1), dt.date(2040, 1, 1)),
            "many": st.none() | st.lists(st.none() | st.integers(0, 9), max_size=3),
            "words": st.none() | st.lists(st.text(max_size=2), max_size=3),
        }
    ),
    max_size=12,
)


def digest(rows: list[dict], *cuts: int) -> str:
    whole = ContentDigest(SCHEMA)
    table = pa.Table.from_pylist(rows, SCHEMA).combine_chunks()
    bounds = [0, *sorted(cut for cut in cuts if 0 < cut < len(rows)), len(rows)]
    for start, stop in itertools.pairwise(bounds):
        for batch in table.slice(start, stop - start).to_batches():
            whole.update(batch)
    return whole.hexdigest()


@given(ROWS, st.lists(st.integers(0, 12), max_size=3))
@settings(max_examples=200, deadline=None)
def test_a_digest_does_not_depend_on_how_rows_are_cut_into_batches(rows: list[dict], cuts: list[int]) -> None:
    assert digest(rows) == digest(rows, *cuts)


@given(ROWS, ROWS)
@settings(max_examples=200, deadline=None)
def test_equal_digests_mean_equal_rows(one: list[dict], other: list[dict]) -> None:
    same = pa.Table.from_pylist(one, SCHEMA).equals(pa.Table.from_pylist(other, SCHEMA))
    assert (digest(one) == digest(other)) == same


@given(ROWS.filter(bool), st.data())
@settings(max_examples=200, deadline=None)
def test_one_changed_value_changes_the_digest(rows: list[dict], data: st.DataObject) -> None:
    changed = [dict(row) for row in rows]
    at = data.draw(st.integers(0, len(rows) - 1))
    changed[at]["number"] = (rows[at]["number"] or 0) + 1
    assert digest(changed) != digest(rows)


def test_where_text_is_cut_into_values_counts() -> None:
    assert digest([{"text": "ab"}, {"text": "c"}]) != digest([{"text": "a"}, {"text": "bc"}])
    assert digest([{"many": [1]}, {"many": [2, 3]}]) != digest([{"many": [1, 2]}, {"many": [3]}])
    assert digest([{"text": ""}]) != digest([{"text": None}])


def test_the_digest_of_a_mapping_does_not_depend_on_the_order_of_its_keys() -> None:
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1}) != digest_of({"a": 1, "b": 3})


def test_changed_source_changes_the_digest_of_the_code(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    file = tmp_path / "jobs" / "one.py"
    file.write_text("a = 1\n")
    before = code_digest(tmp_path)
    file.write_text("a = 2\n")
    assert code_digest(tmp_path) != before
    (tmp_path / "jobs" / "notes.txt").write_text("not code")
    file.write_text("a = 1\n")
    assert code_digest(tmp_path) == before
