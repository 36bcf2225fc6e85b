"""The ranker learned from impressions: masked heads, held-out days for stopping and calibration, one path for CPU and
CUDA.

Shapes: N impressions, F dense features, C categoricals, H heads.
"""

import copy
import math
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import torch
from numpy.typing import NDArray

from feature_defs.ranking import CATEGORICALS, DENSE_FEATURES, HEADS
from pipelines.errors import DataError
from pipelines.models.calibration import (
    Recalibration,
    Reliability,
    cross_fitted_probabilities,
    fitted_calibration,
    no_calibration,
    recalibration,
    reliabilities,
)
from pipelines.models.device import device_in_use
from pipelines.models.ranker import (
    Ranker,
    RankerFacts,
    RankerNetwork,
    declared_weights,
    standardised,
    tensors,
)
from pipelines.models.ranker_configuration import RankerConfiguration
from pipelines.models.ranker_inputs import RankerInputs

# Rows read at once where all are gone through in order.
_ROWS_AT_ONCE = 65_536
# Rare heads count for more, but no more than as if their labels had this entropy: theirs are few and noisy.
_LEAST_ENTROPY = 0.1
# Adam moves a weight by at most the step size a step. A slot can be worth several logits, which at the pace of the
# layers is out of reach in a training of some hundred steps, and what it does not reach is taken for quality.
_SLOT_PACE = 5.0


@dataclass(frozen=True)
class TrainedRanker:
    """A ranker, and what it reached on the held-out days.

    `reliabilities`: of each head, each row calibrated by the other half of the held-out rows. `losses`: weighted log
    loss on the held-out rows after each pass.
    """

    ranker: Ranker
    reliabilities: tuple[Reliability, ...]
    losses: tuple[float, ...]


def train(
    inputs: RankerInputs,
    labels: NDArray[np.floating],
    days: NDArray[np.datetime64],
    learned_until: date | NDArray[np.datetime64],
    configuration: RankerConfiguration,
    *,
    device: torch.device | None = None,
    is_bf16: bool | None = None,
) -> TrainedRanker:
    """Learn from impressions; each head from the rows where it has a label, never from others.

    The newest days are held out: learning stops when their loss does not fall any more, and probabilities are
    calibrated on them. A single day is cut at random instead. Classes are not reweighted, which would undo
    calibration: a rare head starts at its base rate, and its whole loss is divided by the entropy of its labels
    (He et al., "Practical Lessons from Predicting Clicks on Ads", 2014). Same input and seed, same ranker, on the same
    machine and thread count.

    Args:
        inputs: of the impressions, N.
        labels: [N, H], columns as in HEADS, shares or 0 and 1, NaN where masked.
        days: datetime64[D] [N], when each was shown.
        learned_until: the last day from which the models learned whose scores are among the inputs: one, or [N].
        configuration: how to learn.
        device: where; by default CUDA if there is one.
        is_bf16: whether layers multiply in bfloat16; by default on CUDA alone.

    Raises:
        DataError: if arrays do not fit each other, an impression is not later than its scores, a label lies outside 0
            to 1, inputs are not finite, or there is nothing to learn from.
    """
    _check(inputs, labels, days, learned_until)
    device = device or device_in_use()
    held_out = _held_out(days, configuration)
    learning = np.flatnonzero(~held_out)
    is_masked, rates, loss_weights = _heads(labels, learning)
    means, scales, code_counts = _statistics(inputs, learning)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(configuration.seed)
        network = RankerNetwork(configuration)
    with torch.no_grad():
        network.heads.bias.copy_(torch.from_numpy(np.where(is_masked, 0, np.log(rates / (1 - rates)))))
    facts = RankerFacts(
        configuration,
        means,
        scales,
        is_masked,
        np.zeros(len(HEADS), np.float32),
        no_calibration(len(HEADS)),
        declared_weights(),
        days.min().astype("datetime64[D]").item(),
        days.max().astype("datetime64[D]").item(),
    )
    ranker = Ranker(network, facts, device)
    losses = _learn(ranker, inputs, labels, learning, held_out, code_counts, loss_weights, is_bf16)
    ranker = Ranker(network, replace(facts, neutral=_neutral(network, inputs.slots, learning)), device)
    return _calibrated(ranker, inputs.rows(held_out), labels[held_out], losses, is_bf16)


