"""ALS from the side of items: rounds, each of which asks all users for sums and moves the item factors by them.

The normal equations of an item are X'X + lambda n I + sum c xx' over its users. Their last term would take K x K
numbers an item to send, and K^3 steps to solve. It is taken apart: what the mean of the item's users adds is kept
whole, and takes K numbers; the spread about that mean is taken to have one shape for all items and a size of each
item's own, one number. What is left, a diagonal and one vector, is divided by in K steps. The residual that it divides
is exact, so that rounds come to rest where those of ALS do; on the way they follow its objective closely.

Shapes: I items, K factors.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.blas_threads import one_blas_thread
from pipelines.models.als import AlsConfiguration
from pipelines.models.als_axes import axes_of
from pipelines.models.als_blocks import ItemSums

Floats = NDArray[np.float32]
# From item factors [I, K] in axes in which Y'Y is diagonal, and that diagonal [K], to sums over all users.
SumsOverUsers = Callable[[Floats, Floats], ItemSums]


@dataclass(frozen=True)
class ItemTotals:
    """What does not change from round to round: `counts` int64 [I], users of each title; `shares` float64 [I], sums."""

    counts: NDArray[np.int64]
    shares: NDArray[np.float64]


def learn_items(totals: ItemTotals, sums_over_users: SumsOverUsers, configuration: AlsConfiguration) -> Floats:
    """Item factors: float32 [I, K].

    Args:
        totals: of the titles.
        sums_over_users: solves all users, given the item factors; called once a round.
        configuration: how to learn.
    """
    ridge = (configuration.regularization * totals.counts).astype(np.float32)[:, None]
    items = _start(totals, configuration)
    best, least = items, float("inf")
    with one_blas_thread():
        for _ in range(configuration.iterations):
            axes, eigenvalues = axes_of(items.T @ items)
            rotated = items @ axes
            sums = sums_over_users(rotated, eigenvalues)
            objective = sums.objective + float((ridge * rotated**2).sum(dtype=np.float64))
            if objective > least:
                # Too far: half way back.
                items = (best + items) * np.float32(0.5)
                continue
            best, least = rotated, objective
            items = rotated + _step(rotated, sums, ridge, configuration.alpha * totals.shares)
    return items


def _start(totals: ItemTotals, configuration: AlsConfiguration) -> Floats:
    generator = np.random.default_rng(configuration.seed)
    items: Floats = generator.standard_normal((len(totals.counts), configuration.factors), np.float32)
    # A title that nobody watched any of stays where MLlib has it: at 0.
    items[totals.counts == 0] = 0
    return items * np.float32(configuration.factors**-0.5)


def _step(items: Floats, sums: ItemSums, ridge: Floats, confidence: NDArray[np.float64]) -> Floats:
    """How far to move: float32 [I, K], the residual divided by nearly the matrix of the normal equations."""
    residual = sums.residual - items @ sums.gram - ridge * items
    # Of the mean of an item's users, times the root of their confidence: its outer product is what it adds.
    mean = sums.mean / np.sqrt(np.maximum(confidence, 1e-20))[:, None].astype(np.float32)
    within = sums.weighted - mean.T @ mean
    size = np.maximum(sums.spread - (mean**2).sum(1), 0) / max(float(np.trace(within)), 1e-20)
    axes, eigenvalues = axes_of(sums.gram)
    shape = np.maximum(((within @ axes) * axes).sum(0), 0)
    diagonal = eigenvalues + ridge + size[:, None] * shape
    residual, mean = residual @ axes, mean @ axes
    # Sherman and Morrison: the inverse of a diagonal and one outer product.
    divided, mean_divided = residual / diagonal, mean / diagonal
    along = (mean_divided * residual).sum(1) / (1 + (mean_divided * mean).sum(1))
    step: Floats = (divided - along[:, None] * mean_divided) @ axes.T
    return step
