"""The loss of the towers: a softmax over the titles of the batch and some drawn evenly, corrected for how they came in.

A title that is watched often is often among the batch's targets, and so is often a negative: without a correction the
model learns to push it down. Subtracting the logarithm of the probability with which each title came in makes the
softmax over the drawn titles estimate that over all (Bengio and Senecal 2008; Yi et al., "Sampling-Bias-Corrected
Neural Modeling for Large Corpus Item Recommendations", 2019).

Shapes: I titles, M drawn ones, P places that predict.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F


def drawn_titles(
    targets: NDArray[np.int64], target_share: NDArray[np.float64], negatives: int, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The titles that a batch is scored against, ascending, and the logarithm of the probability that each came in.

    Args:
        targets: what the batch predicts, int64 [P].
        target_share: how often each title is a target, as a share of all targets: float64 [I].
        negatives: titles drawn evenly, with replacement; where there are no more titles than these, all are taken, and
            nothing is left to correct.
        generator: draws.

    Returns:
        int64 [M] and float32 [M].
    """
    count = len(target_share)
    if count <= negatives:
        return np.arange(count), np.zeros(count, np.float32)
    drawn = np.unique(np.concatenate([targets, generator.integers(0, count, negatives)]))
    # Not to come in, a title must be missed by every target and by every draw.
    missed = len(targets) * np.log1p(-target_share[drawn].clip(max=1 - 1e-9)) + negatives * np.log1p(-1 / count)
    return drawn, np.log(-np.expm1(missed)).astype(np.float32)


def softmax_loss(logits: Tensor, targets: Tensor, log_q: Tensor) -> Tensor:
    """Summed negative log likelihood of the targets.

    Args:
        logits: of each place for each drawn title, [P, M].
        targets: which drawn title it is, int64 [P].
        log_q: logarithm of the probability with which each title was drawn, [M].
    """
    return F.cross_entropy(logits.float() - log_q, targets, reduction="sum")


def target_shares(items: NDArray[np.integer], is_target: NDArray[np.bool_], count: int) -> NDArray[np.float64]:
    """How often each of `count` titles is a target, as a share of all targets: float64 [count]."""
    counts = np.bincount(np.asarray(items)[np.asarray(is_target)], minlength=count)
    shares: NDArray[np.float64] = counts / max(int(counts.sum()), 1)
    return shares


def as_tensor(values: NDArray[np.generic], device: torch.device) -> Tensor:
    """An array on a device."""
    return torch.as_tensor(values).to(device)
