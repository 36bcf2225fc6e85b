"""Our metrics agree with trec_eval's, and with what can be counted by hand."""

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.evaluation import metrics
from pipelines.histories import Histories

WORLD = st.lists(
    st.tuples(
        st.lists(st.integers(1, 40), min_size=1, max_size=30, unique=True),
        st.sets(st.integers(1, 40), min_size=1, max_size=25),
    ),
    min_size=1,
    max_size=6,
)


def arranged(world: list[tuple[list[int], set[int]]]) -> tuple[np.ndarray, Histories]:
    width = max(len(ranking) for ranking, _ in world)
    ranking = np.array([row + [-1] * (width - len(row)) for row, _ in world], np.int64)
    wanted = [sorted(items) for _, items in world]
    offsets = np.concatenate([[0], np.cumsum([len(items) for items in wanted])]).astype(np.int64)
    items = np.array([item for row in wanted for item in row], np.int64)
    return ranking, Histories(np.arange(len(world)), offsets, items, np.ones(len(items), np.float32))


@given(WORLD)
@settings(max_examples=100, deadline=None)
def test_recall_and_ndcg_agree_with_trec_eval(world: list[tuple[list[int], set[int]]]) -> None:
    ranking, truth = arranged(world)
    counts = np.diff(truth.offsets)
    found = metrics.hits(ranking, truth)
    wanted = {str(user): {str(item): 1 for item in items} for user, (_, items) in enumerate(world)}
    runs = {
        str(user): {str(item): float(-place) for place, item in enumerate(row)} for user, (row, _) in enumerate(world)
    }
    judged = pytrec_eval.RelevanceEvaluator(wanted, {"recall_20", "ndcg_cut_20"}).evaluate(runs)
    for user in range(len(world)):
        assert metrics.recall_at(found, counts, 20)[user] == pytest.approx(judged[str(user)]["recall_20"])
        assert metrics.ndcg_at(found, counts, 20)[user] == pytest.approx(judged[str(user)]["ndcg_cut_20"])
    hit = [bool(set(row[:20]) & items) for row, items in world]
    assert metrics.hit_rate_at(found, 20).tolist() == hit


def test_the_same_title_is_a_hit_for_one_user_and_not_for_another() -> None:
    ranking, truth = arranged([([7, 8], {7}), ([7, 8], {8})])
    assert metrics.hits(ranking, truth).tolist() == [[True, False], [False, True]]


def test_whole_lists_are_measured_as_by_hand() -> None:
    ranking = np.array([[1, 2], [1, -1]])
    assert metrics.coverage(ranking, 4) == 0.5
    assert metrics.head_share(ranking, np.array([1])) == pytest.approx(2 / 3)
    # Title 1 was played by half of 8 users (1 bit), title 2 by one of them (3 bits).
    assert metrics.novelty(ranking, np.array([1, 2]), np.array([4, 1]), 8) == pytest.approx((1 + 3 + 1) / 3)
    genres = {1: frozenset({"Drama"}), 2: frozenset({"Drama", "War"})}
    assert metrics.intra_list_diversity(ranking, genres) == pytest.approx(0.5)


def test_no_lists_at_all_are_measured_as_nothing() -> None:
    none = np.zeros((0, 20), np.int64)
    assert metrics.coverage(none, 10) == metrics.head_share(none, np.array([1])) == 0
    assert metrics.novelty(none, np.array([1]), np.array([1]), 1) == metrics.intra_list_diversity(none, {}) == 0
