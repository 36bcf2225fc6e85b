"""Every rule finds the rows that break it, and no others."""

import datetime as dt
import math

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_defs.declarations import Array, Between, Dtype, Field, Near, NotNull, OneOf, Severity, Table
from pipelines.arrow_schemas import arrow_schema
from pipelines.checks import breaches, conform, repeated_keys
from pipelines.errors import DataError

NOON = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)
TABLE = Table(
    "things",
    "For tests.",
    (
        Field("thing_id", Dtype.INT64, "Key.", (NotNull(),)),
        Field("share", Dtype.FLOAT32, "A share.", (Between(0, 1),)),
        Field("kind", Dtype.STRING, "A kind.", (OneOf(("big", "small")),)),
        Field("sizes", Array(Dtype.INT32), "Sizes.", (Between(low=1),)),
        Field("happened_at", Dtype.TIMESTAMP, "When.", (Near("received_at", dt.timedelta(2), dt.timedelta(1)),)),
        Field("received_at", Dtype.TIMESTAMP, "When received."),
    ),
    key=("thing_id",),
)
GOOD = {"thing_id": 1, "share": 0.5, "kind": "big", "sizes": [1, 2], "happened_at": NOON, "received_at": NOON}


def rows(*changes: dict) -> pa.Table:
    return pa.Table.from_pylist([{**GOOD, **change} for change in changes], arrow_schema(TABLE))


def test_rows_as_declared_break_nothing() -> None:
    nothing = dict.fromkeys(["share", "kind", "sizes", "happened_at", "received_at"])
    assert breaches(TABLE, rows({}, nothing, {"sizes": []}, {"share": 0.0}, {"share": 1.0})) == []
    assert breaches(TABLE, rows()) == []
    assert breaches(TABLE, rows({"sizes": []})) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"thing_id": None}, "thing_id must not be null (1 row)"),
        ({"share": 1.7}, "share must lie between 0 and 1 (1 row)"),
        ({"share": -0.1}, "share must lie between 0 and 1 (1 row)"),
        ({"share": math.nan}, "share must lie between 0 and 1 (1 row)"),
        ({"share": math.inf}, "share must lie between 0 and 1 (1 row)"),
        ({"kind": "huge"}, "kind must be one of big, small (1 row)"),
        ({"sizes": [1, 0]}, "sizes must be at least 1 (1 row)"),
        ({"happened_at": NOON + dt.timedelta(2)}, "happened_at must lie at most 2 days before and 1 days after"),
        ({"happened_at": NOON - dt.timedelta(900)}, "happened_at must lie at most 2 days before and 1 days after"),
    ],
)
def test_a_broken_rule_is_named_with_its_column_and_count(change: dict, words: str) -> None:
    found = breaches(TABLE, rows({}, change, {}))
    assert [str(breach).startswith(words) for breach in found] == [True]
    assert found[0].rows.to_pylist() == [False, True, False]


@given(st.lists(st.none() | st.floats(width=32), max_size=50))
@settings(max_examples=200, deadline=None)
def test_bounds_agree_with_a_plain_loop(shares: list[float | None]) -> None:
    found = breaches(TABLE, rows(*({"share": share} for share in shares)))
    expected = [share is not None and not 0 <= share <= 1 for share in shares]
    assert (found[0].rows.to_pylist() if found else [False] * len(shares)) == expected


def test_a_clock_that_is_wrong_is_set_aside_and_all_else_is_critical() -> None:
    found = breaches(TABLE, rows({"happened_at": NOON + dt.timedelta(900), "share": 2.0}))
    assert {breach.column: breach.severity for breach in found} == {
        "share": Severity.CRITICAL,
        "happened_at": Severity.ASIDE,
    }


def test_a_missing_column_is_named_and_a_new_one_beside_it_is_suspected() -> None:
    with pytest.raises(DataError, match=r"things lacks the column share; .* portion"):
        conform(TABLE, rows({}).rename_columns(["thing_id", "portion", *TABLE.names[2:]]))


def test_a_column_that_is_not_declared_is_accepted_and_dropped() -> None:
    wider = rows({}).append_column("extra", pa.array([1]))
    assert conform(TABLE, wider).schema == arrow_schema(TABLE)


@pytest.mark.parametrize(
    ("column", "values"), [("thing_id", ["1"]), ("kind", [7]), ("thing_id", [1.5]), ("received_at", ["today"])]
)
def test_a_column_of_another_type_is_named(column: str, values: list) -> None:
    table = rows({})
    with pytest.raises(DataError, match=f"things.{column} is of type"):
        conform(TABLE, table.set_column(table.schema.get_field_index(column), column, pa.array(values)))


def test_types_that_lose_nothing_are_cast() -> None:
    table = rows({}).set_column(0, "thing_id", pa.array([1], pa.int16())).set_column(1, "share", pa.array([0.5]))
    assert conform(TABLE, table).schema == arrow_schema(TABLE)
    naive = pa.array([NOON.replace(tzinfo=None)], pa.timestamp("ms"))
    assert conform(TABLE, rows({}).set_column(5, "received_at", naive)).column("received_at")[0].as_py() == NOON


def test_a_repeated_key_is_found_wherever_it_stands() -> None:
    assert repeated_keys(TABLE, rows({"thing_id": 1}, {"thing_id": 2})) is None
    found = repeated_keys(TABLE, rows({"thing_id": 1}, {"thing_id": 2}, {"thing_id": 2}))
    assert str(found) == "thing_id must be unique (1 row)"
