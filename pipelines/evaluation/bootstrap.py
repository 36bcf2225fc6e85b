"""How sure a mean over users is: percentile bootstrap, users resampled; two models on the same resamples."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Resampled users x users held at once.
_CELLS = 16 * 1024 * 1024


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval; NaN where there are no users."""

    mean: float
    low: float
    high: float


def bootstrap_means(values: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    """Means of `resamples` samples of users drawn with replacement: float64 [resamples].

    The same seed and number of users draw the same users, so that the means of two models are paired. (Efron and
    Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.)
    """
    generator = np.random.default_rng(seed)
    count = len(values)
    means = np.empty(resamples)
    step = max(1, _CELLS // max(count, 1))
    for start in range(0, resamples, step):
        stop = min(start + step, resamples)
        means[start:stop] = values[generator.integers(0, count, (stop - start, count))].mean(1)
    return means


def interval(values: NDArray[np.float64], resamples: int = 1000, seed: int = 1) -> Interval:
    """The mean of a value a user [U], with its 95 % percentile interval."""
    if not len(values):
        return Interval(float("nan"), float("nan"), float("nan"))
    low, high = np.quantile(bootstrap_means(values, resamples, seed), [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))
