"""Where ids stand among others that are sorted."""

import numpy as np
from numpy.typing import NDArray


def positions_among(sorted_ids: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each wanted id stands in `sorted_ids` (ascending): int64 of the shape of `wanted`, -1 where it does not."""
    if not len(sorted_ids):
        return np.full(wanted.shape, -1, np.int64)
    at = np.searchsorted(sorted_ids, wanted).clip(max=len(sorted_ids) - 1)
    return np.where(sorted_ids[at] == wanted, at, -1)
