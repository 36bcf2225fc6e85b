"""Interactions of some users, laid out for ALS, and what one pass over them gives for the item half-step."""

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.blas_threads import one_blas_thread
from pipelines.models.als_kernel import IN_A_ROUND, solve_users

Floats = NDArray[np.float32]

# Vectors of users that are held at once: 4 MiB at 64 factors.
_USERS_AT_ONCE = 16 * 1024


@dataclass(frozen=True)
class UserBlock:
    """What the users of a block watched, in compressed rows: those of user `u` stand at `offsets[u]:offsets[u + 1]`.

    `item_ids`: int64 [I], ascending, the titles of the block. `offsets`: int64 [U + 1]. `items`: int32 [N], positions
    in `item_ids`. `shares`: float32 [N], above 0, the largest share watched of each title.
    """

    item_ids: NDArray[np.int64]
    offsets: NDArray[np.int64]
    items: NDArray[np.int32]
    shares: Floats

    def item_counts(self) -> NDArray[np.int64]:
        """How many users watched each title: int64 [I]."""
        return np.bincount(self.items, minlength=len(self.item_ids))

    def item_shares(self) -> NDArray[np.float64]:
        """What they watched of it, together: float64 [I]."""
        together = np.bincount(self.items, self.shares.astype(np.float64), len(self.item_ids))
        return together.astype(np.float64)

    def to_bytes(self) -> bytes:
        """The block as a numpy archive."""
        archive = io.BytesIO()
        np.savez(archive, item_ids=self.item_ids, offsets=self.offsets, items=self.items, shares=self.shares)
        return archive.getvalue()

    @staticmethod
    def from_bytes(archive: bytes) -> "UserBlock":
        """The block that `to_bytes` wrote."""
        arrays: Mapping[str, NDArray[np.generic]] = np.load(io.BytesIO(archive))
        return UserBlock(**{name: arrays[name] for name in ("item_ids", "offsets", "items", "shares")})  # type: ignore[arg-type]


@dataclass(frozen=True)
class ItemSums:
    """What the item half-step needs to know of users, as sums over them; x is a user's vector, c a confidence.

    `residual`: float32 [I, K], sum (1 + c - c x'y) x. `mean`: float32 [I, K], sum c x. `spread`: float32 [I],
    sum c x'x. `gram`: float32 [K, K], X'X. `weighted`: float32 [K, K], sum x (sum c) x'. `objective`: what the users
    add to it.
    """

    residual: Floats
    mean: Floats
    spread: Floats
    gram: Floats
    weighted: Floats
    objective: float


def lay_out(user_ids: NDArray[np.int64], item_ids: NDArray[np.int64], shares: Floats) -> UserBlock:
    """Rows [M] in any order as a block: each pair once with its largest share, users and titles ascending by id.

    A pair of which nothing was watched says nothing in favour of its title, and is left out as MLlib does.
    """
    known_items, items = np.unique(item_ids, return_inverse=True)
    known_users, users = np.unique(user_ids, return_inverse=True)
    pairs = users * len(known_items) + items
    order = np.argsort(pairs, kind="stable")
    pairs = pairs[order]
    starts = np.flatnonzero(np.concatenate([[True], pairs[1:] != pairs[:-1]])) if len(pairs) else order
    largest = np.maximum.reduceat(shares[order], starts) if len(pairs) else shares
    watched = largest > 0
    pairs = pairs[starts][watched]
    counts = np.bincount(pairs // max(len(known_items), 1), minlength=len(known_users))
    return UserBlock(
        known_items.astype(np.int64),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        (pairs % max(len(known_items), 1)).astype(np.int32),
        largest[watched].astype(np.float32),
    )


def solve_block(
    block: UserBlock, item_factors: Floats, eigenvalues: Floats, *, alpha: float, regularization: float
) -> ItemSums:
    """Solve the users of a block and add up what they say of its titles.

    Args:
        block: the users.
        item_factors: float32 [I, K], of the titles of the block, in axes in which Y'Y of all titles is diagonal.
        eigenvalues: float32 [K], that diagonal.
        alpha: confidence is alpha times the share watched.
        regularization: lambda.
    """
    items, width = item_factors.shape
    residual, mean = np.zeros((2, items, width), np.float32)
    spread = np.zeros(items, np.float32)
    gram, weighted = np.zeros((2, width, width), np.float32)
    objective = 0.0
    confidence = (np.float32(alpha) * block.shares).astype(np.float32)
    item_factors = np.ascontiguousarray(item_factors)
    summed = np.concatenate([[0], np.cumsum(confidence, dtype=np.float64)])
    user_count = len(block.offsets) - 1
    with one_blas_thread():
        for first in range(0, user_count, _USERS_AT_ONCE):
            offsets = block.offsets[first : first + _USERS_AT_ONCE + 1]
            users = np.empty((len(offsets) - 1, width), np.float32)
            objective += solve_users(
                offsets, block.items, confidence, item_factors, eigenvalues, np.float32(regularization),
                IN_A_ROUND, users, (residual, mean, spread),
            )  # fmt: skip
            gram += users.T @ users
            weighted += (users * np.diff(summed[offsets]).astype(np.float32)[:, None]).T @ users
    return ItemSums(residual, mean, spread, gram, weighted, objective)
