"""Our two-tower and ALS beside their peers, by a named protocol: make bench-retrieval DATA=... PROTOCOL=B

B: leave one out. Of each user the last item is wanted, the one before is for validation (our models do not look at it),
the rest is learned from; at the test the history holds the validation item. All items not in the history are ranked.
C: a random split in two files of a line a user, TRAIN and TEST; all items not learned from are ranked.
A: the next period, on a simulated service: `make bench-funnel` measures the whole funnel on the same world.

MODELS=two_tower,sasrec picks some. Ties count against us. The last line is one JSON object.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import implicit
import numpy as np
import pyspark
import retrievers
import torch
import tyro
from numpy.typing import NDArray
from plays import Plays, read_item_lists, read_plays
from retrievers import Score

from pipelines.evaluation.bootstrap import interval
from pipelines.histories import Histories
from pipelines.models.towers_configuration import TowersConfiguration
from pipelines.spark_session import spark_session

MODELS = ("most_popular", "ease", "implicit_als", "als", "sasrec", "two_tower")


def ranks(score: Score, history: Histories, wanted: NDArray) -> NDArray:
    """The rank (from 0) of each user's wanted item among all items not in the history; ties count against us."""
    found = []
    for start in range(0, len(wanted), 1000):
        part = history.of(history.user_ids[start : start + 1000])
        own_item = wanted[start : start + 1000]
        scores, items = score(part)
        at = np.searchsorted(items, own_item).clip(max=len(items) - 1)
        seen = np.searchsorted(items, part.item_ids).clip(max=len(items) - 1)
        known = items[seen] == part.item_ids
        own = scores[np.arange(len(own_item)), at].copy()
        scores[part.owners()[known], seen[known]] = -np.inf
        rank = (scores >= own[:, None]).sum(1) - (scores[np.arange(len(own_item)), at] >= own)
        found.append(np.where(items[at] == own_item, rank, len(items)))
    return np.concatenate(found)


def figures_b(rank: NDArray) -> dict[str, float]:
    gain = interval(gains_of(rank))
    rates = {f"hit_rate_at_{k}": round(float((rank < k).mean()), 4) for k in (10, 50, 200)}
    return {
        **rates,
        "ndcg_at_10": round(gain.mean, 4),
        "ndcg_at_10_low": round(gain.low, 4),
        "ndcg_at_10_high": round(gain.high, 4),
    }


def gains_of(rank: NDArray) -> NDArray:
    return np.where(rank < 10, 1 / np.log2(rank + 2), 0.0)


def protocol_b(plays: Plays, fits: dict[str, Callable[[Plays], Score]], on: str) -> dict[str, object]:
    before, last = plays.where(~plays.is_last()), plays.where(plays.is_last())
    validation = before.where(before.is_last())
    training = before.where(~before.is_last())
    keep = np.isin(last.user, training.user)
    history, wanted = before.histories().of(last.user[keep]), last.item[keep]
    if on == "validation":
        keep = np.isin(validation.user, training.user)
        history, wanted = training.histories().of(validation.user[keep]), validation.item[keep]
    models: dict[str, dict[str, float]] = {}
    gains: dict[str, NDArray] = {}
    for name, fit in fits.items():
        started = time.monotonic()
        score = fit(training)
        seconds = round(time.monotonic() - started, 1)
        rank = ranks(score, history, wanted)
        gains[name] = gains_of(rank)
        models[name] = {**figures_b(rank), "train_seconds": seconds}
        print(f"B {name:<13} {models[name]}", flush=True)
    found: dict[str, object] = {"users": len(wanted), "judged_on": on, "models": models}
    for one, other in (("two_tower", "sasrec"), ("als", "most_popular"), ("two_tower", "als")):
        if one in gains and other in gains:
            apart = interval(gains[one] - gains[other])
            found[f"{one}_less_{other}"] = [round(value, 4) for value in (apart.mean, apart.low, apart.high)]
    return found


