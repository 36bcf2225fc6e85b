"""The largest of each row, of equals the first, at the cut as well."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.largest import largest


@given(st.integers(0, 10**6), st.integers(0, 6), st.integers(0, 30), st.integers(0, 40), st.integers(1, 6))
@settings(max_examples=200, deadline=None)
def test_it_is_a_sort_by_value_and_then_by_column(seed: int, rows: int, columns: int, count: int, values: int) -> None:
    generator = np.random.default_rng(seed)
    matrix = generator.integers(0, values, (rows, columns)).astype(np.float32)
    matrix[generator.random(matrix.shape) < 0.3] = -np.inf
    found = largest(matrix, count)
    assert found.shape == (rows, min(count, columns))
    for row in range(rows):
        there = [column for column in range(columns) if matrix[row, column] > -np.inf]
        expected = sorted(there, key=lambda column: (-matrix[row, column], column))[:count]
        assert found[row].tolist() == expected + [-1] * (found.shape[1] - len(expected))


@given(st.integers(0, 10**6), st.integers(1, 900), st.integers(1, 400))
@settings(max_examples=60, deadline=None)
def test_scores_that_crowd_below_a_single_high_one_are_put_in_order_too(seed: int, columns: int, count: int) -> None:
    generator = np.random.default_rng(seed)
    matrix = generator.integers(0, 200, (2, columns)).astype(np.float32)
    matrix[:, generator.integers(0, columns)] = 1e9
    expected = np.argsort(-matrix, axis=1, kind="stable")[:, :count]
    np.testing.assert_array_equal(largest(matrix, count), expected)
