"""Which titles a user gets, in which order and for which reason: from vectors to ranked lists, users by the batch.

Shapes: U users, I items, R places.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_defs.recommendations import HISTORY_LENGTH, LIST_LENGTH, NO_REASON, SOURCES
from pipelines.histories import Histories, Popularity
from pipelines.largest import largest
from pipelines.models.als import AlsModel

# Scores of users x items held at once: 256 MiB of float32.
_CELLS = 64 * 1024 * 1024
_ALS, _MOST_POPULAR = SOURCES.index("als"), SOURCES.index("most_popular")


@dataclass(frozen=True)
class ListConfiguration:
    """How lists are made."""

    # Titles in a list.
    length: int = LIST_LENGTH
    # Newest titles of the history that a list carries, for its reasons to point to.
    history_length: int = HISTORY_LENGTH


@dataclass(frozen=True)
class Ranked:
    """Ranked lists: `item_ids` int64 [U, R], -1 where a list is shorter; `scores` float32 and `sources` int64 alike."""

    item_ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    sources: NDArray[np.int64]


def rank(
    als: AlsModel,
    vectors: NDArray[np.float32],
    histories: Histories,
    popularity: Popularity,
    eligible: NDArray[np.int64],
    length: int,
) -> Ranked:
    """The best titles of each user that are new to them; what ALS does not know follows by popularity.

    Args:
        als: whose items are scored.
        vectors: of the users, float32 [U, K]; a user without a vector (zeros) gets the most popular titles.
        histories: of the same users; nothing in them is recommended.
        popularity: of all titles.
        eligible: titles that may be shown, int64 ascending.
        length: places of a list, R.
    """
    count = len(vectors)
    item_ids = np.full((count, length), -1, np.int64)
    scores = np.zeros((count, length), np.float32)
    sources = np.full((count, length), _MOST_POPULAR, np.int64)
    may_show = np.isin(als.item_ids, eligible)
    is_known = np.asarray(vectors.any(1))
    width = min(length, len(als.item_ids))
    step = max(1, _CELLS // max(len(als.item_ids), 1))
    for start in range(0, count, step):
        part = slice(start, min(start + step, count))
        matrix = vectors[part] @ als.item_factors.T
        matrix[:, ~may_show] = -np.inf
        seen = histories.of(histories.user_ids[part])
        positions = als.positions(seen.item_ids)
        matrix[seen.owners()[positions >= 0], positions[positions >= 0]] = -np.inf
        matrix[~is_known[part]] = -np.inf
        best = largest(matrix, width)
        found, best = best >= 0, np.maximum(best, 0)
        top = np.take_along_axis(matrix, best, 1)
        item_ids[part, :width] = np.where(found, als.item_ids[best] if width else -1, -1)
        scores[part, :width] = np.where(found, top, 0)
        sources[part, :width] = np.where(found, _ALS, _MOST_POPULAR)
    _fill(item_ids, scores, histories, popularity, eligible)
    return Ranked(item_ids, scores, sources)


def most_popular(
    histories: Histories, ordered: NDArray[np.int64], eligible: NDArray[np.int64], length: int
) -> NDArray[np.int64]:
    """The first titles of an order that are new to each user: int64 [U, length], -1 where there are no more."""
    ordered = ordered[np.isin(ordered, eligible)]
    ranking = np.full((len(histories.user_ids), length), -1, np.int64)
    for user in range(len(ranking)):
        seen = histories.item_ids[histories.offsets[user] : histories.offsets[user + 1]]
        # Nobody has seen more titles than their history holds.
        head = ordered[: length + len(seen)]
        new = head[~np.isin(head, seen)][:length]
        ranking[user, : len(new)] = new
    return ranking


def _fill(
    item_ids: NDArray[np.int64],
    scores: NDArray[np.float32],
    histories: Histories,
    popularity: Popularity,
    eligible: NDArray[np.int64],
) -> None:
    """Fill the free places of lists that are too short with the most popular titles not in them, scored below."""
    short = np.flatnonzero((item_ids < 0).any(1))
    if not len(short):
        return
    length = item_ids.shape[1]
    counts = (item_ids[short] >= 0).sum(1)
    popular = most_popular(histories.of(histories.user_ids[short]), popularity.most_popular(), eligible, length * 2)
    for row, (user, count) in enumerate(zip(short, counts, strict=True)):
        more = popular[row][popular[row] >= 0]
        more = more[~np.isin(more, item_ids[user, :count])][: length - count]
        item_ids[user, count : count + len(more)] = more
        # Below every score before them, in order, and within what a 16-bit float tells apart.
        floor = min(float(scores[user, count - 1]), 0.0) if count else 0.0
        scores[user, count : count + len(more)] = floor - np.arange(1, len(more) + 1) / 128


def recommendation_rows(
    run_id: str,
    shard: str,
    histories: Histories,
    vectors: NDArray[np.float32],
    ranked: Ranked,
    reasons: NDArray[np.int64],
    history_length: int,
) -> pa.Table:
    """Rows of RECOMMENDATIONS: one a user.

    Args:
        run_id: the run that makes them.
        shard: the part of the users, as i/n.
        histories: of the users, U.
        vectors: float32 [U, K].
        ranked: their lists.
        reasons: int64 [U, R], how far back in the history the reason is, -1 for none.
        history_length: how much of the history a list carries.
    """
    newest = histories.newest(history_length)
    users = len(histories.user_ids)
    is_there = ranked.item_ids >= 0
    offsets = np.concatenate([[0], np.cumsum(is_there.sum(1))])
    # Newest first: turn each user's part around.
    turned = np.arange(len(newest.item_ids))
    turned = newest.offsets[:-1][newest.owners()] + newest.positions_from_newest() if len(turned) else turned
    newest_first = np.empty_like(newest.item_ids)
    newest_first[turned] = newest.item_ids
    codes = np.where(reasons >= 0, reasons, NO_REASON)

    def lists(values: NDArray[np.generic], ends: NDArray[np.int64], dtype: pa.DataType) -> pa.Array:
        return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(values).cast(dtype))

    width = vectors.shape[1]
    return pa.table(
        {
            "run_id": pa.array([run_id] * users, pa.string()),
            "shard": pa.array([shard] * users, pa.string()),
            "user_id": pa.array(histories.user_ids),
            "item_ids": lists(ranked.item_ids[is_there], offsets, pa.int64()),
            "scores": lists(ranked.scores[is_there], offsets, pa.float32()),
            "sources": lists(ranked.sources[is_there], offsets, pa.int16()),
            "reasons": lists(codes[is_there], offsets, pa.int16()),
            "history": lists(newest_first, newest.offsets, pa.int64()),
            "vector": lists(vectors.reshape(-1), np.arange(users + 1) * width, pa.float32()),
        }
    )


def slots(recommendations: pa.Table) -> pa.Table:
    """One row a place of a list: `user_id, slot, item_id, score, source, reason`, for checks and for people."""
    parents = pc.list_parent_indices(recommendations.column("item_ids").combine_chunks()).to_numpy()
    counts = np.bincount(parents, minlength=recommendations.num_rows)
    starts = np.concatenate([[0], np.cumsum(counts)])[:-1]
    return pa.table(
        {
            "user_id": recommendations.column("user_id").take(pa.array(parents)),
            "slot": pa.array((np.arange(len(parents)) - starts[parents]).astype(np.int32)),
            "item_id": pc.list_flatten(recommendations.column("item_ids")),
            "score": pc.list_flatten(recommendations.column("scores")),
            "source": pc.list_flatten(recommendations.column("sources")),
            "reason": pc.list_flatten(recommendations.column("reasons")),
        }
    )
