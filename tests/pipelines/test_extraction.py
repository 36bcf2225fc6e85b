"""Rows of the warehouse on their way to the lake."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipelines.extraction import once_each


@given(st.lists(st.integers(0, 5), max_size=30), st.lists(st.integers(1, 6), min_size=1, max_size=30))
def test_of_rows_with_one_key_the_first_is_taken_wherever_batches_are_cut(keys: list[int], sizes: list[int]) -> None:
    keys = sorted(keys)
    table = pa.table({"event_id": pa.array([f"e{key}" for key in keys], pa.string()), "order": range(len(keys))})
    batches, start = [], 0
    for size in sizes * 30:
        batches += table.slice(start, size).combine_chunks().to_batches()
        start += size
    taken = [row for batch in once_each(batches, ("event_id",)) for row in batch.to_pylist()]
    first = {f"e{key}": position for position, key in reversed(list(enumerate(keys)))}
    assert {row["event_id"]: row["order"] for row in taken} == first
    assert len(taken) == len(first)


def test_rows_without_a_key_are_not_taken_for_one_another() -> None:
    batch = pa.record_batch({"event_id": pa.array([None, None], pa.string())})
    assert sum(part.num_rows for part in once_each([batch, batch], ("event_id",))) == 4


def test_a_missing_key_column_is_left_to_be_named_by_the_checks() -> None:
    batch = pa.record_batch({"other": [1, 1]})
    assert list(once_each([batch], ("event_id",))) == [batch]
