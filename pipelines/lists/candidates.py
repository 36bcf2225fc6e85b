"""Titles that may become a user's list: what each source proposes, merged by quota, with the reason of each.

Shapes: U users, N candidates of all users together, I titles of the catalogue.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Candidates:
    """Candidates in compressed rows: those of user `u` stand at `offsets[u]:offsets[u + 1]`, in retrieval order.

    `user_ids`: int64 [U]. `offsets`: int64 [U + 1]. `positions`: int64 [N], where each stands in the catalogue of the
    day. `sources`: int64 [N], codes of `feature_defs.recommendations.SOURCES`: the source that ranked it highest.
    `reasons`: int64 [N], how far back in the user's history the title that explains it is, 0 for the newest, -1 where
    there is none. `scores`: float32 [N], the fused retrieval score by which they are ordered.
    """

    user_ids: NDArray[np.int64]
    offsets: NDArray[np.int64]
    positions: NDArray[np.int64]
    sources: NDArray[np.int64]
    reasons: NDArray[np.int64]
    scores: NDArray[np.float32]

    def owners(self) -> NDArray[np.int64]:
        """To which user each candidate belongs, as a position: int64 [N]."""
        return np.repeat(np.arange(len(self.user_ids)), np.diff(self.offsets))
