from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_defs.recommendations import NO_REASON, RECOMMENDATIONS, SOURCES
from pipelines.arrow_schemas import arrow_schema
from pipelines.errors import DataError
from pipelines.lists.codec import pack, unpack
from pipelines.lists.packing import pack_many

GENERATED_AT = datetime(2026, 2, 1, 3, tzinfo=UTC)


def a_row(rng, user_id, count, history_count, width):
    return {
        "run_id": "20260131-0123456789ab",
        "shard": "0/1",
        "user_id": user_id,
        "item_ids": rng.integers(1, 2**32, count).tolist(),
        "scores": rng.normal(size=count).astype(np.float16).astype(float).tolist(),
        "sources": rng.integers(0, 3, count).tolist(),
        "reasons": rng.choice([NO_REASON, *range(history_count)], count).tolist(),
        "history": rng.integers(1, 2**32, history_count).tolist(),
        "vector": rng.normal(size=width).astype(np.float16).astype(float).tolist(),
    }


def as_table(rows):
    return pa.Table.from_pylist(rows, arrow_schema(RECOMMENDATIONS))


def one_by_one(rows):
    names = ("item_ids", "scores", "sources", "reasons", "history", "vector")
    return [(row["user_id"], pack(generated_at=GENERATED_AT, **{name: row[name] for name in names})) for row in rows]


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4), st.sampled_from([0, 8, 64])), max_size=12),
    st.integers(0, 3),
    st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_many_lists_are_packed_as_each_would_be_alone(shapes, skipped, seed):
    rng = np.random.default_rng(seed)
    rows = [a_row(rng, 1000 + place, *shape) for place, shape in enumerate(shapes)]
    # A slice shares its buffers with the rows before it.
    assert list(pack_many(as_table(rows).slice(skipped), generated_at=GENERATED_AT)) == one_by_one(rows[skipped:])


def test_more_rows_than_are_packed_at_once_keep_their_order(monkeypatch):
    monkeypatch.setattr("pipelines.lists.packing._ROWS_AT_ONCE", 7)
    rng = np.random.default_rng(5)
    rows = [a_row(rng, user_id, 5, user_id % 3, 8) for user_id in rng.permutation(50).tolist()]
    table = pa.concat_tables([as_table(rows[:20]), as_table(rows[20:])])
    packed = list(pack_many(table, generated_at=GENERATED_AT))
    assert packed == one_by_one(rows)
    assert all(unpack(data).generated_at == GENERATED_AT for _, data in packed)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("user_id", None),
        ("item_ids", None),
        ("item_ids", [1, 2, None]),
        ("item_ids", [1, 2]),
        ("item_ids", [1, 2, 0]),
        ("scores", [1.0, 2.0, float("nan")]),
        ("sources", [0, 0, len(SOURCES)]),
        ("reasons", [0, 0, 2]),
        ("history", [2**32]),
        ("vector", [70000.0]),
    ],
)
def test_a_row_that_does_not_fit_is_refused_by_its_column(column, value):
    rng = np.random.default_rng(1)
    rows = [a_row(rng, 1, 3, 2, 4), a_row(rng, 2, 3, 2, 4) | {column: value}]
    with pytest.raises(DataError, match=column):
        list(pack_many(as_table(rows), generated_at=GENERATED_AT))
