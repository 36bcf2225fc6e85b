"""How the two towers learn: on every place of every window in one pass, on one device or many, and on again if cut off.

One code path for CPU and GPU. On a GPU it computes in bfloat16 where that is safe (autocast). Started by `torchrun`,
each process takes its part of the rows of each batch and gradients are summed, so that several processes take the steps
that one would. All that is drawn (order, negatives, titles without id, dropout) follows from the seed and the number of
the step: a training that is resumed from a checkpoint takes the same steps as one that was never cut off.
"""

import dataclasses
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from pipelines import crash_points
from pipelines.digests import digest_of
from pipelines.errors import DataError
from pipelines.models.device import device_in_use
from pipelines.models.sampled_softmax import as_tensor, drawn_titles, softmax_loss, target_shares
from pipelines.models.towers import ItemTensors, Towers, TwoTowers
from pipelines.models.towers_configuration import TowersConfiguration
from pipelines.models.towers_inputs import ItemInputs, Vocabularies, Windows

_WARM_UP = 0.1


@dataclass(frozen=True)
class Progress:
    """How far a training is, for whoever watches it: mean loss of an epoch's places, and places a second."""

    epoch: int
    loss: float
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
    learner = _Learner(network, windows, ItemTensors.of(items, device), configuration, device)
    learner.in_bfloat16 = device.type == "cuda" if in_bfloat16 is None else in_bfloat16
    batches = [len(list(_batches(windows, configuration, epoch))) for epoch in range(configuration.epochs)]
    learner.step_count = sum(batches)
    purpose = digest_of(
        {"configuration": dataclasses.asdict(configuration), "windows": len(windows), "targets": targets}
    )
    done = learner.resume(checkpoints, purpose) if checkpoints else 0
    step = 0
    for epoch in range(configuration.epochs):
        started, losses, places, padded, read = time.monotonic(), 0.0, 0, 0, 0
        for rows in _batches(windows, configuration, epoch):
            step += 1
            if step <= done:
                continue
            loss, count = learner.step(rows, step)
            losses, places = losses + loss, places + count
            lengths = np.asarray(windows.lengths)[rows]
            padded, read = padded + int((lengths.max() - lengths).sum()), read + int(lengths.max()) * len(rows)
            if checkpoints and step % configuration.checkpoint_steps == 0:
                learner.keep(checkpoints, purpose, step)
                crash_points.passing("towers.after_checkpoint")
        if places:
            seconds = max(time.monotonic() - started, 1e-9)
            progress(Progress(epoch, losses / places, places / seconds, padded / max(read, 1)))
    if checkpoints and _rank() == 0:
        shutil.rmtree(checkpoints, ignore_errors=True)
    return Towers(configuration, known, network)


