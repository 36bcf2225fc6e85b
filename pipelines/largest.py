"""The largest values of each row, of equals the first: how every source of candidates takes its best.

Values are counted in bins of equal width between the smallest and the largest of their row; only those of the bins
above the cut, and of the one it lies in, are put in order. That is linear in the columns, where scores are spread.

Shapes: B rows, I columns, K taken.
"""

import numba
import numpy as np
from numpy.typing import NDArray

BINS = 2048
# As many as an insertion sort does faster than a merge.
_FEW = 48


def largest(matrix: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Columns of the largest values of each row, largest first; among equals the first column, at the cut as well.

    Args:
        matrix: float32 [B, I]; -inf where a column is not to be taken.
        count: how many.

    Returns:
        int64 [B, K], K = min(count, I); -1 where a row has fewer.
    """
    found = np.empty((matrix.shape[0], min(count, matrix.shape[1])), np.int64)
    if found.size:
        _write_rows(np.require(matrix, np.float32, ["C", "W"]), found)
    return found


@numba.njit(cache=True, nogil=True)
def _write_rows(matrix, found):  # type: ignore[no-untyped-def]
    bins = np.empty(matrix.shape[1], np.int16)
    counts = np.empty(BINS + 1, np.int32)
    taken = np.empty(matrix.shape[1], np.int32)
    for row in range(len(matrix)):
        write_largest(matrix[row], found[row], bins, counts, taken)


# No value is NaN, and the smallest and the largest are the same in whichever order they are looked for.
@numba.njit(cache=True, nogil=True, fastmath={"nnan", "nsz", "reassoc"})
def _bounds(values):  # type: ignore[no-untyped-def]
    low, high = np.float32(np.inf), np.float32(-np.inf)
    for value in values:
        high = max(high, value)
        low = min(low, value if value > -np.inf else np.float32(np.inf))
    return low, high


@numba.njit(cache=True, nogil=True)
def write_largest(values, found, bins, counts, taken):  # type: ignore[no-untyped-def]
    """Write the columns of the largest values of one row into `found` [K], and -1 behind them.

    `values`: float32 [I]. `bins` int16 [I], `counts` int32 [2049] and `taken` int32 [I] are room to work in.
    """
    found[:] = -1
    low, high = _bounds(values)
    if not high >= low:
        return
    scale = np.float32(BINS - 1) / (high - low) if high > low else np.float32(0)
    if not scale < np.inf:
        scale = np.float32(0)
    # Bin 0 holds what is not to be taken.
    for column in range(len(values)):
        bins[column] = np.int16((values[column] - low) * scale) + 1 if values[column] > -np.inf else 0
    counts[:] = 0
    for column in range(len(values)):
        counts[bins[column]] += 1
    # From here on `counts` says where the next title of each bin goes.
    total, fullest, cut = 0, 0, BINS + 1
    while cut > 1 and total < len(found):
        cut -= 1
        count = counts[cut]
        counts[cut] = total
        total += count
        fullest = max(fullest, count)
    for column in range(len(values)):
        into = bins[column]
        if into >= cut:
            taken[counts[into]] = column
            counts[into] += 1
    if fullest <= _FEW:
        # Nothing moves out of its bin.
        _sort_few(values, taken, 0, total)
    else:
        start = 0
        for into in range(BINS, cut - 1, -1):
            end = counts[into]
            _sort_many(values, taken, start, end)
            start = end
    for at in range(min(total, len(found))):
        found[at] = taken[at]


@numba.njit(cache=True, nogil=True)
def _sort_few(values, taken, start, end):  # type: ignore[no-untyped-def]
    for at in range(start + 1, end):
        column = taken[at]
        value = values[column]
        before = at
        while before > start and values[taken[before - 1]] < value:
            taken[before] = taken[before - 1]
            before -= 1
        taken[before] = column


@numba.njit(cache=True, nogil=True)
def _sort_many(values, taken, start, end):  # type: ignore[no-untyped-def]
    """The same by merging what was sorted so; equal ones keep their order."""
    for begin in range(start, end, _FEW):
        _sort_few(values, taken, begin, min(begin + _FEW, end))
    first = np.empty(end - start, np.int32)
    run = _FEW
    while run < end - start:
        for begin in range(start, end - run, 2 * run):
            stop = min(begin + 2 * run, end)
            for at in range(run):
                first[at] = taken[begin + at]
            left, right, at = 0, begin + run, begin
            while left < run:
                if right < stop and values[taken[right]] > values[first[left]]:
                    taken[at] = taken[right]
                    right += 1
                else:
                    taken[at] = first[left]
                    left += 1
                at += 1
        run *= 2
