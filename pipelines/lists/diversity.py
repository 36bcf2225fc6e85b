"""Ranked candidates in an order that is not all of one kind, cut to the length of a list.

The first places are chosen by maximal marginal relevance (Carbonell, Goldstein, "The Use of MMR, Diversity-Based
Reranking for Reordering Documents and Producing Summaries", 1998): lambda x score - (1 - lambda) x the largest
similarity to what was chosen. The rest follows in order of rank. All under one rule: no page holds more than a few
titles of one main genre, unless nothing else is left. Compiled, one user at a time.

Shapes: U users, C candidates, P candidates of the pool, I titles, D width of a vector, L places.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from pipelines.errors import DataError
from pipelines.lists.diversity_configuration import DiversityConfiguration

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


def diversify(
    scores: Floats,
    positions: Integers,
    main_genres: Integers,
    vectors: Floats,
    configuration: DiversityConfiguration,
) -> Integers:
    """The order in which candidates become a list.

    Scores are brought to 0 to 1 over a user's pool, so that lambda means the same for everyone. Where every title left
    in the pool would break the rule of genres, the best beyond the pool that keeps it is taken; where there is none,
    the rule is relaxed.

    Args:
        scores: float32 [U, C], each row descending, -inf where there is no candidate.
        positions: int64 [U, C], of the candidates among the titles, -1 where there is none.
        main_genres: int64 [I], -1 where a title has none.
        vectors: float32 [I, D], unit or zero rows: resemblance is their inner product.
        configuration: how varied.

    Returns:
        int64 [U, L]: columns of `scores`, -1 where a list is shorter.

    Raises:
        DataError: for matrices of different shapes, or scores that do not descend.
    """
    if scores.shape != positions.shape or len(main_genres) != len(vectors):
        raise DataError(
            f"scores {scores.shape} do not fit positions {positions.shape}, or genres {main_genres.shape} "
            f"vectors {vectors.shape}"
        )
    # Said so that NaN fails it too.
    if not (scores[:, :-1] >= scores[:, 1:]).all() or np.isnan(scores[:, :1]).any():
        raise DataError("the scores of candidates do not descend")
    order = np.full((len(scores), configuration.length), -1, np.int64)
    if order.size and len(main_genres):
        _write(
            order,
            np.ascontiguousarray(scores, np.float32),
            np.ascontiguousarray(positions, np.int64),
            np.array(main_genres, np.int64),
            np.ascontiguousarray(vectors, np.float32),
            configuration.genre_limit,
            configuration.page,
            np.float32(configuration.mmr_lambda),
            np.float32(1 - configuration.mmr_lambda),
            configuration.mmr_places,
            configuration.pool,
        )
    return order


@numba.njit(cache=True, nogil=True)
def _write(order, scores, positions, main_genres, vectors, limit, page, weight, cost, mmr_places, pool):  # type: ignore[no-untyped-def]
    count, length = positions.shape[1], order.shape[1]
    pool, places = min(pool, count), min(mmr_places, length, count)
    is_left = np.empty(count, np.bool_)
    # Genres from 1, so that those without stand together at 0, where nothing is counted.
    genres = np.empty(count, np.int64)
    used = np.zeros(main_genres.max() + 2, np.int64)
    relevance, nearest = np.empty(pool, np.float32), np.empty(pool, np.float32)
    for user in range(len(order)):
        for column in range(count):
            is_left[column] = positions[user, column] >= 0 and scores[user, column] > -np.inf
            genres[column] = main_genres[positions[user, column]] + 1 if is_left[column] else 0
        _weigh(relevance, scores[user], is_left, weight)
        nearest[:] = 0
        used[:] = 0
        for place in range(places):
            if place % page == 0:
                used[:] = 0
            chosen = _most_relevant(relevance, nearest, cost, genres, used, limit, is_left)
            if chosen < 0:
                break
            order[user, place] = chosen
            is_left[chosen] = False
            used[genres[chosen]] += genres[chosen] > 0
            if chosen < pool:
                relevance[chosen] = -np.inf
            vector = vectors[positions[user, chosen]]
            for column in range(pool):
                if is_left[column]:
                    likeness = _dot(vector, vectors[positions[user, column]])
                    nearest[column] = likeness if place == 0 else max(nearest[column], likeness)
        _by_rank(order[user], places, genres, used, limit, page, is_left)


@numba.njit(cache=True, nogil=True)
def _weigh(relevance, scores, is_left, weight):  # type: ignore[no-untyped-def]
    """What the scores of the pool count, from 0 to 1; -inf where there is none."""
    low, high = np.float32(np.inf), np.float32(-np.inf)
    for column in range(len(relevance)):
        if is_left[column]:
            low, high = min(low, scores[column]), max(high, scores[column])
    spread = high - low if high > low else np.float32(1)
    for column in range(len(relevance)):
        relevance[column] = weight * ((scores[column] - low) / spread) if is_left[column] else -np.inf


@numba.njit(cache=True, nogil=True)
def _most_relevant(relevance, nearest, cost, genres, used, limit, is_left):  # type: ignore[no-untyped-def]
    """The next title of the list, -1 where none is left."""
    best, chosen = np.float32(-np.inf), -1
    relaxed_best, relaxed = np.float32(-np.inf), -1
    for column in range(len(relevance)):
        value = relevance[column] - cost * nearest[column]
        if value > relaxed_best:
            relaxed_best, relaxed = value, column
        if value > best and (genres[column] == 0 or used[genres[column]] < limit):
            best, chosen = value, column
    if chosen >= 0:
        return chosen
    first = -1
    for column in range(len(is_left)):
        if is_left[column]:
            if genres[column] == 0 or used[genres[column]] < limit:
                return column
            first = column if first < 0 else first
    # Whatever is left breaks the rule.
    return relaxed if relaxed >= 0 else first


# Terms may be added in any order, so that eight are at a time; it is the same order every time.
@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _dot(left, right):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for k in range(len(left)):
        total += left[k] * right[k]
    return total


@numba.njit(cache=True, nogil=True)
def _by_rank(order, begin, genres, used, limit, page, is_left):  # type: ignore[no-untyped-def]
    """Fill the places from `begin` on in order of rank, a page at a time: first what keeps the rule, then the rest."""
    while begin < len(order):
        if begin % page == 0:
            used[:] = 0
        end = min(begin - begin % page + page, len(order))
        started = begin
        for keeps in (True, False):
            for column in range(len(genres)):
                if begin == end:
                    break
                genre = genres[column]
                if is_left[column] and (not keeps or genre == 0 or used[genre] < limit):
                    is_left[column] = False
                    used[genre] += genre > 0
                    order[begin] = column
                    begin += 1
        if begin == started:
            return
