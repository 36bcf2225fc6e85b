"""The largest values of each row, of equals the first: how every source of candidates takes its best.

Shapes: B rows, I columns, K taken.
"""

import numpy as np
from numpy.typing import NDArray

# Where at most one in so many cells may be taken, they are moved together first.
_SPARSE = 3


def largest(matrix: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Columns of the largest values of each row, largest first; among equals the first column, at the cut as well.

    Args:
        matrix: float32 [B, I]; -inf where a column is not to be taken.
        count: how many.

    Returns:
        int64 [B, K], K = min(count, I); -1 where a row has fewer.
    """
    rows, columns = matrix.shape
    width = min(count, columns)
    if not width or not rows:
        return np.zeros((rows, width), np.int64)
    counts = np.count_nonzero(matrix > -np.inf, axis=1)
    most = int(counts.max())
    found = np.full((rows, width), -1, np.int64)
    if not most:
        return found
    if most * _SPARSE <= columns:
        cells = np.flatnonzero(matrix > -np.inf)
        owners = np.repeat(np.arange(rows), counts)
        places = np.arange(len(cells)) - (np.cumsum(counts) - counts)[owners]
        dense = np.full((rows, most), -np.inf, np.float32)
        dense[owners, places] = matrix.reshape(-1)[cells]
        names = np.full((rows, most), -1, np.int64)
        names[owners, places] = cells - owners * columns
        best = _largest(dense, min(width, most))
        found[:, : best.shape[1]] = np.where(best >= 0, np.take_along_axis(names, np.maximum(best, 0), 1), -1)
        return found
    return _largest(matrix, width)


def _largest(matrix: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    rows, columns = matrix.shape
    if count == columns:
        taken = np.broadcast_to(np.arange(columns), matrix.shape)
    else:
        cut = np.partition(matrix, columns - count, axis=1)[:, columns - count, None]
        keep = matrix >= cut
        # Rows in which more are equal to the cut than there is room for: the first of them.
        crowded = np.flatnonzero(np.count_nonzero(keep, axis=1) > count)
        if len(crowded):
            values, cuts = matrix[crowded], cut[crowded]
            above = values > cuts
            room = count - np.count_nonzero(above, axis=1)[:, None]
            equal = values == cuts
            keep[crowded] = above | (equal & (np.cumsum(equal, axis=1, dtype=np.int32) <= room))
        taken = (np.flatnonzero(keep) % columns).reshape(rows, count)
    values = np.take_along_axis(matrix, taken, 1)
    order = np.argsort(-values, axis=1, kind="stable")
    best = np.take_along_axis(taken, order, 1)
    return np.where(np.take_along_axis(values, order, 1) > -np.inf, best, -1).astype(np.int64)
