"""ALS learned on Spark, from what users watched: users stay where they are, titles travel.

Plays are cut into blocks of users once, and each block stays with Spark, which makes it again where a worker is lost.
A round is one Spark job: the item factors go out by broadcast, each task solves the users of its block and gives back
sums over them, a few numbers a title and factor; what moves grows with the catalogue and the blocks, not with users.
Nothing of a round is kept by a worker, so that a task may be run again anywhere; sums are added in the order of blocks,
so that the result does not depend on how many cores there are.
"""

from functools import partial

import numpy as np
from numpy.typing import NDArray
from pyspark import RDD
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.errors import DataError, UsageError
from pipelines.models.als import AlsConfiguration, AlsModel
from pipelines.models.als_blocks import Floats, ItemSums, UserBlock
from pipelines.models.als_iterations import ItemTotals, learn_items
from pipelines.models.als_mllib import train_with_mllib
from pipelines.models.als_tasks import block_of, described, laid_out, solved
from pipelines.sorted_ids import positions_among

# What Spark lets a job bring back unless told otherwise (spark.driver.maxResultSize).
_LARGEST_RESULT = 1024**3


def train_als(plays: DataFrame, configuration: AlsConfiguration) -> AlsModel:
    """Factorise; the confidence of a title is 1 + alpha * the largest watched share of it.

    Args:
        plays: `user_id`, `item_id`, `watched_share`; a pair may be there many times, a share may be null.
        configuration: how to learn.

    Raises:
        DataError: if there is nothing to learn from.
        UsageError: if the catalogue is too large for the solver that is configured.
    """
    if configuration.solver == "mllib":
        return train_with_mllib(ratings(plays), configuration)
    blocks = _user_blocks(plays, configuration.blocks).persist()
    try:
        found_in_blocks = blocks.map(described).collect()
        item_ids = np.unique(np.concatenate([found.item_ids for found in found_in_blocks]))
        _check(len(item_ids), configuration)
        counts, shares = np.zeros(len(item_ids), np.int64), np.zeros(len(item_ids))
        positions = [positions_among(item_ids, found.item_ids) for found in found_in_blocks]
        for at, found in zip(positions, found_in_blocks, strict=True):
            counts[at] += found.counts
            shares[at] += found.shares

        def sums_over_users(item_factors: Floats, eigenvalues: Floats) -> ItemSums:
            parts = _pass_over(blocks, item_ids, item_factors, eigenvalues, configuration)
            return _added_up(parts, positions, item_factors.shape)

        factors = learn_items(ItemTotals(counts, shares), sums_over_users, configuration)
    finally:
        blocks.unpersist()
    return AlsModel(item_ids, factors, configuration.regularization, configuration.alpha)


def ratings(interactions: DataFrame) -> DataFrame:
    """User, title and the largest share watched, from interactions with a play; each pair once."""
    return (
        interactions.where(F.col("watched_share").isNotNull())
        .groupBy("user_id", "item_id")
        .agg(F.max("watched_share").alias("watched_share"))
    )


def _user_blocks(plays: DataFrame, count: int) -> "RDD[UserBlock]":
    columns = [F.col("user_id").cast("long"), F.col("item_id").cast("long"), F.col("watched_share").cast("float")]
    known = plays.where(F.col("watched_share").isNotNull()).select(*columns)
    archives = known.repartition(count, "user_id").mapInArrow(laid_out, "block binary")
    blocks: RDD[UserBlock] = archives.rdd.map(block_of)
    return blocks


def _check(items: int, configuration: AlsConfiguration) -> None:
    if not items:
        raise DataError("there are no plays to learn from")
    size = configuration.blocks * items * (2 * configuration.factors + 1) * 4
    if size > _LARGEST_RESULT:
        raise UsageError(
            f"{configuration.blocks} blocks give back {size / 1024**3:.1f} GiB of sums over {items} titles each round, "
            f"more than {_LARGEST_RESULT // 1024**3}: take fewer blocks or --als.solver mllib"
        )


def _pass_over(
    blocks: "RDD[UserBlock]",
    item_ids: NDArray[np.int64],
    item_factors: Floats,
    eigenvalues: Floats,
    configuration: AlsConfiguration,
) -> list[ItemSums]:
    shared = blocks.context.broadcast((item_ids, item_factors, eigenvalues))
    try:
        return blocks.map(partial(solved, shared, configuration.alpha, configuration.regularization)).collect()
    finally:
        shared.destroy()


def _added_up(parts: list[ItemSums], positions: list[NDArray[np.int64]], shape: tuple[int, ...]) -> ItemSums:
    total = ItemSums(
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
        np.zeros(shape[0], np.float32),
        np.sum([part.gram for part in parts], 0),
        np.sum([part.weighted for part in parts], 0),
        sum(part.objective for part in parts),
    )
    for at, part in zip(positions, parts, strict=True):
        total.residual[at] += part.residual
        total.mean[at] += part.mean
        total.spread[at] += part.spread
    return total
