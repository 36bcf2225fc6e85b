"""Lists are varied as a plain greedy choice would make them, and hold each candidate once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import DataError
from pipelines.lists.diversity import diversify
from pipelines.lists.diversity_configuration import DiversityConfiguration


def plain(scores: np.ndarray, positions: np.ndarray, genres: np.ndarray, vectors: np.ndarray, c) -> list[int]:
    left = [column for column in range(len(scores)) if positions[column] >= 0]
    pool = [column for column in left if column < c.pool]
    low, high = (min(scores[pool]), max(scores[pool])) if pool else (0, 0)
    spread = np.float32(high - low) if high > low else np.float32(1)
    weight, cost = np.float32(c.mmr_lambda), np.float32(1 - c.mmr_lambda)
    order: list[int] = []
    used: dict[int, int] = {}

    def value(column: int) -> float:
        near = max((vectors[positions[column]] @ vectors[positions[other]] for other in order), default=np.float32(0))
        return weight * ((scores[column] - low) / spread) - cost * near

    while left and len(order) < c.length:
        if len(order) % c.page == 0:
            used = {}
        keeps = [
            column
            for column in left
            if genres[positions[column]] < 0 or used.get(int(genres[positions[column]]), 0) < c.genre_limit
        ]
        by_value = len(order) < c.mmr_places
        pooled = [column for column in (keeps or left) if column < c.pool]
        chosen = max(pooled, key=lambda column: (value(column), -column)) if by_value and pooled else (keeps or left)[0]
        order.append(chosen)
        left.remove(chosen)
        genre = int(genres[positions[chosen]])
        used[genre] = used.get(genre, 0) + 1
    return order


def world(seed: int, users: int, count: int, kinds: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    titles = count + 5
    genres = generator.integers(-1, kinds, titles)
    # Whole steps of a quarter: the same sums in any order.
    vectors = (generator.integers(-2, 3, (titles, 4)) / 4).astype(np.float32)
    scores = np.full((users, count), -np.inf, np.float32)
    positions = np.full((users, count), -1, np.int64)
    for user in range(users):
        length = int(generator.integers(0, count + 1)) if generator.random() < 0.5 else count
        scores[user, :length] = -np.sort(-generator.integers(0, 9, length)).astype(np.float32)
        positions[user, :length] = generator.permutation(titles)[:length]
    return scores, positions, genres, vectors


@given(
    st.integers(0, 10**6),
    st.integers(1, 4),
    st.integers(0, 40),
    st.integers(0, 5),
    st.builds(
        DiversityConfiguration,
        genre_limit=st.integers(1, 3),
        page=st.integers(3, 8),
        mmr_lambda=st.sampled_from([0.0, 0.5, 0.7, 1.0]),
        mmr_places=st.integers(0, 20),
        pool=st.integers(1, 25),
        length=st.integers(1, 45),
    ),
)
@settings(max_examples=300, deadline=None)
def test_an_order_is_what_a_plain_greedy_choice_gives(
    seed: int, users: int, count: int, kinds: int, configuration: DiversityConfiguration
) -> None:
    scores, positions, genres, vectors = world(seed, users, count, kinds)
    order = diversify(scores, positions, genres, vectors, configuration)
    assert order.shape == (users, configuration.length)
    for user in range(users):
        expected = plain(scores[user], positions[user], genres, vectors, configuration)
        assert order[user].tolist() == expected + [-1] * (configuration.length - len(expected))


def test_no_page_holds_more_of_a_genre_than_the_rule_allows_while_others_are_left() -> None:
    generator = np.random.default_rng(1)
    genres = generator.integers(0, 8, 500)
    # The best hundred are all of one genre.
    genres[:100] = 3
    vectors = generator.standard_normal((500, 16)).astype(np.float32)
    scores = -np.sort(-generator.standard_normal((3, 500)).astype(np.float32), axis=1)
    positions = np.tile(np.arange(500), (3, 1))
    order = diversify(scores, positions, genres, vectors, DiversityConfiguration())
    assert order.shape == (3, 200)
    for row in order:
        assert len(set(row.tolist())) == 200
        for page in genres[row].reshape(10, 20):
            assert np.bincount(page).max() <= 5


def test_a_list_without_genres_and_vectors_stays_in_rank_order() -> None:
    scores = np.linspace(1, 0, 300, dtype=np.float32)[None]
    nothing = np.zeros((300, 8), np.float32)
    order = diversify(scores, np.arange(300)[None], np.full(300, -1), nothing, DiversityConfiguration())
    assert order.tolist() == [list(range(200))]


def test_alike_titles_are_parted() -> None:
    # Two of a kind lead; the second of them falls behind the third, which is another thing.
    scores = np.array([[1, 0.99, 0.9, 0]], np.float32)
    vectors = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32)
    order = diversify(scores, np.arange(4)[None], np.full(4, -1), vectors, DiversityConfiguration())
    assert order[0, :4].tolist() == [0, 2, 1, 3]


def test_a_short_list_keeps_every_candidate() -> None:
    scores = np.array([[3, 2, 1, -np.inf], [-np.inf] * 4], np.float32)
    positions = np.array([[4, 0, 2, -1], [-1] * 4])
    order = diversify(scores, positions, np.zeros(5, np.int64), np.eye(5, dtype=np.float32), DiversityConfiguration())
    assert sorted(order[0, :3].tolist()) == [0, 1, 2]
    assert (order[0, 3:] == -1).all()
    assert (order[1] == -1).all()


@pytest.mark.parametrize("row", [[1.0, 2.0], [np.nan, 1.0], [1.0, np.nan]])
def test_scores_that_do_not_descend_are_refused(row: list[float]) -> None:
    with pytest.raises(DataError, match="do not descend"):
        diversify(
            np.array([row], np.float32),
            np.array([[0, 1]]),
            np.zeros(2, np.int64),
            np.eye(2, dtype=np.float32),
            DiversityConfiguration(),
        )
