"""Whether a predicted probability is what is then observed, and how to make it so.

Platt scaling (Platt 1999): a slope and an intercept on the logit of each head, fitted to rows the model has not learned
from. Reliability is observed in bins of equally many rows; expected calibration error as in Naeini et al. 2015.

Shapes: N rows, H heads, B bins.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import DataError

# Pull towards a slope of 1 and an intercept of 0, in rows: what keeps a head with a single positive, or none, finite.
_RIDGE = 1.0
# A slope below would turn the order of titles round, or flatten it.
_LEAST_SLOPE = 0.05
_NEWTON_STEPS = 50


@dataclass(frozen=True)
class Calibration:
    """How logits become probabilities: sigmoid(slope x logit + intercept).

    `slopes`, `intercepts`: float64 [H].

    Raises:
        DataError: if they are not finite, or a slope is not positive.
    """

    slopes: NDArray[np.float64]
    intercepts: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.slopes.ndim != 1 or self.slopes.shape != self.intercepts.shape:
            raise DataError(f"a calibration has slopes {self.slopes.shape} and intercepts {self.intercepts.shape}")
        if not (np.isfinite(self.slopes).all() and np.isfinite(self.intercepts).all() and (self.slopes > 0).all()):
            raise DataError("the slopes of a calibration are not all positive, or it is not finite")

    def probabilities(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Probabilities of logits: float64 [N, H]."""
        scaled = logits * self.slopes + self.intercepts
        probabilities: NDArray[np.float64] = 0.5 * (1 + np.tanh(scaled / 2))
        return probabilities


@dataclass(frozen=True)
class Reliability:
    """Predicted and observed means of a head, in bins of equally many rows by what was predicted.

    `predicted`, `observed`: float64 [B]. `counts`: int64 [B]. `expected_calibration_error`: mean distance of the two,
    weighted by rows; NaN where the head has no labels.
    """

    head: str
    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    counts: NDArray[np.int64]
    expected_calibration_error: float


@dataclass(frozen=True)
class Recalibration:
    """A calibration fitted anew, head by head, and kept only where it is better on rows it was not fitted to.

    `calibration`: what every head goes on with. `losses_before`, `losses_after`: mean log loss of the held-out rows
    under the calibration of before and under the refitted one, float64 [H]; NaN where a head has no labels on either
    side. `is_kept`: bool [H], where the refitted one is kept.
    """

    calibration: Calibration
    losses_before: NDArray[np.float64]
    losses_after: NDArray[np.float64]
    is_kept: NDArray[np.bool_]


def no_calibration(heads: int) -> Calibration:
    """Logits as they are."""
    return Calibration(np.ones(heads), np.zeros(heads))


def fitted_calibration(logits: NDArray[np.floating], labels: NDArray[np.floating]) -> Calibration:
    """The calibration under which labels are likeliest; a head without labels stays as it is.

    Args:
        logits: [N, H], finite.
        labels: [N, H], shares or 0 and 1, NaN where masked.
    """
    lines = [_line(logits[:, head], labels[:, head]) for head in range(logits.shape[1])]
    slopes, intercepts = np.array(lines, np.float64).reshape(-1, 2).T
    return Calibration(slopes, intercepts)


def recalibration(
    before: Calibration, logits: NDArray[np.floating], labels: NDArray[np.floating], is_held_out: NDArray[np.bool_]
) -> Recalibration:
    """A calibration of newer rows, where it is better than the one of before; elsewhere the one of before.

    It is fitted to what the one of before predicts, so that few rows move it little. What is kept is the very line
    that was held against the one of before, on rows that neither was fitted to.

    Args:
        before: of H heads, fitted to older rows.
        logits: [N, H], finite.
        labels: [N, H], shares or 0 and 1, NaN where masked.
        is_held_out: bool [N], the rows to judge by; the others are fitted to.
    """
    scaled = logits * before.slopes + before.intercepts
    lines = fitted_calibration(scaled[~is_held_out], labels[~is_held_out])
    judged, held_labels = scaled[is_held_out], labels[is_held_out]
    is_seen = ~np.isnan(labels[~is_held_out]).all(0) & ~np.isnan(held_labels).all(0)
    losses = [
        np.where(is_seen, _log_losses(z, held_labels), np.nan)
        for z in (judged, judged * lines.slopes + lines.intercepts)
    ]
    is_kept = losses[1] < losses[0]
    return Recalibration(
        Calibration(
            np.where(is_kept, lines.slopes * before.slopes, before.slopes),
            np.where(is_kept, lines.slopes * before.intercepts + lines.intercepts, before.intercepts),
        ),
        losses[0],
        losses[1],
        is_kept,
    )