def recalibrated(
    ranker: Ranker,
    inputs: RankerInputs,
    labels: NDArray[np.floating],
    is_held_out: NDArray[np.bool_],
    *,
    is_bf16: bool | None = None,
) -> tuple[Ranker, Recalibration]:
    """The same weights, calibrated anew on impressions that are newer: between trainings, every night.

    Only heads that are better calibrated so, on the rows held out, change; one without labels keeps its calibration.

    Args:
        ranker: already trained.
        inputs: of impressions that it has not learned from, N.
        labels: [N, H], NaN where masked.
        is_held_out: bool [N], the rows to judge by.
        is_bf16: as in training.
    """
    if labels.shape != (len(inputs), len(HEADS)):
        raise DataError(f"labels are {labels.shape} beside {len(inputs)} impressions and {len(HEADS)} heads")
    logits, used = _judged_by(ranker, inputs, labels, is_bf16)
    found = recalibration(ranker.facts.calibration, logits, used, is_held_out)
    return ranker.with_calibration(found.calibration), found


def _calibrated(
    ranker: Ranker,
    inputs: RankerInputs,
    labels: NDArray[np.floating],
    losses: tuple[float, ...],
    is_bf16: bool | None,
) -> TrainedRanker:
    logits, used = _judged_by(ranker, inputs, labels, is_bf16)
    judged = cross_fitted_probabilities(logits, used, ranker.facts.configuration.seed)
    calibrated = ranker.with_calibration(fitted_calibration(logits, used))
    return TrainedRanker(calibrated, reliabilities(HEADS, judged, used), losses)


def _judged_by(
    ranker: Ranker, inputs: RankerInputs, labels: NDArray[np.floating], is_bf16: bool | None
) -> tuple[NDArray[np.float32], NDArray[np.floating]]:
    """Logits [N, H], and the labels [N, H] of the heads that the ranker has."""
    # With their slots, since it is at these slots that the labels came about.
    logits = ranker.logits(inputs, with_slots=True, is_bf16=is_bf16)
    return logits, np.where(ranker.is_masked, np.nan, labels)


def _check(
    inputs: RankerInputs,
    labels: NDArray[np.floating],
    days: NDArray[np.datetime64],
    learned_until: date | NDArray[np.datetime64],
) -> None:
    if not len(inputs):
        raise DataError("there are no impressions to learn from")
    if labels.shape != (len(inputs), len(HEADS)):
        raise DataError(f"labels are {labels.shape} beside {len(inputs)} impressions and {len(HEADS)} heads")
    if days.shape != (len(inputs),):
        raise DataError(f"days are {days.shape} beside {len(inputs)} impressions")
    known = np.broadcast_to(np.asarray(learned_until, "datetime64[D]"), days.shape)
    early = days <= known
    if early.any():
        raise DataError(
            f"impressions of {days[early].min()} are not later than {known[early].max()}, "
            "up to which the models learned whose scores they read"
        )
    for start in range(0, len(labels), _ROWS_AT_ONCE):
        part = labels[start : start + _ROWS_AT_ONCE]
        if not (np.isnan(part) | ((part >= 0) & (part <= 1))).all():
            raise DataError("labels of impressions lie outside 0 to 1")
        codes = inputs.codes[start : start + _ROWS_AT_ONCE]
        if (codes < 0).any() or (codes >= [categorical.bucket_count for categorical in CATEGORICALS]).any():
            raise DataError("codes of impressions lie outside the declared buckets")
        if not np.isfinite(inputs.dense[start : start + _ROWS_AT_ONCE]).all():
            raise DataError("dense inputs of impressions are not all finite")


def _held_out(days: NDArray[np.datetime64], configuration: RankerConfiguration) -> NDArray[np.bool_]:
    """Rows not learned from: those of the newest days, or of a single day a part taken at random."""
    distinct, counts = np.unique(days, return_counts=True)
    if len(distinct) == 1:
        order = np.random.default_rng(configuration.seed).permutation(len(days))
        return np.asarray(order < round(len(days) * configuration.held_out_share))
    newer = np.cumsum(counts[::-1])
    needed = int(np.searchsorted(newer, configuration.held_out_share * len(days))) + 1
    return np.asarray(days >= distinct[-min(needed, len(distinct) - 1)])


