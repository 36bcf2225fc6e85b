"""How fast the two towers learn: places predicted a second, beside a plain SASRec and the machine's matrix products.

    make bench-towers                    seeded histories of the length and catalogue of MovieLens 1M
    make bench-towers DATA=FILE          plays of your own

Both learn from the same histories with a softmax over all titles, 64 numbers wide, 2 layers, 2 heads. SASRec is the
plain one of `sasrec.py` and reads the newest 200 titles; ours reads windows as configured, and once more windows of
200. They take turns; the figure is the median of the repeats. The share of the matrix-multiply rate is that of the
products the towers' arithmetic asks for, beside what one large product of float32 reaches in the same minute. What each
learns is in `make bench-retrieval`. Where there is a GPU, all of it runs there, both in bfloat16 by autocast. The last
line is one JSON object.
"""

import argparse
import dataclasses
import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import retrievers
import sasrec
import torch
from machine import machine, matmul_rate, versions
from plays import Plays, read_plays

from pipelines.histories import Histories
from pipelines.models.device import device_in_use
from pipelines.models.torch_threads import one_torch_thread
from pipelines.models.towers import ItemTensors, TwoTowers
from pipelines.models.towers_configuration import TowersConfiguration
from pipelines.models.towers_inputs import item_inputs, vocabularies, windows
from pipelines.models.towers_learner import Learner
from pipelines.models.towers_training import batches_of


def seeded_plays(users: int, items: int, seed: int = 1) -> Plays:
    """Histories as long as those of MovieLens 1M (median 96, mean 165, none under 18), titles by a Zipf-like law."""
    generator = np.random.default_rng(seed)
    lengths = np.clip(np.exp(generator.normal(np.log(96), 1.0, users)), 18, 2000).astype(np.int64)
    shares = 1 / (np.arange(items) + 20) ** 0.9
    rows = [
        generator.choice(items, length, replace=False, p=shares / shares.sum()) for length in lengths.clip(max=items)
    ]
    owners = np.repeat(np.arange(users), [len(row) for row in rows])
    return Plays(owners, np.concatenate(rows), np.ones(len(owners), np.float32))


class Ours:
    """Our towers in training on some histories."""

    def __init__(self, histories: Histories, configuration: TowersConfiguration) -> None:
        catalogue, users = (
            retrievers.nothing_known(np.unique(histories.item_ids)),
            retrievers.nobody(histories.user_ids),
        )
        known = vocabularies(catalogue, histories.item_ids, users, 1, 1, 0)
        self.configuration, self.items = configuration, len(catalogue)
        self.cut = windows(histories, catalogue, users, known, configuration.history_length)
        self.inputs = item_inputs(catalogue, np.zeros((len(catalogue), 1), np.float32), known)
        torch.manual_seed(configuration.seed)
        self.network = TwoTowers(configuration, known).to(device_in_use()).train()

    def learn(self, seconds: float) -> tuple[float, float]:
        """Places predicted a second over steps of so many seconds, and operations a second of their products."""
        device = device_in_use()
        threads = torch.get_num_threads() if device.type == "cpu" else 1
        with one_torch_thread(), ThreadPoolExecutor(threads) as pool:
            titles = ItemTensors.of(self.inputs, device)
            learner = Learner(self.network, self.cut, titles, self.configuration, device, pool, threads)
            learner.step_count = 1_000_000
            learner.in_bfloat16 = device.type == "cuda"
            steps = batches_of(self.cut, self.configuration, 0)
            learner.step(next(steps), 1)
            places, operations, begun = 0, 0.0, time.perf_counter()
            for number, rows in enumerate(steps, start=2):
                places += learner.step(rows, number)[1]
                operations += self.operations(rows)
                if time.perf_counter() - begun > seconds:
                    break
            took = time.perf_counter() - begun
        return places / took, operations / took

    def operations(self, rows: np.ndarray) -> float:
        """Of the matrix products of a step: three for each of the network's, as each is also differentiated twice."""
        width, lengths = self.configuration.width, self.cut.lengths[rows] + 1.0
        layer = (24 * width**2 * lengths + 4 * width * lengths**2).sum()
        at = np.repeat(self.cut.starts[rows], self.cut.lengths[rows])
        places = self.cut.is_target[at + np.concatenate([np.arange(n) for n in self.cut.lengths[rows]])].sum()
        return 3 * (self.configuration.blocks * layer + 2 * width * self.items * places + self.items * 8 * width**2)


