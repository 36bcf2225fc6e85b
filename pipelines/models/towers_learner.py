"""A step of the towers' learning: draw, read, compare, follow the gradients.

On a CPU the rows of a batch are read in as many parts as there are threads, each thread alone with its part from the
first product to the last gradient. Threads inside every small product would wait for one another at each: on two cores
that others used too, that was 30 times slower. What all parts share is summed in one order, so that the same number of
threads takes the same step.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pipelines.errors import DataError
from pipelines.models.processes import rank, world
from pipelines.models.sampled_softmax import as_tensor, drawn_titles, softmax_loss, target_shares
from pipelines.models.towers import ItemTensors, TwoTowers, by_length
from pipelines.models.towers_configuration import TowersConfiguration, largest_step
from pipelines.models.towers_inputs import Windows

_WARM_UP = 0.06


@dataclass(frozen=True)
class _Batch:
    """Rows of windows [B, T] as places among the titles made or drawn for them."""

    user_codes: NDArray[np.int64]
    profiles: NDArray[np.int64]
    titles: NDArray[np.int64]
    shares: NDArray[np.int64]
    is_target: NDArray[np.bool_]
    wanted: NDArray[np.int64]
    drawn: NDArray[np.int64]
    log_q: NDArray[np.float32]
    total: int


class Learner:
    """A network, its optimiser, and what a step needs."""

    def __init__(
        self,
        network: TwoTowers,
        windows: Windows,
        items: ItemTensors,
        configuration: TowersConfiguration,
        device: torch.device,
        pool: ThreadPoolExecutor,
        part_count: int,
    ) -> None:
        self.pool, self.part_count = pool, part_count
        # What every row of a batch reads but for the titles, which are made once for all.
        self.shared = [*network.users.parameters(), network.log_temperature]
        self.network, self.windows, self.items, self.configuration = network, windows, items, configuration
        self.device = device
        self.in_bfloat16 = False
        self.step_count = 1
        self.largest_step = largest_step(configuration, int(np.asarray(windows.lengths).sum()))
        # Passes judged, the best of them, its mean loss and weights; and the loss of the newest.
        self.judged, self.best_at, self.best_loss = 0, 0, math.inf
        self.best: dict[str, Tensor] = {}
        self.newest_loss: float | None = None
        self.held_out = np.flatnonzero(np.asarray(windows.is_held_out))
        self.has_content = ((items.text != 0).any(1) | (items.has_genre != 0).any(1)).cpu().numpy()
        self.shares = target_shares(windows.items, windows.is_target, len(items.ids))
        flat = [p for p in network.parameters() if p.ndim < 2]
        deep = [p for p in network.parameters() if p.ndim >= 2]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": deep, "weight_decay": configuration.weight_decay},
                {"params": flat, "weight_decay": 0.0},
            ],
            lr=configuration.learning_rate,
            betas=(0.9, 0.999),
            fused=True,
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
        # A title of which nothing else is known is its id.
        without_id = (generator.random(len(used)) < configuration.id_dropout) & self.has_content[used]
        batch = _Batch(
            user_codes=np.asarray(windows.user_codes)[rows],
            profiles=np.asarray(windows.profiles)[rows],
            titles=np.searchsorted(used, titles),
            shares=np.asarray(windows.shares)[at].astype(np.int64),
            is_target=is_target,
            wanted=np.searchsorted(drawn, titles),
            drawn=np.searchsorted(used, drawn),
            log_q=log_q,
            total=int(is_target.sum()),
        )
        for group in self.optimiser.param_groups:
            group["lr"] = self.largest_step * self._warmth(step)
        self.optimiser.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.in_bfloat16):
            made = self.network.items(self.items.rows(as_tensor(used, self.device)), as_tensor(without_id, self.device))
        leaf = made.detach().requires_grad_()
        mine = np.arange(len(rows))[rank() :: world()]
        stretches = [mine[part :: self.part_count] for part in range(self.part_count)]
        seeds = [(configuration.seed * 1_000_003 + step) * 1024 + rank() * 64 + part for part in range(self.part_count)]
        found = list(self.pool.map(lambda one: self._part(leaf, batch, *one), zip(stretches, seeds, strict=True)))
        # Summed in the order of the parts, whichever was done first.
        loss = reduce(torch.add, [one[0] for one in found])
        of_made, *of_shared = (reduce(torch.add, parts) for parts in zip(*(one[1] for one in found), strict=True))
        made.backward(of_made.to(made.dtype))
        for parameter, gradient in zip(self.shared, of_shared, strict=True):
            parameter.grad = gradient
        value = self._summed(loss)
        if not math.isfinite(value):
            raise DataError(f"the loss of the towers is {value} at step {step}")
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        return value, batch.total

    def _part(
        self, made: Tensor, batch: "_Batch", rows: NDArray[np.int64], seed: int
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Summed loss of some rows, and its gradients by the titles made and by what all rows share."""
        inputs = (made, *self.shared)
        is_target = batch.is_target[rows]
        if not is_target.any():
            return torch.zeros((), device=self.device), tuple(torch.zeros_like(one) for one in inputs)
        device = self.device
        generator = torch.Generator(device).manual_seed(seed)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.in_bfloat16):
            read = self.network.users(
                as_tensor(batch.user_codes[rows], device),
                as_tensor(batch.profiles[rows], device),
                F.embedding(as_tensor(batch.titles[rows], device), made),
                as_tensor(batch.shares[rows], device),
                generator=generator,
            )
            # The place before a title predicts it: the first is predicted by who the user is.
            users = F.normalize(read[:, :-1][as_tensor(is_target, device)].float(), dim=-1)
            others = F.normalize(F.embedding(as_tensor(batch.drawn, device), made).float(), dim=-1)
        # Cosines in full precision: a temperature of a hundredth makes a hundred of each rounding.
        users = users / self.network.temperature()
        wanted, shares = next_and_later(batch.wanted[rows], is_target, self.configuration.later_share)
        loss = softmax_loss(
            users, others, as_tensor(wanted, device), as_tensor(shares, device), as_tensor(batch.log_q, device)
        )
        return loss.detach(), torch.autograd.grad(loss / batch.total, inputs)

    def judge(self) -> None:
        """Predict what was held out among all titles, and keep the weights if no pass before did it better."""
        self.judged += 1
        if not len(self.held_out):
            # Nothing to tell passes by: the newest is as good as any.
            self.best_at = self.judged
            return
        windows, device = self.windows, self.device
        starts = np.asarray(windows.starts)
        rows = np.searchsorted(starts, self.held_out, side="right") - 1
        total = torch.zeros((), device=device)
        self.network.eval()
        with torch.no_grad():
            made = self.network.items(self.items)
            titles = F.normalize(made.float(), dim=-1)
            no_correction = torch.zeros(len(titles), device=device)
            for part, length in by_length(self.held_out - starts[rows]):
                at = starts[rows[part]][:, None] + np.arange(length)
                read = self.network.users(
                    as_tensor(np.asarray(windows.user_codes)[rows[part]], device),
                    as_tensor(np.asarray(windows.profiles)[rows[part]], device),
                    F.embedding(as_tensor(np.asarray(windows.items)[at].astype(np.int64), device), made),
                    as_tensor(np.asarray(windows.shares)[at].astype(np.int64), device),
                    last_only=True,
                )
                users = F.normalize(read[:, -1].float(), dim=-1) / self.network.temperature()
                wanted = as_tensor(np.asarray(windows.items)[self.held_out[part], None].astype(np.int64), device)
                total += softmax_loss(
                    users, titles, wanted, torch.ones_like(wanted, dtype=torch.float32), no_correction
                )
        self.network.train()
        self.newest_loss = float(total) / len(self.held_out)
        if self.newest_loss < self.best_loss:
            self.best_at, self.best_loss = self.judged, self.newest_loss
            self.best = {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}

    def take_best(self) -> None:
        """Go back to the weights of the best pass, where passes could be told apart."""
        if self.best:
            self.network.load_state_dict(self.best)

    def _summed(self, loss: Tensor) -> float:
        """Sum gradients and loss over all processes."""
        if world() > 1:
            gradients = [parameter.grad for parameter in self.network.parameters() if parameter.grad is not None]
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


def next_and_later(
    titles: NDArray[np.int64], is_target: NDArray[np.bool_], later_share: float
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """What each place predicts: the title that comes next, and the one after it where that is a target too.

    What a user watches next is partly chance of the order: that the title after it fits as well is said with a share.

    Args:
        titles: of windows, [B, T].
        is_target: which of them are predicted, P of them, [B, T].
        later_share: how much of the prediction the title after the next is to have.

    Returns:
        Titles int64 [P, 2], and the share of each, float32 [P, 2].
    """
    has_later = np.zeros_like(is_target)
    has_later[:, :-1] = is_target[:, 1:]
    later = np.where(has_later, np.roll(titles, -1, axis=1), titles)
    share = np.where(has_later, np.float32(later_share), np.float32(0))[is_target]
    return np.stack([titles[is_target], later[is_target]], 1), np.stack([1 - share, share], 1)
