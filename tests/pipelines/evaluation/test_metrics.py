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
    has_genre = np.array([[True, False], [True, True], [False, False]])
    assert metrics.intra_list_diversity(ranking - 1, has_genre) == pytest.approx(0.5)


@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(2, 6))
def test_diversity_is_what_a_plain_loop_over_pairs_gives(seed: int, users: int, places: int) -> None:
    generator = np.random.default_rng(seed)
    has_genre = generator.random((9, 3)) < 0.4
    lists = generator.integers(-1, 9, (users, places))
    means = []
    for row in lists:
        sets = [frozenset(np.flatnonzero(has_genre[item]).tolist()) for item in row if item >= 0]
        pairs = [(one, other) for number, one in enumerate(sets) for other in sets[:number] if one | other]
        if pairs:
            means.append(np.mean([1 - len(one & other) / len(one | other) for one, other in pairs]))
    assert metrics.intra_list_diversity(lists, has_genre) == pytest.approx(np.mean(means) if means else 0, abs=1e-6)


def test_main_genres_of_the_first_places_are_counted_once_and_unknown_ones_not_at_all() -> None:
    genres = np.array([0, 0, 1, -1])
    assert metrics.genres_at(np.array([[0, 1, 2, 3], [3, -1, -1, -1], [2, 1, 0, 0]]), genres, 3).tolist() == [2, 0, 2]


def test_no_lists_at_all_are_measured_as_nothing() -> None:
    none = np.zeros((0, 20), np.int64)
    assert metrics.coverage(none, 10) == metrics.head_share(none, np.array([1])) == 0
    assert (
        metrics.novelty(none, np.array([1]), np.array([1]), 1)
        == metrics.intra_list_diversity(none, np.zeros((1, 1), np.bool_))
        == 0
    )
