"""Which title of a user's recent history explains a candidate.

Every function over candidates takes int64 [B, C], -1 where there is none, and returns int64 [B, C]: how far back the
title is, 0 for the newest, -1 where nothing explains it. Of equals the newest explains.
Shapes: B users, C candidates, H newest titles, I titles, W width of a vector.
"""

import numpy as np
from numpy.typing import NDArray

from pipelines.models.item_item import Neighbours, neighbour_terms
from pipelines.models.recent import Recent

Integers = NDArray[np.int64]


def packed(positions: Integers, chosen: NDArray[np.bool_]) -> tuple[Integers, Integers, Integers]:
    """The chosen cells of a matrix [B, R], moved to the left: rows and columns of each, and int64 [B, C] padded by -1.

    The cells of the padded matrix that are not -1 are, row by row, in the order of rows and columns.
    """
    rows, columns = np.nonzero(chosen)
    counts = chosen.sum(1)
    left = np.full((len(positions), int(counts.max(initial=0))), -1, np.int64)
    starts = np.cumsum(counts) - counts
    left[rows, np.arange(len(rows)) - starts[rows]] = positions[rows, columns]
    return rows, columns, left


def nearest(items: NDArray[np.float32], candidates: Integers, recent: Recent) -> Integers:
    """The recent title with the largest inner product, if it is above 0: titles that point apart explain nothing.

    Args:
        items: float32 [I, W], zero rows where a title has no vector.
        candidates: int64 [B, C].
        recent: of the users.
    """
    if not recent.positions.shape[1]:
        return np.full(candidates.shape, -1, np.int64)
    past = np.where((recent.positions >= 0)[..., None], items[np.maximum(recent.positions, 0)], 0)
    products = np.matmul(items[np.maximum(candidates, 0)], past.transpose(0, 2, 1))
    best = products.argmax(2)
    is_near = np.take_along_axis(products, best[..., None], 2)[..., 0] > 0
    return np.where(is_near & (candidates >= 0), best, -1)


def nearest_neighbours(neighbours: Neighbours, candidates: Integers, recent: Recent, titles: int) -> Integers:
    """The recent title that the candidate is a neighbour of, by the largest weight and share watched."""
    explained = np.full(candidates.size, -1, np.int64)
    rows, columns = np.nonzero(candidates >= 0)
    cells = np.full(len(candidates) * titles, -1, np.int32)
    cells[rows * titles + candidates[rows, columns]] = rows * candidates.shape[1] + columns
    users, targets, worth, back = neighbour_terms(neighbours, recent)
    cell = cells[users * titles + targets]
    met = cell >= 0
    cell, worth, back = cell[met], worth[met], back[met]
    largest = np.zeros(candidates.size, np.float32)
    np.maximum.at(largest, cell, worth)
    explains = np.flatnonzero(worth == largest[cell])[::-1]
    # Terms are in order of time, newest first, and of those of a cell the last to be written stays.
    explained[cell[explains]] = back[explains]
    return explained.reshape(candidates.shape)


def previous(previous_episodes: Integers, candidates: Integers, recent: Recent) -> Integers:
    """The episode before, if it is among the recent titles.

    Args:
        previous_episodes: int64 [I], -1 for none.
        candidates: int64 [B, C].
        recent: of the users.
    """
    if not recent.positions.shape[1]:
        return np.full(candidates.shape, -1, np.int64)
    before = np.where(candidates >= 0, previous_episodes[np.maximum(candidates, 0)], -1)
    matches = (recent.positions[:, None, :] == before[..., None]) & (before >= 0)[..., None]
    return np.where(matches.any(2), matches.argmax(2), -1)
