"""Proposals of several sources fused into one list of candidates a user: compiled, one user at a time.

Sources are fused by weighted reciprocal ranks: Cormack, Clarke, Buettcher, "Reciprocal Rank Fusion outperforms
Condorcet and individual Rank Learning Methods" (2009). So their scores need no common scale.

Shapes: B users, I titles, S sources, T places of all sources together, C candidates of a user.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from pipelines.largest import BINS, write_largest

Integers = NDArray[np.int64]


class Proposals(NamedTuple):
    """What S sources propose, side by side.

    `positions`: int64 [B, T], best first, -1 where a source has no more. `starts`: int64 [S + 1], where the places of
    each source begin. `quotas`: int64 [S], how many of them count. `weights`: float64 [S], what a first place is worth.
    `codes`: int64 [S], of the sources. `filler`: the source whose further places fill what is free, or -1.
    """

    positions: Integers
    starts: Integers
    quotas: Integers
    weights: NDArray[np.float64]
    codes: Integers
    filler: int


class Fused(NamedTuple):
    """Candidates best first: `positions` int64 [B, C], -1 where there is none; their `scores` float32 [B, C], and
    `sources` int64 [B, C], which of them is the largest part of each score.
    """

    positions: Integers
    scores: NDArray[np.float32]
    sources: Integers


def fuse(
    proposals: Proposals,
    blocked: NDArray[np.bool_],
    by_plays: Integers,
    count: int,
    rank_constant: int,
    floor: float,
    popular_code: int,
) -> Fused:
    """The candidates of each user by the sum of weighted reciprocal ranks, of equals the first title.

    Where there are too few, the further places of the filler follow, and then the most popular titles.

    Args:
        proposals: of the sources.
        blocked: bool [B, I], titles that may not be proposed.
        by_plays: int64 [R], positions, most popular first.
        count: candidates, C.
        rank_constant: added to every rank.
        floor: below every score of what was proposed: what is filled in is scored from here down.
        popular_code: the source of what nobody proposed.
    """
    shape = (len(proposals.positions), min(count, blocked.shape[1]))
    fused = Fused(np.full(shape, -1, np.int64), np.zeros(shape, np.float32), np.zeros(shape, np.int64))
    if fused.positions.size:
        _fuse(fused, proposals, blocked, by_plays, count, rank_constant, floor, popular_code)
    return fused


@numba.njit(cache=True, nogil=True)
def _fuse(found, proposals, blocked, by_plays, count, rank_constant, floor, popular_code):  # type: ignore[no-untyped-def]  # noqa: PLR0912
    users, titles = blocked.shape
    scores = np.zeros(titles, np.float32)
    largest = np.zeros(titles, np.float32)
    sources = np.full(titles, popular_code, np.int64)
    columns = np.empty(titles, np.int64)
    values = np.empty(titles, np.float32)
    order = np.empty(found.positions.shape[1], np.int64)
    bins, counts = np.empty(titles, np.int16), np.empty(BINS + 1, np.int32)
    taken = np.empty(titles, np.int32)
    for user in range(users):
        proposed = proposals.positions[user]
        met = 0
        for source in range(len(proposals.codes)):
            start = proposals.starts[source]
            for rank in range(min(proposals.quotas[source], proposals.starts[source + 1] - start)):
                title = proposed[start + rank]
                worth = np.float32(proposals.weights[source] / (rank_constant + 1 + rank))
                if title < 0 or not worth > 0:
                    continue
                met += scores[title] == 0
                scores[title] += worth
                if worth > largest[title]:
                    largest[title] = worth
                    sources[title] = proposals.codes[source]
        if met < count and proposals.filler >= 0:
            start, end = proposals.starts[proposals.filler], proposals.starts[proposals.filler + 1]
            for rank in range(end - start):
                title = proposed[start + rank]
                if title >= 0 and scores[title] == 0:
                    scores[title] = floor * (1 - rank / (2 * (end - start)))
                    sources[title] = proposals.codes[proposals.filler]
                    met += 1
        rank = 0
        for title in by_plays:
            if met >= count:
                break
            if scores[title] == 0 and not blocked[user, title]:
                scores[title] = floor * (1 - rank / count) / 2
                rank += 1
                met += 1
        # In order of position, so that among equals the first stays the first.
        many = 0
        for title in range(titles):
            if scores[title] > 0:
                columns[many] = title
                values[many] = scores[title]
                many += 1
        write_largest(values[:many], order, bins, counts, taken)
        for place in range(len(order)):
            if order[place] >= 0:
                title = columns[order[place]]
                found.positions[user, place] = title
                found.scores[user, place] = scores[title]
                found.sources[user, place] = sources[title]
        for at in range(many):
            title = columns[at]
            scores[title] = 0
            largest[title] = 0
            sources[title] = popular_code