def _heads(
    labels: NDArray[np.floating], learning: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float32]]:
    """Which heads have no labels, base rates kept off 0 and 1, and the weight of each head's loss: [H] each."""
    counts, sums = np.zeros(len(HEADS)), np.zeros(len(HEADS))
    for start in range(0, len(learning), _ROWS_AT_ONCE):
        part = np.asarray(labels[learning[start : start + _ROWS_AT_ONCE]], np.float64)
        counts += (~np.isnan(part)).sum(0)
        sums += np.nansum(part, axis=0)
    is_masked = counts == 0
    if is_masked.all():
        raise DataError("no head of the ranker has a label to learn from")
    rates = (sums + 0.5) / (counts + 1)
    entropies = -rates * np.log(rates) - (1 - rates) * np.log1p(-rates)
    weights = np.where(is_masked, 0, 1 / np.maximum(entropies, _LEAST_ENTROPY))
    return is_masked, rates, weights.astype(np.float32)


def _statistics(
    inputs: RankerInputs, learning: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32], list[NDArray[np.int64]]]:
    """Means and standard deviations of dense features, and how often each code of each categorical is seen."""
    sums, squares = np.zeros(len(DENSE_FEATURES)), np.zeros(len(DENSE_FEATURES))
    counts = [np.zeros(categorical.bucket_count, np.int64) for categorical in CATEGORICALS]
    # From the first row, so that squares of large values do not cancel.
    origin = np.asarray(inputs.dense[learning[0]], np.float64)
    for start in range(0, len(learning), _ROWS_AT_ONCE):
        rows = learning[start : start + _ROWS_AT_ONCE]
        dense = np.asarray(inputs.dense[rows], np.float64) - origin
        sums += dense.sum(0)
        squares += (dense * dense).sum(0)
        codes = inputs.codes[rows]
        for column in range(len(counts)):
            counts[column] += np.bincount(codes[:, column], minlength=len(counts[column]))
    means = sums / len(learning)
    deviations = np.sqrt(np.maximum(squares / len(learning) - means * means, 0))
    # A feature that never changes tells nothing; its scale must not blow it up when it does.
    scales = np.where(deviations > 1e-6, deviations, 1)
    return (means + origin).astype(np.float32), scales.astype(np.float32), counts


