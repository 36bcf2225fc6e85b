"""Neighbours are the titles that the same users watched, or that say alike."""

import numpy as np
import pytest
from catalogue_columns import catalogue_columns
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.catalogue import Catalogue
from pipelines.errors import DataError
from pipelines.histories import Histories
from pipelines.models.item_item import content_neighbours, item_item_neighbours


def catalogue(count: int, hidden: tuple[int, ...] = ()) -> Catalogue:
    return catalogue_columns(count, first_id=10, may_be_shown=~np.isin(np.arange(count), hidden))


def histories(rows: list[list[int]], shares: float = 1.0) -> Histories:
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    items = np.array([10 + item for row in rows for item in row], np.int64)
    return Histories(np.arange(len(rows)), offsets, items, np.full(len(items), shares, np.float32))


def test_planted_groups_come_back_as_neighbours() -> None:
    generator = np.random.default_rng(1)
    # Users watch within one of four groups of ten titles, with a stray title each.
    rows = [
        [*(group * 10 + generator.permutation(10)[:5]).tolist(), int(generator.integers(0, 40))]
        for group in generator.integers(0, 4, 400)
    ]
    found = item_item_neighbours(histories([list(dict.fromkeys(row)) for row in rows]), catalogue(40), 9)
    groups = np.arange(40) // 10
    assert (groups[found.positions] == groups[:, None]).all()
    assert (np.diff(found.weights, axis=1) <= 0).all()


@given(st.integers(0, 10**6), st.integers(1, 20), st.integers(1, 15), st.integers(1, 20), st.sampled_from([0.0, 5.0]))
@settings(max_examples=60, deadline=None)
def test_neighbours_are_what_a_plain_loop_gives(seed: int, users: int, items: int, k: int, shrinkage: float) -> None:
    generator = np.random.default_rng(seed)
    rows = [generator.permutation(items)[: generator.integers(0, items + 1)].tolist() for _ in range(users)]
    found = item_item_neighbours(histories(rows), catalogue(items, (0,)), k, shrinkage)
    watched = np.zeros((users, items))
    for user, row in enumerate(rows):
        watched[user, row] = 1
    for item in range(items):
        weights = {}
        for other in range(1, items):
            dot = float(watched[:, item] @ watched[:, other])
            if other != item and dot > 0:
                norms = np.linalg.norm(watched[:, item]) * np.linalg.norm(watched[:, other])
                weights[other] = dot / (norms + shrinkage)
        count = min(len(weights), k)
        assert (found.positions[item] >= 0).sum() == count
        best = sorted(weights.values(), reverse=True)[:count]
        np.testing.assert_allclose(found.weights[item, :count], best, rtol=1e-4)
        chosen = [weights[int(other)] for other in found.positions[item, :count]]
        np.testing.assert_allclose(chosen, best, rtol=1e-4)


def test_few_common_users_weigh_less_than_many() -> None:
    # Titles 0 and 1 share one user, titles 2 and 3 share twenty; the cosine is 1 for both.
    found = item_item_neighbours(histories([[0, 1]] + [[2, 3]] * 20), catalogue(4), 2)
    assert found.weights[0, 0] < found.weights[2, 0] / 3


def test_only_the_newest_titles_of_a_very_long_history_count() -> None:
    found = item_item_neighbours(histories([list(range(300))]), catalogue(300), 5)
    assert (found.positions[:100] == -1).all()
    assert (found.positions[100:] >= 100).all()


def test_content_neighbours_say_alike_and_titles_without_text_have_none() -> None:
    vectors = np.array([[1, 0], [0.8, 0.6], [0, 0], [0.6, 0.8], [-1, 0]], np.float32)
    found = content_neighbours(vectors, 3)
    assert found.positions.tolist() == [[1, 3, -1], [3, 0, -1], [-1, -1, -1], [1, 0, -1], [-1, -1, -1]]
    np.testing.assert_allclose(found.weights[0], [0.8, 0.6, 0])
    shown = np.array([True, False, True, True, True])
    assert content_neighbours(vectors, 1, shown).positions[:, 0].tolist() == [3, 3, -1, 0, -1]


def test_text_vectors_that_are_not_finite_are_refused() -> None:
    with pytest.raises(DataError, match="not all finite"):
        content_neighbours(np.array([[np.nan, 1]], np.float32), 3)


def test_no_users_and_no_titles_make_no_neighbours() -> None:
    assert (item_item_neighbours(histories([]), catalogue(3), 2).positions == -1).all()
    assert item_item_neighbours(histories([[], []]), catalogue(0), 2).positions.shape == (0, 2)