class _Learner:
    """A network, its optimiser, and what a step needs."""

    def __init__(
        self,
        network: TwoTowers,
        windows: Windows,
        items: ItemTensors,
        configuration: TowersConfiguration,
        device: torch.device,
    ) -> None:
        self.network, self.windows, self.items, self.configuration = network, windows, items, configuration
        self.device = device
        self.in_bfloat16 = False
        self.step_count = 1
        self.shares = target_shares(windows.items, windows.is_target, len(items.ids))
        flat = [p for p in network.parameters() if p.ndim < 2]
        deep = [p for p in network.parameters() if p.ndim >= 2]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": deep, "weight_decay": configuration.weight_decay},
                {"params": flat, "weight_decay": 0.0},
            ],
            lr=configuration.learning_rate,
            betas=(0.9, 0.98),
        )

    def step(self, rows: NDArray[np.int64], step: int) -> tuple[float, int]:
        """Learn from the windows of these rows; returns the summed loss and the number of places that predict."""
        configuration, windows = self.configuration, self.windows
        generator = np.random.default_rng([configuration.seed, step])
        lengths = np.asarray(windows.lengths)[rows]
        width = int(lengths.max())
        at = np.asarray(windows.starts)[rows][:, None] + np.minimum(np.arange(width), lengths[:, None] - 1)
        is_there = np.arange(width) < lengths[:, None]
        titles = np.asarray(windows.items)[at].astype(np.int64)
        is_target = np.asarray(windows.is_target)[at] & is_there
        drawn, log_q = drawn_titles(titles[is_target], self.shares, configuration.negatives, generator)
        # Each title of the batch is made once, however often it was watched.
        used = np.unique(np.concatenate([drawn, titles[is_there]]))
        without_id = generator.random(len(used)) < configuration.id_dropout
        total = int(is_target.sum())
        mine = slice(_rank(), None, _world())
        torch.manual_seed(configuration.seed * 1_000_003 + step * _world() + _rank())

        for group in self.optimiser.param_groups:
            group["lr"] = configuration.learning_rate * self._warmth(step)
        self.optimiser.zero_grad(set_to_none=False)
        device = self.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.in_bfloat16):
            made = self.network.items(self.items.rows(as_tensor(used, device)), as_tensor(without_id, device))
            history = made[as_tensor(np.searchsorted(used, titles[mine]), device)]
            read = self.network.users(
                as_tensor(np.asarray(windows.user_codes)[rows][mine], device),
                as_tensor(np.asarray(windows.profiles)[rows][mine], device),
                history,
                as_tensor(np.asarray(windows.shares)[at][mine].astype(np.int64), device),
            )
            # The place before a title predicts it: the first is predicted by who the user is.
            users = F.normalize(read[:, :-1][as_tensor(is_target[mine], device)].float(), dim=-1)
            others = F.normalize(made[as_tensor(np.searchsorted(used, drawn), device)].float(), dim=-1)
        # Cosines in full precision: a temperature of a hundredth makes a hundred of each rounding.
        logits = users @ others.T / self.network.temperature()
        wanted = as_tensor(np.searchsorted(drawn, titles[mine][is_target[mine]]), device)
        loss = softmax_loss(logits, wanted, as_tensor(log_q, device))
        (loss / max(total, 1)).backward()  # type: ignore[no-untyped-call]
        value = self._summed(loss.detach())
        if not math.isfinite(value):
            raise DataError(f"the loss of the towers is {value} at step {step}")
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        return value, total

    def _summed(self, loss: Tensor) -> float:
        """Sum gradients and loss over all processes."""
        if _world() > 1:
            gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
            flat = torch.cat([loss.reshape(1), *(gradient.reshape(-1) for gradient in gradients)])
            dist.all_reduce(flat)
            loss, start = flat[0], 1
            for gradient in gradients:
                gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
                start += gradient.numel()
        return float(loss)

    def _warmth(self, step: int) -> float:
        warm = max(1, int(self.step_count * _WARM_UP))
        if step <= warm:
            return step / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(self.step_count - warm, 1)))

    def keep(self, folder: Path, purpose: str, step: int) -> None:
        """Write a checkpoint: weights, the optimiser's moments, the step; the step's file last, whole or not at all."""
        if _rank():
            return
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"weights.{name}": tensor.detach().cpu().contiguous() for name, tensor in self._named()}
        for name, parameter in self.network.named_parameters():
            for moment, tensor in self.optimiser.state[parameter].items():
                tensors[f"{moment}.{name}"] = torch.as_tensor(tensor).detach().cpu().contiguous()
        save_file(tensors, folder / f"step-{step}.safetensors")
        partial = folder / "checkpoint.json.partial"
        partial.write_text(json.dumps({"step": step, "purpose": purpose}), encoding="utf-8")
        partial.replace(folder / "checkpoint.json")
        for old in folder.glob("step-*.safetensors"):
            if old.name != f"step-{step}.safetensors":
                old.unlink()

    def resume(self, folder: Path, purpose: str) -> int:
        """Take up the checkpoint of a folder, if there is one of this training; returns its step, or 0."""
        place = folder / "checkpoint.json"
        if not place.is_file():
            return 0
        described = json.loads(place.read_text(encoding="utf-8"))
        if described["purpose"] != purpose:
            return 0
        step = int(described["step"])
        tensors = load_file(folder / f"step-{step}.safetensors")
        self.network.load_state_dict({name: tensors[f"weights.{name}"] for name, _ in self._named()})
        for name, parameter in self.network.named_parameters():
            moments = [key.removesuffix(f".{name}") for key in tensors if key.endswith(f".{name}")]
            for moment in moments:
                if moment != "weights":
                    place_of = "cpu" if moment == "step" else self.device
                    self.optimiser.state[parameter][moment] = tensors[f"{moment}.{name}"].to(place_of)
        return step

    def _named(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.network.state_dict().items()


def _batches(windows: Windows, configuration: TowersConfiguration, epoch: int) -> Iterator[NDArray[np.int64]]:
    """Rows of windows, those of like length together, each batch of about as many titles; in another order each epoch.

    Only windows of nearly one length are padded to their longest: by the order in which lengths are cut, not by luck.
    """
    generator = np.random.default_rng([configuration.seed, epoch, 1])
    lengths = np.asarray(windows.lengths)
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
                start + max(1, configuration.batch_tokens // max(longest, 1)),
            )
        )
        batches.append(order[start:stop])
        start = stop
    for number in generator.permutation(len(batches)):
        yield batches[number]


def join_processes(count: int, local_rank: int) -> None:
    """Join the `count` processes that `torchrun` started, if there are several: gloo on CPU, NCCL on GPU."""
    if count > 1 and not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(local_rank)
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def is_first_process() -> bool:
    """Whether this process is the one that keeps what was learned."""
    return _rank() == 0


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1