def _log_losses(logits: NDArray[np.floating], labels: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean log loss of each head over its labels: float64 [H]; 0 where it has none."""
    is_there = ~np.isnan(labels)
    z = logits.astype(np.float64)
    cells = np.logaddexp(0, z) - np.where(is_there, labels, 0) * z
    losses: NDArray[np.float64] = np.where(is_there, cells, 0).sum(0) / np.maximum(is_there.sum(0), 1)
    return losses


def cross_fitted_probabilities(
    logits: NDArray[np.floating], labels: NDArray[np.floating], seed: int
) -> NDArray[np.float64]:
    """Calibrated probabilities of rows, each by a calibration fitted to the other half of them: float64 [N, H].

    So that a calibration is never judged on the rows it was fitted to.
    """
    is_first = np.random.default_rng(seed).permutation(len(logits)) % 2 == 0
    probabilities = np.empty(logits.shape, np.float64)
    for half in (is_first, ~is_first):
        probabilities[half] = fitted_calibration(logits[~half], labels[~half]).probabilities(logits[half])
    return probabilities


def reliabilities(
    heads: Sequence[str], predicted: NDArray[np.floating], labels: NDArray[np.floating], bins: int = 10
) -> tuple[Reliability, ...]:
    """How well each head is calibrated.

    Args:
        heads: their names, H.
        predicted: probabilities [N, H].
        labels: [N, H], NaN where masked.
        bins: quantiles of the prediction, B; fewer where there are fewer rows.
    """
    return tuple(_reliability(head, predicted[:, column], labels[:, column], bins) for column, head in enumerate(heads))


def _reliability(head: str, predicted: NDArray[np.floating], labels: NDArray[np.floating], bins: int) -> Reliability:
    is_there = ~np.isnan(labels)
    probability, label = predicted[is_there].astype(np.float64), labels[is_there].astype(np.float64)
    count = len(label)
    if not count:
        empty = np.zeros(0)
        return Reliability(head, empty, empty, np.zeros(0, np.int64), float("nan"))
    order = np.argsort(probability, kind="stable")
    starts = np.unique(np.arange(bins) * count // bins)
    counts = np.diff(np.append(starts, count))
    means = np.add.reduceat(probability[order], starts) / counts
    observed = np.add.reduceat(label[order], starts) / counts
    return Reliability(head, means, observed, counts, float(np.abs(means - observed) @ counts / count))


def _line(logits: NDArray[np.floating], labels: NDArray[np.floating]) -> tuple[float, float]:
    """Slope and intercept of one head, by damped Newton steps on the regularised likelihood, which is convex."""
    is_there = ~np.isnan(labels)
    x, y = logits[is_there].astype(np.float64), labels[is_there].astype(np.float64)
    line = np.array([1.0, 0.0])
    if not len(x):
        return 1.0, 0.0

    def loss(at: NDArray[np.float64]) -> float:
        z = at[0] * x + at[1]
        return float(np.logaddexp(0, z).sum() - y @ z + _RIDGE / 2 * ((at[0] - 1) ** 2 + at[1] ** 2))

    current = loss(line)
    for _ in range(_NEWTON_STEPS):
        p = 0.5 * (1 + np.tanh((line[0] * x + line[1]) / 2))
        w = p * (1 - p)
        gradient = np.array([(p - y) @ x, (p - y).sum()]) + _RIDGE * (line - [1.0, 0.0])
        cross = w @ x
        hessian = np.array([[w @ (x * x), cross], [cross, w.sum()]]) + _RIDGE * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        share = 1.0
        while (lower := loss(line - share * step)) > current and share > 1e-6:
            share /= 2
        if current - lower <= 1e-10 * abs(current):
            break
        line, current = line - share * step, lower
    slope = max(float(line[0]), _LEAST_SLOPE)
    return slope, float(line[1])
