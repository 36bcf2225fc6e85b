"""ALS on Spark beside `implicit` (2 threads) and MLlib, on the same interactions, and on one core instead of two.

What a second core is worth depends on the machine and on who else uses it: `implicit` runs with one thread too, and its
own gain from the second stands beside ours. With `local[1]` Spark runs one task at a time, and what carries its bytes
uses the second core all the same: `one_core` is that in a process that is held on one core with all that it starts.

    make bench-als                                         200,000 users, 8,000 titles, 6.8 million interactions
    python tests/benchmarks/als.py --peers mllib           one peer alone; MLlib takes minutes
    python tests/benchmarks/als.py --users 20000 --interactions 680000

The set is made from a seed: titles have a long tail, users and titles a planted taste of low rank. What is timed is
learning as a job does it, from rows of plays in Parquet to item factors, with the start of Python workers and without
that of the session; of `implicit` its `fit` on a matrix in memory. They take turns; figures are medians. The objective
is ours for all: the weighted squared error over all pairs and the ridge scaled by counts, with the users solved from
each one's item factors. `implicit` does not scale its ridge, so that it looks for something else; what it looks for is
said beside. The last line is one JSON object.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from implicit.cpu.als import AlternatingLeastSquares
from machine import machine, versions
from pyspark.sql import SparkSession
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from pipelines.models.als import AlsConfiguration, AlsModel
from pipelines.models.als_axes import axes_of
from pipelines.models.als_blocks import lay_out, solve_block
from pipelines.models.als_mllib import train_with_mllib
from pipelines.models.als_training import train_als
from pipelines.spark_session import spark_session

TASTES = 16
PEERS = ("implicit", "implicit1", "mllib", "local1", "one_core")


@numba.njit(cache=True)
def _watched(counts, popular, user_tastes, item_tastes, seed):
    """Titles of each user: drawn by popularity, kept by taste, each once."""
    np.random.seed(seed)
    items = np.empty(counts.sum(), np.int32)
    last = np.full(len(item_tastes), -1, np.int64)
    at = 0
    for user in range(len(counts)):
        kept = 0
        while kept < counts[user]:
            item = np.searchsorted(popular, np.random.random() * popular[-1], side="right")
            liking = (user_tastes[user] * item_tastes[item]).sum()
            if last[item] != user and np.random.random() < 1 / (1 + np.exp(4 - 4 * liking)):
                last[item] = user
                items[at] = item
                at += 1
                kept += 1
    return items


def made(users: int, titles: int, interactions: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """User, title and share watched: int64, int64 and float32 [about `interactions`]."""
    generator = np.random.default_rng(seed)
    activity = generator.lognormal(0, 1, users)
    counts = np.clip(np.round(activity * (interactions / activity.sum())), 1, titles // 8).astype(np.int64)
    popular = np.cumsum(generator.permutation(1 / (10 + np.arange(titles))))
    tastes = [generator.standard_normal((n, TASTES)) / TASTES**0.25 for n in (users, titles)]
    items = _watched(counts, popular, *tastes, seed)
    shares = np.clip(generator.beta(2, 1, len(items)), 0.02, 1).astype(np.float32)
    return np.repeat(np.arange(users), counts), items.astype(np.int64), shares


def objective(model: AlsModel, rows: tuple[np.ndarray, ...]) -> float:
    """Ours, at these item factors and the users that follow from them."""
    users, items, shares = rows
    block = lay_out(users, items, shares)
    axes, diagonal = axes_of(model.item_factors.T @ model.item_factors)
    factors = model.item_factors @ axes
    own = factors[model.positions(block.item_ids)]
    sums = solve_block(block, own, diagonal, alpha=model.alpha, regularization=model.regularization)
    ridge = model.regularization * (block.item_counts() * (own.astype(np.float64) ** 2).sum(1)).sum()
    return float(sums.objective + ridge)


def objective_of_implicit(user_factors: np.ndarray, item_factors: np.ndarray, rows, model: AlsModel) -> float:
    """What `implicit` looks for, at its own factors: the same error, and a ridge that is not scaled."""
    users, items, shares = rows
    scores = np.concatenate(
        [
            (user_factors[users[at : at + 10**6]] * item_factors[items[at : at + 10**6]]).sum(1)
            for at in range(0, len(users), 10**6)
        ]
    ).astype(np.float64)
    grams = [(factors.T @ factors).astype(np.float64) for factors in (user_factors, item_factors)]
    watched = ((1 + model.alpha * shares) * (1 - scores) ** 2 - scores**2).sum()
    ridge = model.regularization * (np.trace(grams[0]) + np.trace(grams[1]))
    return float((grams[0] * grams[1]).sum() + watched + ridge)


def on_spark(master: str, plays: Path, learn: Callable[..., AlsModel], configuration: AlsConfiguration):
    """The model and the seconds that learning took in a fresh session."""
    with spark_session("bench_als", master, "4g") as spark:
        _is_there(spark)
        started = time.monotonic()
        model = learn(spark.read.parquet(str(plays)), configuration)
        return model, time.monotonic() - started


def on_one_core(words: list[str]) -> float:
    """Seconds of ours with `local[1]`, in a process that has one core; `words` are what we were asked."""
    # The second turn: the JVM here has run before too.
    command = [sys.executable, __file__, *words, "--peers", "", "--repeats", "2", "--one-core"]
    said = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    return float(json.loads(said.splitlines()[-1])["all_seconds"]["ours"][-1])


def _is_there(spark: SparkSession) -> None:
    spark.range(1).collect()


def by_implicit(rows, titles: int, configuration: AlsConfiguration, threads: int):
    """The peer, its seconds, and its own objective."""
    users, items, shares = rows
    matrix = csr_matrix((1 + configuration.alpha * shares, (users, items)), shape=(users[-1] + 1, titles))
    peer = AlternatingLeastSquares(
        factors=configuration.factors,
        regularization=configuration.regularization,
        alpha=1.0,
        iterations=configuration.iterations,
        num_threads=threads,
        random_state=configuration.seed,
    )
    # Its own advice: threads of BLAS beside its own wait for one another.
    with threadpool_limits(1, user_api="blas"):
        started = time.monotonic()
        peer.fit(matrix, show_progress=False)
        seconds = time.monotonic() - started
    model = AlsModel(np.arange(titles), peer.item_factors, configuration.regularization, configuration.alpha)
    return model, seconds, objective_of_implicit(peer.user_factors, peer.item_factors, rows, model)


def main() -> None:
    """Measure and say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--titles", type=int, default=8000)
    parser.add_argument("--interactions", type=int, default=6_800_000)
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--iterations", type=int, default=15)
    parser.add_argument("--alpha", type=float, default=AlsConfiguration.alpha)
    parser.add_argument("--regularization", type=float, default=AlsConfiguration.regularization)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3, help="MLlib runs once")
    parser.add_argument("--peers", default=",".join(PEERS), help="which of " + ", ".join(PEERS))
    parser.add_argument("--one-core", action="store_true", help="hold all of it on one core, with local[1]")
    given = parser.parse_args()
    if given.one_core:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    peers = given.peers.split(",") if given.peers else []
    if unknown := set(peers) - set(PEERS):
        parser.error(f"there is no peer {', '.join(unknown)}")
    configuration = AlsConfiguration(given.factors, given.iterations, given.regularization, given.alpha, given.seed)
    rows = made(given.users, given.titles, given.interactions, given.seed)
    seconds: dict[str, list[float]] = {}
    models: dict[str, AlsModel] = {}
    told: dict[str, object] = {}

    def note(name: str, model: AlsModel | None, took: float) -> None:
        if model is not None:
            models[name] = model
        seconds.setdefault(name, []).append(took)
        print(f"{took:7.1f} s  {name}", flush=True)

    with tempfile.TemporaryDirectory(prefix="marquee-bench-als-") as folder:
        plays = Path(folder) / "plays.parquet"
        pq.write_table(pa.table(dict(zip(("user_id", "item_id", "watched_share"), rows, strict=True))), plays)
        for turn in range(given.repeats):
            note("ours", *on_spark("local[1]" if given.one_core else "local[2]", plays, train_als, configuration))
            if "implicit" in peers:
                model, took, own = by_implicit(rows, given.titles, configuration, 2)
                note("implicit", model, took)
                told["objective_of_implicit"] = own
            if "implicit1" in peers:
                model, took, _ = by_implicit(rows, given.titles, configuration, 1)
                note("implicit1", model, took)
            if "local1" in peers:
                model, took = on_spark("local[1]", plays, train_als, configuration)
                note("local1", model, took)
                same = model.item_factors.tobytes() == models["ours"].item_factors.tobytes()
                told["same_bytes_on_one_core"] = same and told.get("same_bytes_on_one_core", True)
            if "one_core" in peers:
                note("one_core", None, on_one_core(sys.argv[1:]))
            if "mllib" in peers and not turn:
                note("mllib", *on_spark("local[2]", plays, train_with_mllib, configuration))
    medians = {name: statistics.median(took) for name, took in seconds.items()}
    ours = medians["ours"]
    told |= {
        "seconds": round(ours, 2),
        "ratio_to_implicit": round(ours / medians["implicit"], 3) if "implicit" in peers else None,
        "ratio_to_mllib": round(ours / medians["mllib"], 3) if "mllib" in peers else None,
        "speedup_local2": round(medians["local1"] / ours, 3) if "local1" in peers else None,
        "speedup_of_second_core": round(medians["one_core"] / ours, 3) if "one_core" in peers else None,
        "speedup_of_implicit": (
            round(medians["implicit1"] / medians["implicit"], 3) if {"implicit", "implicit1"} <= set(peers) else None
        ),
        "all_seconds": {name: [round(value, 2) for value in took] for name, took in seconds.items()},
    }
    values = {name: objective(model, rows) for name, model in models.items()}
    told["objective"] = values
    told["objective_to_ours"] = {name: round(value / values["ours"], 5) for name, value in values.items()}
    told["sizes"] = {"users": given.users, "titles": given.titles, "interactions": len(rows[0])}
    told["configuration"] = vars(configuration)
    told["seed"] = given.seed
    told["machine"] = machine()
    told["versions"] = versions("numpy", "numba", "pyspark", "implicit", "pyarrow")
    print(json.dumps(told))


if __name__ == "__main__":
    sys.exit(main())
