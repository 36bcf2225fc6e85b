"""How fast the two towers learn: places predicted a second, beside a plain SASRec and the machine's matrix products.

    make bench-towers                    seeded histories of the length and catalogue of MovieLens 1M
    make bench-towers DATA=FILE          plays of your own

Both learn from the same histories with a softmax over all titles, 64 numbers wide, 2 layers, 2 heads. SASRec is the
plain one of `sasrec.py` and reads the newest 200 titles; ours reads windows as configured, and once more windows of
200. They take turns; the figure is the median of the repeats. The share of the matrix-multiply rate is that of the
products the towers' arithmetic asks for, beside what one large product of float32 reaches in the same minute. What each
learns is in `make bench-retrieval`. The last line is one JSON object.
"""

import argparse
import dataclasses
import json
import os
import platform
import statistics
import time
from pathlib import Path

import numpy as np
import retrievers
import sasrec
import torch
from plays import Plays, read_plays

from pipelines.histories import Histories
from pipelines.models.towers_configuration import TowersConfiguration, tokens_of_batch
from pipelines.models.towers_inputs import Windows, item_inputs, vocabularies, windows
from pipelines.models.towers_training import train_towers


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


def matmul_rate(size: int = 1024, seconds: float = 1.0) -> float:
    """Operations a second of one large product of float32, the best of what is seen in so many seconds."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    best, started = np.inf, time.perf_counter()
    while time.perf_counter() - started < seconds:
        begun = time.perf_counter()
        torch.mm(a, b)
        best = min(best, time.perf_counter() - begun)
    return 2 * size**3 / best


def our_operations(cut: Windows, items: int, configuration: TowersConfiguration) -> float:
    """Of the matrix products of one pass: three for each of the network's, as each is also differentiated twice."""
    width, lengths = configuration.width, np.asarray(cut.lengths) + 1.0
    layer = (24 * width**2 * lengths + 4 * width * lengths**2).sum()
    loss = 2 * width * items * float(np.asarray(cut.is_target).sum())
    steps = lengths.sum() / tokens_of_batch(configuration, int(lengths.sum()))
    titles = steps * items * 8 * width**2
    return 3 * (configuration.blocks * layer + loss + titles)


def our_pass(histories: Histories, configuration: TowersConfiguration) -> tuple[float, float]:
    """Places a second of a pass, and operations a second of its products."""
    catalogue, users = retrievers.nothing_known(np.unique(histories.item_ids)), retrievers.nobody(histories.user_ids)
    known = vocabularies(catalogue, histories.item_ids, users, 1, 1, 0)
    cut = windows(histories, catalogue, users, known, configuration.history_length)
    text, found = np.zeros((len(catalogue), 1), np.float32), []
    inputs = item_inputs(catalogue, text, known)
    train_towers(cut, inputs, known, configuration, progress=lambda one: found.append(one.places_a_second))
    seconds = float(np.asarray(cut.is_target).sum()) / found[-1]
    return found[-1], our_operations(cut, len(catalogue), configuration) / seconds


def peer_pass(histories: Histories, items: np.ndarray) -> float:
    """Places a second of one pass of the plain SASRec."""
    torch.manual_seed(1)
    model = sasrec.SasRec(len(items)).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=sasrec.STEP)
    prepared = sasrec.batches(histories, items, np.random.default_rng(1))
    places, started = 0, time.perf_counter()
    for titles in prepared:
        loss = sasrec.loss_of(model, titles)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        places += int((titles[:, 1:] > 0).sum())
    return places / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--users", type=int, default=1500)
    parser.add_argument("--items", type=int, default=3416)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    plays = read_plays(asked.data) if asked.data else seeded_plays(asked.users, asked.items)
    if asked.data:
        plays = plays.where(plays.user < np.unique(plays.user)[: asked.users][-1])
    histories, items = plays.histories(), np.unique(plays.item)
    # Negatives above any catalogue: the softmax is over all titles, as the peer's is.
    ours = dataclasses.replace(TowersConfiguration(), epochs=1, negatives=max(len(items), 4096))
    as_long = dataclasses.replace(ours, history_length=sasrec.LENGTH)
    rows: dict[str, list[float]] = {name: [] for name in ("ours", "ours_200", "sasrec", "matmul", "operations")}
    for number in range(asked.repeats):
        rows["matmul"].append(matmul_rate())
        found, operations = our_pass(histories, ours)
        rows["ours"].append(found)
        rows["operations"].append(operations)
        rows["sasrec"].append(peer_pass(histories, items))
        rows["ours_200"].append(our_pass(histories, as_long)[0])
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
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "machine": {"cores": os.cpu_count(), "threads": torch.get_num_threads(), "cuda": torch.cuda.is_available()},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
