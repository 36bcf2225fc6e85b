"""Ranked candidates in an order that is not all of one kind, cut to the length of a list.

The first places are chosen by maximal marginal relevance (Carbonell, Goldstein, "The Use of MMR, Diversity-Based
Reranking for Reordering Documents and Producing Summaries", 1998): lambda x score - (1 - lambda) x the largest
similarity to what was chosen. The rest follows in order of rank. All under one rule: no page holds more than a few
titles of one main genre, unless nothing else is left.

Shapes: U users, B users of a block, C candidates, P candidates of the pool, I titles, D width of a vector, L places.
"""

import numpy as np
from numpy.typing import NDArray

from pipelines.blas_threads import one_blas_thread
from pipelines.errors import DataError
from pipelines.lists.diversity_configuration import DiversityConfiguration

# Cells of user x pool x pool held at once: 8 MiB of float32.
_CELLS = 2 * 1024 * 1024

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
    pool = min(configuration.pool, scores.shape[1])
    step = max(1, _CELLS // max(pool * pool, 1))
    order = np.full((len(scores), configuration.length), -1, np.int64)
    with one_blas_thread():
        for start in range(0, len(scores), step):
            part = slice(start, start + step)
            order[part] = _of_block(scores[part], positions[part], main_genres, vectors, pool, configuration)
    return order


def _of_block(
    scores: Floats,
    positions: Integers,
    main_genres: Integers,
    vectors: Floats,
    pool: int,
    configuration: DiversityConfiguration,
) -> Integers:
    users, count = positions.shape
    order = np.full((users, configuration.length), -1, np.int64)
    if not count or not len(main_genres):
        return order
    left = (positions >= 0) & (scores > -np.inf)
    # Genres from 1, so that those without stand together at 0, where nothing is counted.
    genres = np.where(left, main_genres[np.maximum(positions, 0)], -1) + 1
    kinds = int(main_genres.max(initial=-1)) + 2
    places = min(configuration.mmr_places, configuration.length, count)
    used = _by_relevance(scores, positions, genres, kinds, vectors, pool, places, left, order, configuration)
    _by_rank(genres, kinds, left, used, order, places, configuration)
    return order


def _by_relevance(
    scores: Floats,
    positions: Integers,
    genres: Integers,
    kinds: int,
    vectors: Floats,
    pool: int,
    places: int,
    left: NDArray[np.bool_],
    order: Integers,
    configuration: DiversityConfiguration,
) -> Integers:
    """Choose the first places; strikes what is chosen from `left`, and returns the genres used on the page begun."""
    rows = np.arange(len(positions))
    weight = np.float32(configuration.mmr_lambda)
    cost = np.float32(1 - configuration.mmr_lambda)
    near = np.where((positions[:, :pool] >= 0)[..., None], vectors[np.maximum(positions[:, :pool], 0)], 0)
    similarities = np.matmul(near, near.transpose(0, 2, 1))
    relevance = weight * _normalised(scores[:, :pool], left[:, :pool])
    nearest = np.zeros(relevance.shape, np.float32)
    # Struck titles fall to -inf, and stay there.
    relevance[~left[:, :pool]] = -np.inf
    pool_genres = rows[:, None] * kinds + genres[:, :pool]
    used = np.zeros((len(positions), kinds), np.int64)
    full = np.zeros((len(positions), kinds), np.bool_)
    for place in range(places):
        if place % configuration.page == 0:
            used[:] = 0
            full[:] = False
        values = relevance - cost * nearest
        allowed = np.where(full.reshape(-1)[pool_genres], np.float32(-np.inf), values)
        chosen = allowed.argmax(1)
        stuck = np.flatnonzero(allowed[rows, chosen] == -np.inf)
        if len(stuck):
            chosen[stuck] = _unstuck(values[stuck], genres[stuck], full[stuck], left[stuck])
        is_there = chosen >= 0
        order[:, place] = chosen
        at = rows[is_there], chosen[is_there]
        left[at] = False
        genre = genres[at]
        used[at[0], genre] += genre > 0
        full[at[0], genre] = used[at[0], genre] >= configuration.genre_limit
        full[:, 0] = False
        is_in_pool = is_there & (chosen < pool)
        relevance[rows[is_in_pool], chosen[is_in_pool]] = -np.inf
        likeness = similarities[rows, np.where(is_in_pool, chosen, 0)]
        beyond = np.flatnonzero(is_there & (chosen >= pool))
        if len(beyond):
            likeness[beyond] = np.einsum("bpd,bd->bp", near[beyond], vectors[positions[beyond, chosen[beyond]]])
        nearest = likeness if place == 0 else np.maximum(nearest, likeness)
    if places % configuration.page == 0:
        used[:] = 0
    return used


def _unstuck(values: Floats, genres: Integers, full: NDArray[np.bool_], left: NDArray[np.bool_]) -> Integers:
    """What to choose where the pool has nothing that keeps the rule: int64 [B], -1 where nothing is left at all."""
    keeps = left & ~np.take_along_axis(full, genres, 1)
    best = np.where(keeps.any(1), keeps.argmax(1), values.argmax(1))
    is_relaxed_in_pool = ~keeps.any(1) & (values.max(1) > -np.inf)
    # The pool is used up and all beyond it break the rule: the first of them.
    best = np.where(keeps.any(1) | is_relaxed_in_pool, best, left.argmax(1))
    return np.where(left.any(1), best, -1)


def _by_rank(
    genres: Integers,
    kinds: int,
    left: NDArray[np.bool_],
    used: Integers,
    order: Integers,
    begin: int,
    configuration: DiversityConfiguration,
) -> None:
    """Fill the places from `begin` on in order of rank, a page at a time.

    Within a page what is allowed only shrinks, so a greedy choice is: of what is left, the first of each genre up to
    its limit, in order of rank, and after them the others, in order of rank.
    """
    users, count = genres.shape
    rows = np.arange(users)[:, None]
    by_genre = np.argsort(genres, axis=1, kind="stable")
    sorted_genres = np.take_along_axis(genres, by_genre, 1)
    begins_genre = np.ones(genres.shape, np.bool_)
    begins_genre[:, 1:] = sorted_genres[:, 1:] != sorted_genres[:, :-1]
    first_of_genre = np.maximum.accumulate(np.where(begins_genre, np.arange(count), 0), axis=1)
    columns = np.arange(count, dtype=np.int64)
    # Before any column, so that a sum up to the start of a genre leaves its first title out.
    sums = np.zeros((users, count + 1), np.int32)
    while begin < configuration.length and left.any():
        end = min(begin - begin % configuration.page + configuration.page, configuration.length)
        np.cumsum(np.take_along_axis(left, by_genre, 1), axis=1, out=sums[:, 1:])
        before = sums[:, :-1] - np.take_along_axis(sums, first_of_genre, 1)
        room = configuration.genre_limit - np.take_along_axis(used, sorted_genres, 1)
        keeps = np.empty(genres.shape, np.bool_)
        keeps[rows, by_genre] = (before < room) | (sorted_genres == 0)
        # What keeps the rule by rank, then what does not by rank, then what is not left.
        keys = np.where(left, np.where(keeps, columns, columns + count), columns + 2 * count)
        width = min(end - begin, count)
        taken = np.partition(keys, width - 1, axis=1)[:, :width]
        taken.sort(axis=1)
        chosen = np.where(taken < 2 * count, taken % count, -1)
        order[:, begin : begin + width] = chosen
        at_rows, at = np.nonzero(chosen >= 0)
        left[at_rows, chosen[at_rows, at]] = False
        used = np.zeros((users, kinds), np.int64)
        begin = end


def _normalised(scores: Floats, is_there: NDArray[np.bool_]) -> Floats:
    """Scores of each row from 0 to 1, 0 where all are equal; 0 where there is none."""
    low = np.where(is_there, scores, np.inf).min(1, initial=np.inf, keepdims=True)
    high = np.where(is_there, scores, -np.inf).max(1, initial=-np.inf, keepdims=True)
    spread = np.where(high > low, high - low, 1)
    return np.where(is_there, (np.where(is_there, scores, 0) - np.where(low < np.inf, low, 0)) / spread, 0).astype(
        np.float32
    )
