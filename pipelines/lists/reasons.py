"""Which title of a user's recent history explains a candidate: compiled, one user at a time.

For what came from vectors it is the nearest title there, for a neighbour the one it is a neighbour of, for an episode
the closest before it. Of equals the newest explains.

Shapes: B users, C candidates, H newest titles, I titles, W width of a vector.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from pipelines.models.item_item import Neighbours
from pipelines.models.recent import Recent

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


def nearest(
    items: Floats, candidates: Integers, is_asked: NDArray[np.bool_], recent: Recent, reasons: Integers
) -> None:
    """Write the recent title with the largest inner product, if it is above 0: titles that point apart explain nothing.

    Args:
        items: float32 [I, W], zero rows where a title has no vector.
        candidates: int64 [B, C].
        is_asked: bool [B, C], which of them are to be explained so.
        recent: of the users.
        reasons: int64 [B, C], written where asked: how far back the title is, -1 where none explains it.
    """
    _write_nearest(np.ascontiguousarray(items), candidates, is_asked, recent.positions, reasons)


def nearest_neighbours(
    neighbours: Neighbours, candidates: Integers, is_asked: NDArray[np.bool_], recent: Recent, reasons: Integers
) -> None:
    """Write the recent title that a candidate is a neighbour of, by the largest weight and share watched; as above."""
    _write_neighbours(
        neighbours.positions, neighbours.weights, candidates, is_asked, recent.positions, recent.shares, reasons
    )


def previous(
    previous_episodes: Integers, candidates: Integers, is_asked: NDArray[np.bool_], recent: Recent, reasons: Integers
) -> None:
    """Write the closest episode before that is among the recent titles; as above.

    Args:
        previous_episodes: int64 [I], which episode comes before each title, -1 for none.
        candidates: int64 [B, C].
        is_asked: bool [B, C].
        recent: of the users.
        reasons: int64 [B, C].
    """
    _write_previous(previous_episodes, candidates, is_asked, recent.positions, reasons)


@numba.njit(cache=True, nogil=True)
def _write_nearest(items, candidates, is_asked, recent, reasons):  # type: ignore[no-untyped-def]
    length, width = recent.shape[1], items.shape[1]
    # The newest titles beside each other, so that a candidate is multiplied with many of them at once.
    past = np.zeros((width, length), np.float32)
    products = np.empty(length, np.float32)
    for user in range(len(candidates)):
        is_ready = False
        for place in range(candidates.shape[1]):
            if not is_asked[user, place]:
                continue
            if not is_ready:
                is_ready = True
                for back in range(length):
                    title = recent[user, back]
                    for k in range(width):
                        past[k, back] = items[title, k] if title >= 0 else np.float32(0)
            products[:] = 0
            vector = items[candidates[user, place]]
            for k in range(width):
                value, row = vector[k], past[k]
                for back in range(length):
                    products[back] += value * row[back]
            best, reason = np.float32(0), -1
            for back in range(length):
                if products[back] > best:
                    best, reason = products[back], back
            reasons[user, place] = reason


@numba.njit(cache=True, nogil=True)
def _write_neighbours(neighbours, weights, candidates, is_asked, recent, shares, reasons):  # type: ignore[no-untyped-def]
    places = np.full(len(neighbours), -1, np.int64)
    most = np.empty(candidates.shape[1], np.float32)
    for user in range(len(candidates)):
        many = 0
        for place in range(candidates.shape[1]):
            if is_asked[user, place]:
                places[candidates[user, place]] = place
                most[place] = 0
                reasons[user, place] = -1
                many += 1
        if not many:
            continue
        for back in range(recent.shape[1]):
            title = recent[user, back]
            if title < 0:
                continue
            for near in range(neighbours.shape[1]):
                place = places[neighbours[title, near]] if neighbours[title, near] >= 0 else -1
                if place >= 0 and weights[title, near] * shares[user, back] > most[place]:
                    most[place] = weights[title, near] * shares[user, back]
                    reasons[user, place] = back
        for place in range(candidates.shape[1]):
            if is_asked[user, place]:
                places[candidates[user, place]] = -1


@numba.njit(cache=True, nogil=True)
def _write_previous(previous_episodes, candidates, is_asked, recent, reasons):  # type: ignore[no-untyped-def]
    for user in range(len(candidates)):
        for place in range(candidates.shape[1]):
            if not is_asked[user, place]:
                continue
            reasons[user, place] = -1
            title = previous_episodes[candidates[user, place]]
            while title >= 0 and reasons[user, place] < 0:
                for back in range(recent.shape[1]):
                    if recent[user, back] == title:
                        reasons[user, place] = back
                        break
                title = previous_episodes[title]