def protocol_c(train: Plays, test: Plays, fits: dict[str, Callable[[Plays], Score]]) -> dict[str, object]:
    history, wanted = train.histories(), test.histories()
    both = np.intersect1d(history.user_ids, wanted.user_ids)
    history, wanted = history.of(both), wanted.of(both)
    counts = np.diff(wanted.offsets)
    ideal = np.cumsum(1 / np.log2(np.arange(2, 22)))[np.minimum(counts, 20) - 1]
    models: dict[str, dict[str, float]] = {}
    for name, fit in fits.items():
        started = time.monotonic()
        score = fit(train)
        seconds = round(time.monotonic() - started, 1)
        recall, gain = [], []
        for start in range(0, len(both), 1000):
            part, later = history.of(both[start : start + 1000]), wanted.of(both[start : start + 1000])
            scores, items = score(part)
            seen = np.searchsorted(items, part.item_ids).clip(max=len(items) - 1)
            scores[part.owners(), seen] = -np.inf
            best = np.argsort(-scores, axis=1, kind="stable")[:, :20]
            keys = later.owners() << 32 | later.item_ids
            hits = np.isin(np.arange(len(best))[:, None] << 32 | items[best], keys)
            recall.append(hits.sum(1) / np.diff(later.offsets))
            gain.append((hits / np.log2(np.arange(2, 2 + hits.shape[1]))).sum(1))
        found = interval(np.concatenate(gain) / ideal)
        models[name] = {
            "recall_at_20": round(float(np.concatenate(recall).mean()), 4),
            "ndcg_at_20": round(found.mean, 4),
            "ndcg_at_20_low": round(found.low, 4),
            "ndcg_at_20_high": round(found.high, 4),
            "train_seconds": seconds,
        }
        print(f"C {name:<13} {models[name]}", flush=True)
    return {"users": len(both), "models": models}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--protocol", choices=("A", "B", "C"), default="B")
    parser.add_argument("--data", type=Path, help="of B: a file of plays, or the folder that holds it")
    parser.add_argument("--train", type=Path, help="of C")
    parser.add_argument("--test", type=Path, help="of C")
    parser.add_argument("--models", default=",".join(MODELS), help=f"some of {','.join(MODELS)}")
    parser.add_argument("--on", choices=("test", "validation"), default="test", help="of B; tune on validation only")
    parser.add_argument("--sasrec-minutes", type=float, default=25, help="how long the sequence peer may learn")
    asked, rest = parser.parse_known_args()
    if asked.protocol == "A":
        sys.exit(subprocess.call([sys.executable, str(Path(__file__).with_name("funnel.py")), *rest]))
    configuration = tyro.cli(TowersConfiguration, args=rest)
    wanted = asked.models.split(",")
    if unknown := set(wanted) - set(MODELS):
        sys.exit(f"marquee: there is no model {', '.join(sorted(unknown))}; there are {', '.join(MODELS)}")
    if asked.protocol == "B" and asked.data is None:
        sys.exit("marquee: protocol B needs DATA=, a file of plays or the folder that holds it")
    if asked.protocol == "C" and None in (asked.train, asked.test):
        sys.exit("marquee: protocol C needs TRAIN= and TEST=, two files of a line a user")
    with ExitStack() as stack:
        fits: dict[str, Callable[[Plays], Score]] = {
            "most_popular": retrievers.most_popular,
            "ease": retrievers.ease,
            "implicit_als": retrievers.implicit_als,
            "sasrec": lambda plays: retrievers.plain_sasrec(plays, asked.sasrec_minutes),
            "two_tower": lambda plays: retrievers.two_tower(plays, configuration),
        }
        if asked.protocol == "B":
            plays = [read_plays(asked.data)]
        else:
            plays = [read_item_lists(asked.train), read_item_lists(asked.test)]
        if "als" in wanted:
            spark = stack.enter_context(spark_session("bench_retrieval", "local[2]", "4g"))
            fits["als"] = lambda plays: retrievers.als(spark, plays)
        chosen = {name: fits[name] for name in MODELS if name in wanted}
        found = protocol_b(plays[0], chosen, asked.on) if asked.protocol == "B" else protocol_c(*plays, chosen)
    result = {
        "protocol": asked.protocol,
        "data": str(asked.data or asked.train),
        **found,
        "towers": configuration.__dict__,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "pyspark": pyspark.__version__,
            "implicit": implicit.__version__,
        },
        "machine": {"cores": os.cpu_count(), "threads": torch.get_num_threads(), "cuda": torch.cuda.is_available()},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
