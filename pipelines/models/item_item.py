"""Titles near a title: by who watched both, and by what their texts say.

Sarwar et al., "Item-Based Collaborative Filtering Recommendation Algorithms" (2001); Deshpande, Karypis, "Item-Based
Top-N Recommendation Algorithms" (2004). Few common users make a chance resemblance: the cosine is shrunk for them, as
in Bell, Koren, "Scalable Collaborative Filtering with Jointly Derived Neighborhood Interpolation Weights" (2007).

Shapes: U users, I titles, K neighbours of each, D width of a text vector.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pipelines.blas_threads import one_blas_thread
from pipelines.catalogue import Catalogue
from pipelines.errors import DataError
from pipelines.histories import Histories
from pipelines.largest import largest

NEIGHBOURS = 50
SHRINKAGE = 10.0
# Pairs grow with the square of a history: this many of its newest titles speak for a user.
_LONGEST_HISTORY = 200
# A title begun and left still says something.
_LEAST_SHARE = 0.1
# Cells of title x title held at once: 16 MiB of float32.
_CELLS = 4 * 1024 * 1024


@dataclass(frozen=True)
class Neighbours:
    """The nearest titles of each title, nearest first.

    `positions`: int32 [I, K], -1 where there are no more. `weights`: float32 [I, K], 0 there.
    """

    positions: NDArray[np.int32]
    weights: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.positions.shape != self.weights.shape or self.positions.ndim != 2:
            raise DataError(f"neighbours have positions {self.positions.shape} and weights {self.weights.shape}")
        if not np.isfinite(self.weights).all():
            raise DataError("the weights of neighbours are not all finite")
        # What was read from a file may not be written to, and compiled code would be compiled once more for it.
        object.__setattr__(self, "positions", np.require(self.positions, np.int32, ["C", "W"]))
        object.__setattr__(self, "weights", np.require(self.weights, np.float32, ["C", "W"]))


def item_item_neighbours(
    histories: Histories, catalogue: Catalogue, k: int = NEIGHBOURS, shrinkage: float = SHRINKAGE
) -> Neighbours:
    """The titles that the same users watched, of those that may be shown.

    The weight is x_i . x_j / (|x_i| |x_j| + shrinkage), x_i being what each user watched of title i.

    Args:
        histories: of users, U; the newest 200 titles of each count.
        catalogue: of I titles; all of them have neighbours, only those that may be shown are neighbours.
        k: neighbours of a title, K.
        shrinkage: how much support a resemblance needs: at |x_i| |x_j| of this size it counts half.
    """
    newest = histories.newest(_LONGEST_HISTORY)
    positions = catalogue.positions(newest.item_ids)
    known = positions >= 0
    shares = np.clip(np.nan_to_num(newest.shares[known]), _LEAST_SHARE, 1).astype(np.float32)
    shape = (len(newest.user_ids), len(catalogue))
    watched = sparse.csr_array((shares, (newest.owners()[known], positions[known])), shape=shape)
    norms = np.sqrt(np.asarray(watched.multiply(watched).sum(0), np.float32).reshape(-1))
    by_title = watched.T.tocsr()
    found = _no_neighbours(len(catalogue), k)
    for part in _parts(len(catalogue)):
        block = (by_title[part] @ watched).toarray()
        block /= norms[part, None] * norms[None] + np.float32(max(shrinkage, 1e-6))
        _write_nearest(found, part, block, catalogue.may_be_shown, k)
    return found


def content_neighbours(
    text_items: NDArray[np.float32], k: int = NEIGHBOURS, may_be_shown: NDArray[np.bool_] | None = None
) -> Neighbours:
    """The titles whose texts say alike: cosine of text vectors.

    Args:
        text_items: float32 [I, D], unit rows, zero where a title has no text: it has no neighbours and is none.
        k: neighbours of a title, K.
        may_be_shown: bool [I], which titles may be neighbours; None: all.

    Raises:
        DataError: for vectors that are not all finite.
    """
    if not np.isfinite(text_items).all():
        raise DataError("the text vectors are not all finite")
    shown = np.ones(len(text_items), np.bool_) if may_be_shown is None else may_be_shown
    found = _no_neighbours(len(text_items), k)
    with one_blas_thread():
        for part in _parts(len(text_items)):
            _write_nearest(found, part, text_items[part] @ text_items.T, shown, k)
    return found


def _no_neighbours(count: int, k: int) -> Neighbours:
    return Neighbours(np.full((count, k), -1, np.int32), np.zeros((count, k), np.float32))


def _parts(count: int) -> list[slice]:
    step = max(1, _CELLS // max(count, 1))
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def _write_nearest(
    found: Neighbours, part: slice, weights: NDArray[np.float32], may_be_shown: NDArray[np.bool_], k: int
) -> None:
    """Write the nearest of the titles of a part, from their weights [part, I]; what weighs nothing is not near."""
    rows = np.arange(part.stop - part.start)
    weights[rows, rows + part.start] = -np.inf
    weights[(weights <= 0) | ~may_be_shown[None]] = -np.inf
    best = largest(weights, k)
    width = best.shape[1]
    found.positions[part, :width] = best
    found.weights[part, :width] = np.where(best >= 0, np.take_along_axis(weights, np.maximum(best, 0), 1), 0)
