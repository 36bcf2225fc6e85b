"""What Spark's workers do for ALS: lay out the plays of some users, describe them, solve them.

Workers import this module, and through it little: it is on the way to their first result.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark import Broadcast
from pyspark.sql.types import Row

from pipelines.models.als_blocks import Floats, ItemSums, UserBlock, lay_out, solve_block
from pipelines.sorted_ids import positions_among


@dataclass(frozen=True)
class Described:
    """The titles of a block, how many of its users watched each, and how much of it together."""

    item_ids: NDArray[np.int64]
    counts: NDArray[np.int64]
    shares: NDArray[np.float64]


def laid_out(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """One row with the block of all plays: `user_id`, `item_id`, `watched_share` in, `block` out, an archive."""
    columns = [[column.to_numpy() for column in batch.columns] for batch in batches]
    users, items, shares = (
        np.concatenate([np.zeros(0, kind), *(each[at] for each in columns)])
        for at, kind in enumerate((np.int64, np.int64, np.float32))
    )
    archive = lay_out(users, items, shares).to_bytes()
    yield pa.record_batch([pa.array([archive], pa.binary())], ["block"])


def block_of(row: Row) -> UserBlock:
    """The block of a row of `laid_out`."""
    return UserBlock.from_bytes(bytes(row.block))


def described(block: UserBlock) -> Described:
    """What the driver has to know of a block."""
    return Described(block.item_ids, block.item_counts(), block.item_shares())


def solved(
    shared: "Broadcast[tuple[NDArray[np.int64], Floats, Floats]]",
    alpha: float,
    regularization: float,
    block: UserBlock,
) -> ItemSums:
    """The sums over a block's users; `shared` are the ids of all titles, their factors and the eigenvalues."""
    item_ids, item_factors, eigenvalues = shared.value
    own = item_factors[positions_among(item_ids, block.item_ids)]
    return solve_block(block, own, eigenvalues, alpha=alpha, regularization=regularization)
