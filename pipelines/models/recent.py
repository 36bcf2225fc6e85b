"""The newest titles of each user as a matrix: what sources propose from and reasons point into.

Shapes: B users, H places, newest first.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.catalogue import Catalogue
from pipelines.histories import Histories


@dataclass(frozen=True)
class Recent:
    """The newest titles of users, newest first.

    `positions`: int64 [B, H] in the catalogue, -1 where a history is shorter or its title is not in the catalogue.
    `shares`: float32 [B, H], how much of each was watched, 0 to 1.
    """

    positions: NDArray[np.int64]
    shares: NDArray[np.float32]

    @staticmethod
    def of(histories: Histories, catalogue: Catalogue, length: int) -> "Recent":
        """The newest titles of each user, H being the longest of them and at most `length`."""
        newest = histories.newest(length)
        width = int(np.diff(newest.offsets).max(initial=0))
        positions = np.full((len(newest.user_ids), width), -1, np.int64)
        shares = np.zeros(positions.shape, np.float32)
        at = newest.owners(), newest.positions_from_newest()
        positions[at] = catalogue.positions(newest.item_ids)
        shares[at] = np.clip(np.nan_to_num(newest.shares), 0, 1)
        return Recent(positions, shares)