class Peer:
    """The plain SASRec in training on some histories."""

    def __init__(self, histories: Histories, items: np.ndarray) -> None:
        torch.manual_seed(1)
        self.device = device_in_use()
        self.model = sasrec.SasRec(len(items)).to(self.device).train()
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=sasrec.STEP)
        self.batches = sasrec.batches(histories, items, np.random.default_rng(1))

    def learn(self, seconds: float) -> float:
        """Places predicted a second."""
        self.step(self.batches[0])
        places, begun = 0, time.perf_counter()
        for titles in self.batches[1:]:
            places += self.step(titles)
            if time.perf_counter() - begun > seconds:
                break
        return places / (time.perf_counter() - begun)

    def step(self, titles: torch.Tensor) -> int:
        on_device = titles.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            loss = sasrec.loss_of(self.model, on_device)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return int((titles[:, 1:] > 0).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--users", type=int, default=6040)
    parser.add_argument("--items", type=int, default=3416)
    parser.add_argument("--batch-tokens", type=int, default=TowersConfiguration.batch_tokens, help="of ours")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10, help="of each turn of each")
    asked = parser.parse_args()
    plays = read_plays(asked.data) if asked.data else seeded_plays(asked.users, asked.items)
    histories, items = plays.histories(), np.unique(plays.item)
    # Negatives above any catalogue: the softmax is over all titles, as the peer's; layers as the peer has.
    configuration = TowersConfiguration(
        blocks=sasrec.LAYERS,
        heads=sasrec.HEADS,
        negatives=max(len(items), 4096),
        batch_tokens=asked.batch_tokens,
    )
    ours = Ours(histories, configuration)
    as_long = Ours(histories, dataclasses.replace(configuration, history_length=sasrec.LENGTH))
    peer = Peer(histories, items)
    rows: dict[str, list[float]] = {name: [] for name in ("ours", "ours_200", "sasrec", "matmul", "operations")}
    for number in range(asked.repeats):
        rows["matmul"].append(matmul_rate())
        found, operations = ours.learn(asked.seconds)
        rows["ours"].append(found)
        rows["operations"].append(operations)
        rows["sasrec"].append(peer.learn(asked.seconds))
        rows["ours_200"].append(as_long.learn(asked.seconds)[0])
        print(f"repeat {number + 1}: " + ", ".join(f"{name} {row[-1]:,.0f}" for name, row in rows.items()), flush=True)
    median = {name: statistics.median(row) for name, row in rows.items()}
    ratios = [mine / peer for mine, peer in zip(rows["ours"], rows["sasrec"], strict=True)]
    result = {
        "positions_per_second": round(median["ours"]),
        "share_of_matmul": round(median["operations"] / median["matmul"], 3),
        "ratio_to_sasrec": round(median["ours"] / median["sasrec"], 2),
        "ratio_to_sasrec_each": [round(ratio, 2) for ratio in ratios],
        "ratio_with_windows_of_200": round(median["ours_200"] / median["sasrec"], 2),
        "sasrec_positions_per_second": round(median["sasrec"]),
        "matmul_gflops": round(median["matmul"] / 1e9, 1),
        "users": len(histories.user_ids),
        "plays": len(plays.item),
        "items": len(items),
        "data": str(asked.data or "seeded"),
        "seed": 1,
        "versions": versions("torch"),
        "machine": machine(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
