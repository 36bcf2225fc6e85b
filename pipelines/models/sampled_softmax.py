"""The loss of the towers: a softmax over the titles of the batch and some drawn evenly, corrected for how they came in.

A title that is watched often is often among the batch's targets, and so is often a negative: without a correction the
model learns to push it down. Subtracting the logarithm of the probability with which each title came in makes the
softmax over the drawn titles estimate that over all (Bengio and Senecal 2008; Yi et al., "Sampling-Bias-Corrected
Neural Modeling for Large Corpus Item Recommendations", 2019).

The matrix of all places and titles is never laid out whole: a stretch of places at a time, small enough for the cache,
its loss and its gradients are computed together, three matrix products and one pass of exponentials. On two cores that
is a third of the time of logits, `cross_entropy` and its backward pass one after another.

Shapes: I titles, M drawn ones, P places that predict, E width, N titles that a place is to predict.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Cells of place x title computed at once: 4 MB of float32 on a CPU, as its cache holds; a GPU wants more to do.
_CELLS = {"cpu": 1 << 20, "cuda": 1 << 26}


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


def softmax_loss(users: Tensor, titles: Tensor, targets: Tensor, shares: Tensor, log_q: Tensor) -> Tensor:
    """Summed cross entropy of the targets and a softmax of inner products.

    Args:
        users: float32 [P, E], divided by the temperature.
        titles: float32 [M, E], the drawn ones.
        targets: which drawn titles each place is to predict, int64 [P, N].
        shares: how much of a place's prediction each of them is to have, float32 [P, N]; of a place they sum to 1.
        log_q: logarithm of the probability with which each title was drawn, float32 [M].
    """
    with torch.autocast(users.device.type, enabled=False):
        loss: Tensor = _SummedLoss.apply(users, titles, targets, shares, log_q)
    return loss


class _SummedLoss(torch.autograd.Function):
    """The gradients are made with the loss, while the exponentials are at hand."""

    @staticmethod
    def forward(ctx: Any, users: Tensor, titles: Tensor, targets: Tensor, shares: Tensor, log_q: Tensor) -> Tensor:
        learns = any(ctx.needs_input_grad)
        loss = torch.zeros((), device=users.device)
        of_users, of_titles = torch.empty_like(users), torch.zeros_like(titles)
        step = max(1, _CELLS[users.device.type] // max(len(titles), 1))
        for start in range(0, len(users), step):
            part = users[start : start + step]
            wanted, share = targets[start : start + step], shares[start : start + step]
            logits = torch.addmm(-log_q, part, titles.T)
            logits -= logits.amax(1, keepdim=True)
            of_wanted = logits.gather(1, wanted)
            logits.exp_()
            sums = logits.sum(1, keepdim=True)
            loss += sums.log().sum() - (of_wanted * share).sum()
            if learns:
                logits /= sums
                logits.scatter_add_(1, wanted, -share)
                torch.mm(logits, titles, out=of_users[start : start + step])
                of_titles.addmm_(logits.T, part)
        ctx.save_for_backward(of_users, of_titles)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        of_users, of_titles = ctx.saved_tensors
        return of_users * grads[0], of_titles * grads[0], None, None, None


def target_shares(items: NDArray[np.integer], is_target: NDArray[np.bool_], count: int) -> NDArray[np.float64]:
    """How often each of `count` titles is a target, as a share of all targets: float64 [count]."""
    counts = np.bincount(np.asarray(items)[np.asarray(is_target)], minlength=count)
    shares: NDArray[np.float64] = counts / max(int(counts.sum()), 1)
    return shares


def as_tensor(values: NDArray[np.generic], device: torch.device) -> Tensor:
    """An array on a device."""
    return torch.as_tensor(values).to(device)
