"""Lists hold the best new titles a user may be shown, in order, and no others."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_defs.recommendations import SOURCES
from pipelines.histories import Histories, Popularity
from pipelines.lists.ranking import most_popular, rank
from pipelines.models.als import AlsModel

ITEMS = 40


def world(seed: int, users: int) -> tuple[AlsModel, Histories, Popularity, np.ndarray]:
    generator = np.random.default_rng(seed)
    known = np.sort(generator.choice(np.arange(1, ITEMS + 1), ITEMS - 5, replace=False)).astype(np.int64)
    als = AlsModel(known, generator.standard_normal((len(known), 6)).astype(np.float32), 0.1, 3.0)
    rows = [generator.permutation(np.arange(1, ITEMS + 1))[: generator.integers(0, 30)] for _ in range(users)]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    items = np.concatenate(rows) if rows else np.zeros(0, np.int64)
    histories = Histories(np.arange(1, users + 1), offsets, items, np.ones(len(items), np.float32))
    counts = generator.integers(1, 100, ITEMS)
    popularity = Popularity(np.arange(1, ITEMS + 1), counts, counts[::-1].copy())
    eligible = np.sort(generator.choice(np.arange(1, ITEMS + 1), 30, replace=False)).astype(np.int64)
    return als, histories, popularity, eligible


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 50))
@settings(max_examples=100, deadline=None)
def test_a_list_is_what_a_plain_loop_over_the_rules_gives(seed: int, users: int, length: int) -> None:
    als, histories, popularity, eligible = world(seed, users)
    vectors = als.encode(histories)
    ranked = rank(als, vectors, histories, popularity, eligible, length)
    for user in range(users):
        seen = set(histories.item_ids[histories.offsets[user] : histories.offsets[user + 1]].tolist())
        score = dict(zip(als.item_ids.tolist(), (vectors[user] @ als.item_factors.T).tolist(), strict=True))
        by_score = sorted(
            (item for item in score if item in eligible and item not in seen), key=lambda item: -score[item]
        )
        expected = by_score[:length] if vectors[user].any() else []
        popular = [int(item) for item in popularity.most_popular() if item in eligible and item not in seen]
        expected += [item for item in popular if item not in expected][: length - len(expected)]
        found = [int(item) for item in ranked.item_ids[user] if item >= 0]
        assert found == expected
        scores = ranked.scores[user][: len(found)].astype(np.float16).astype(float)
        assert (np.diff(scores) <= 1e-6).all(), "scores fall along the list, as they are stored"
        kinds = [SOURCES[code] for code in ranked.sources[user][: len(found)]]
        assert kinds == ["als" if vectors[user].any() and item in by_score else "most_popular" for item in expected]


def test_most_popular_leaves_out_what_each_user_has_seen() -> None:
    histories = Histories(np.array([1, 2]), np.array([0, 2, 2]), np.array([3, 1]), np.ones(2, np.float32))
    ranking = most_popular(histories, np.array([3, 2, 1, 4]), np.array([1, 2, 3]), 3)
    assert ranking.tolist() == [[2, -1, -1], [3, 2, 1]]


def test_equal_scores_are_ordered_by_title_so_that_a_list_is_the_same_each_time() -> None:
    als = AlsModel(np.arange(1, 9, dtype=np.int64), np.ones((8, 2), np.float32), 0.1, 1.0)
    histories = Histories(np.array([1]), np.array([0, 1]), np.array([8]), np.ones(1, np.float32))
    popularity = Popularity(np.arange(1, 9), np.ones(8, np.int64), np.ones(8, np.int64))
    ranked = rank(als, als.encode(histories), histories, popularity, np.arange(1, 9), 4)
    assert ranked.item_ids.tolist() == [[1, 2, 3, 4]]
    assert ranked.scores[0, 0] == pytest.approx(ranked.scores[0, 3])
