"""How the two towers learn: on every place of every window in one pass, on one device or many, and on again if cut off.

One code path for CPU and GPU. On a GPU it computes in bfloat16 where that is safe (autocast). Started by `torchrun`,
each process takes its part of the rows of each batch and gradients are summed, so that several processes take the steps
that one would. All that is drawn (order, negatives, titles without id, dropout) follows from the seed and the number of
the step: a training that is resumed from a checkpoint takes the same steps as one that was never cut off.

After each pass what was held out is predicted. The weights of the best pass are kept, and learning ends when passes
stop getting better.
"""

import dataclasses
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines import crash_points
from pipelines.digests import digest_of
from pipelines.errors import DataError
from pipelines.models.device import device_in_use
from pipelines.models.processes import is_first_process
from pipelines.models.torch_threads import one_torch_thread
from pipelines.models.towers import ItemTensors, Towers, TwoTowers
from pipelines.models.towers_checkpoints import keep, resume
from pipelines.models.towers_configuration import TowersConfiguration, passes, tokens_of_batch
from pipelines.models.towers_inputs import ItemInputs, Vocabularies, Windows
from pipelines.models.towers_learner import Learner


@dataclass(frozen=True)
class Progress:
    """How far a training is, for whoever watches it: mean loss of an epoch's places and of those held out, if any."""

    epoch: int
    loss: float
    held_out_loss: float | None
    places_a_second: float
    padding_share: float


def train_towers(
    windows: Windows,
    items: ItemInputs,
    known: Vocabularies,
    configuration: TowersConfiguration,
    *,
    checkpoints: Path | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
    in_bfloat16: bool | None = None,
) -> Towers:
    """Train.

    Args:
        windows: of histories.
        items: the titles that the windows point to.
        known: what can be told apart.
        configuration: how to learn.
        checkpoints: a folder to resume from and to keep checkpoints in; it is removed at the end.
        progress: is told of each epoch.
        in_bfloat16: whether to compute in bfloat16 where that is safe; by default on a GPU.

    Raises:
        DataError: if there is nothing to predict, or the loss is not finite.
    """
    targets = int(np.asarray(windows.is_target).sum())
    if not targets:
        raise DataError("nothing was watched to the end: there is nothing for the towers to learn from")
    device = device_in_use()
    torch.manual_seed(configuration.seed)
    network = TwoTowers(configuration, known).to(device).train()
    part_count = torch.get_num_threads() if device.type == "cpu" else 1
    with one_torch_thread(), ThreadPoolExecutor(part_count) as pool:
        learner = Learner(network, windows, ItemTensors.of(items, device), configuration, device, pool, part_count)
        learner.in_bfloat16 = device.type == "cuda" if in_bfloat16 is None else in_bfloat16
        _learn(learner, passes(configuration, targets), checkpoints, progress)
    if checkpoints and is_first_process():
        shutil.rmtree(checkpoints, ignore_errors=True)
    return Towers(configuration, known, network)


def _learn(learner: Learner, epochs: int, checkpoints: Path | None, progress: Callable[[Progress], None]) -> None:
    """All passes, or those that are left, until they stop getting better; the best is what is learned."""
    windows, configuration = learner.windows, learner.configuration
    learner.step_count = epochs * len(list(batches_of(windows, configuration, 0)))
    targets = int(np.asarray(windows.is_target).sum())
    purpose = digest_of(
        {"configuration": dataclasses.asdict(configuration), "windows": len(windows), "targets": targets}
    )
    done = resume(learner, checkpoints, purpose) if checkpoints else 0
    step = 0
    for epoch in range(epochs):
        started, losses, places, padded, read = time.monotonic(), 0.0, 0, 0, 0
        for rows in batches_of(windows, configuration, epoch):
            step += 1
            if step <= done:
                continue
            loss, count = learner.step(rows, step)
            losses, places = losses + loss, places + count
            lengths = np.asarray(windows.lengths)[rows]
            padded, read = padded + int((lengths.max() - lengths).sum()), read + int(lengths.max()) * len(rows)
            if checkpoints and step % configuration.checkpoint_steps == 0:
                keep(learner, checkpoints, purpose, step)
                crash_points.passing("towers.after_checkpoint")
        seconds = max(time.monotonic() - started, 1e-9)
        if epoch >= learner.judged:
            learner.judge()
        if places:
            progress(Progress(epoch, losses / places, learner.newest_loss, places / seconds, padded / max(read, 1)))
        # While steps are large, passes throw each other's finer gains away: that they do not get better says nothing.
        if 2 * learner.judged >= epochs and learner.judged - learner.best_at >= configuration.patience:
            break
    learner.take_best()


def batches_of(windows: Windows, configuration: TowersConfiguration, epoch: int) -> Iterator[NDArray[np.int64]]:
    """Rows of windows, those of like length together, each batch of about as many titles; in another order each pass.

    Only windows of nearly one length are padded to their longest: by the order in which lengths are cut, not by luck.
    """
    generator = np.random.default_rng([configuration.seed, epoch, 1])
    lengths = np.asarray(windows.lengths)
    tokens = tokens_of_batch(configuration, int(lengths.sum()))
    order = generator.permutation(len(lengths))
    order = order[np.argsort(lengths[order], kind="stable")]
    order = order[lengths[order] > 0]
    batches = []
    start = 0
    while start < len(order):
        stop = start + 1
        longest = lengths[order[start]]
        # Lengths ascend: take rows while the batch is small enough, and while the first is not much shorter.
        stop = int(
            min(
                np.searchsorted(lengths[order], max(longest * 1.15, longest + 1), side="right"),
                start + max(1, tokens // max(longest, 1)),
            )
        )
        batches.append(order[start:stop])
        start = stop
    for number in generator.permutation(len(batches)):
        yield batches[number]