def _learn(
    ranker: Ranker,
    inputs: RankerInputs,
    labels: NDArray[np.floating],
    learning: NDArray[np.int64],
    held_out: NDArray[np.bool_],
    code_counts: list[NDArray[np.int64]],
    loss_weights: NDArray[np.float32],
    is_bf16: bool | None,
) -> tuple[float, ...]:
    """Fit the network in place, leave it as it was best, and return the held-out loss after each pass."""
    network, device, configuration = ranker.network, ranker.device, ranker.facts.configuration
    is_bf16 = device.type == "cuda" if is_bf16 is None else is_bf16
    learned, place_of = (
        torch.from_numpy(found).to(device) for found in _learned_codes(code_counts, configuration.least_code_count)
    )
    means, scales = (torch.from_numpy(values).to(device) for values in (ranker.facts.means, ranker.facts.scales))
    weights = torch.from_numpy(loss_weights).to(device)
    layers = [p for name, p in network.named_parameters() if not name.startswith(("embedding", "slot_bias"))]
    # Most codes are rare or stand for nothing: an optimizer that goes over all of them takes half of a step for it.
    vectors = torch.nn.Parameter(network.embedding.weight.detach()[learned])
    optimizer = torch.optim.AdamW(
        [
            {"params": layers, "weight_decay": configuration.weight_decay},
            {"params": [vectors], "weight_decay": 0.0},
            {
                "params": [network.slot_bias.weight],
                "weight_decay": 0.0,
                "lr": configuration.learning_rate * _SLOT_PACE,
            },
        ],
        lr=configuration.learning_rate,
        foreach=True,
    )
    step_rows = configuration.rows_a_step(len(learning))
    steps = configuration.epochs * math.ceil(len(learning) / step_rows)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.1 + 0.45 * (1 + math.cos(math.pi * min(step / steps, 1)))
    )
    # torch.compile's own annotations lose the signature.
    generator = np.random.default_rng(configuration.seed)
    held_out_rows = np.flatnonzero(held_out)
    best, best_state, since_best = math.inf, copy.deepcopy(network.state_dict()), 0
    losses: list[float] = []
    for _ in range(configuration.epochs):
        network.train()
        order = generator.permutation(learning)
        for start in range(0, len(order), step_rows):
            rows = order[start : start + step_rows]
            dense, codes, slots = tensors(inputs.rows(rows), configuration.slot_count, device)
            is_hidden = generator.random(codes.shape, np.float32) < configuration.code_dropout
            codes = codes.masked_fill(torch.from_numpy(is_hidden).to(device), 0)
            target = torch.from_numpy(np.asarray(labels[rows], np.float32)).to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=is_bf16):
                embedded = torch.nn.functional.embedding(place_of[codes + network.starts], vectors)
                logits = network.of_vectors(standardised(dense, means, scales), embedded)
            loss = masked_loss(logits + network.slot_bias(slots), target, weights)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        network.eval()
        with torch.no_grad():
            network.embedding.weight.copy_(vectors[place_of])
        losses.append(_held_out_loss(ranker, inputs, labels, held_out_rows, weights, is_bf16))
        if losses[-1] < best or not len(held_out_rows):
            best, best_state, since_best = losses[-1], copy.deepcopy(network.state_dict()), 0
        else:
            since_best += 1
            if since_best >= configuration.patience:
                break
    network.load_state_dict(best_state)
    return tuple(losses)


def masked_loss(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of soft labels where there are labels, by rows of the batch, weighted by head: one number.

    Args:
        logits: [N, H].
        labels: [N, H], NaN where masked: such a cell adds nothing, and no gradient.
        weights: [H].
    """
    is_there = ~torch.isnan(labels)
    target = torch.where(is_there, labels, torch.zeros_like(labels))
    cells = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    cells = torch.where(is_there, cells, torch.zeros_like(cells))
    # By all rows, not by the labels of the batch: a batch with one label must not weigh like one with thousands.
    return (cells.sum(0) / len(labels) * weights).sum()


def _learned_codes(
    code_counts: list[NDArray[np.int64]], least_count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which codes of all categoricals have a vector of their own, and which of these every code has: a rare one that of
    the unknown of its categorical.
    """
    counts, sizes = np.concatenate(code_counts), [len(count) for count in code_counts]
    unknown = np.repeat(np.cumsum([0, *sizes[:-1]]), sizes)
    learned, place_of = np.unique(np.where(counts < least_count, unknown, np.arange(len(counts))), return_inverse=True)
    return learned, place_of


def _held_out_loss(
    ranker: Ranker,
    inputs: RankerInputs,
    labels: NDArray[np.floating],
    rows: NDArray[np.int64],
    weights: torch.Tensor,
    is_bf16: bool,
) -> float:
    total = 0.0
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        part = rows[start : start + _ROWS_AT_ONCE]
        logits = torch.from_numpy(ranker.logits(inputs.rows(part), with_slots=True, is_bf16=is_bf16))
        target = torch.from_numpy(np.asarray(labels[part], np.float32))
        total += float(masked_loss(logits, target, weights.cpu())) * len(part)
    return total / max(len(rows), 1)


def _neutral(network: RankerNetwork, slots: NDArray[np.integer], learning: NDArray[np.int64]) -> NDArray[np.float32]:
    """The slot logit of the mean impression whose slot is known, or of an unknown slot where none is: float32 [H]."""
    bias = network.slot_bias.weight.detach().cpu().numpy()
    known = np.asarray(slots[learning], np.int64)
    known = known[known >= 0]
    if not len(known):
        return np.asarray(bias[0], np.float32).copy()
    counts = np.bincount(np.minimum(known + 1, len(bias) - 1), minlength=len(bias))
    return np.asarray(counts @ bias / counts.sum(), np.float32)
