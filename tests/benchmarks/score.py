"""How fast lists are made at night, beside what the arithmetic alone would take, and the memory it takes.

    make bench-score                                              200,000 users x 8,000 titles
    python tests/benchmarks/score.py --users 20000                minutes less; the rate is the same but for the start

The whole of `pipelines.lists.scoring.list_rows`, from vectors to rows, and the packing of the rows into the bytes that
are published, over a seeded world: ALS vectors of 64, tower vectors of 96, text vectors of 384, 50 neighbours a title,
histories of some 50 titles, and a ranker of the default configuration with random weights. Beside it, in the same
process with as many threads, what nobody can do without: an exact FAISS search of 500 titles for the tower vector of a
user, and the products of the ranker's layers for 500 titles of a user, by `torch.matmul`, as the network is defined.
`ceiling_users_per_second` is 1 / (seconds of the one + seconds of the other); dot products of the ranker's vectors are
products too, and `ceiling_with_dots_users_per_second` counts them.

They take turns: some of the lists are made, then the others are measured on a part of the users, and so on. What else
the machine does slows the products, whose threads wait for one another, more than the lists. So `ratio_to_ceiling` is
that of the fastest turn to the fastest search and the fastest products, and `ratios` are those of each turn to what was
measured before and after it. `users_per_second` is of all turns, `stages` are the seconds of all threads together.
Peak memory is that of a process that does what `jobs.score_users` does for one shard: it reads the users from a lake,
makes their lists and writes them into the lake. `peak_mb_making_by_users` is what it had reached when the last list was
made, before the rows that were checked and laid down are committed. The last line is one JSON object.
"""

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "worlds"))
import faiss
import numpy as np
import pyarrow as pa
import torch
from machine import MEASURED, machine, versions
from seeded_lake import fill
from seeded_models import DAY, SeededNight, seeded_night

from feature_defs.ranking import CATEGORICALS
from feature_defs.recommendations import RECOMMENDATIONS
from pipelines.arrow_schemas import arrow_schema
from pipelines.days import end_of
from pipelines.lake import Lake
from pipelines.lists import funnel, scoring
from pipelines.lists.candidate_configuration import CandidateConfiguration
from pipelines.lists.funnel_configuration import FunnelConfiguration
from pipelines.lists.packing import pack_many
from pipelines.lists.people import in_memory, read_people
from pipelines.models.ranker import RankerNetwork
from pipelines.models.ranker_configuration import RankerConfiguration
from pipelines.shards import EVERYONE

ROOT = Path(__file__).parents[2]
CANDIDATES = CandidateConfiguration().count
# Rows multiplied at once, as `Ranker` does.
ROWS = 8192
CEILING_USERS = 8192
TURNS = 8


def main() -> None:
    """Measure and say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--titles", type=int, default=8_000)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--memory-users", type=int, nargs="*", help="default: a fourth of the users, and all of them")
    parser.add_argument("--only-memory", action="store_true", help="no rates")
    parser.add_argument("--fill-lake", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--score-lake", type=Path, help=argparse.SUPPRESS)  # what peak memory is measured of
    given = parser.parse_args()
    if given.fill_lake:
        fill(Lake(str(given.fill_lake)), seeded_night(given.users, given.titles, given.seed))
        return
    if given.score_lake:
        print(json.dumps(_score(Lake(str(given.score_lake)), given)))
        return
    sizes = given.memory_users if given.memory_users is not None else [given.users // 4, given.users]
    if given.only_memory:
        print(json.dumps(_peaks(sizes, given) | _told_of(given)))
        return
    night = seeded_night(given.users, given.titles, given.seed)
    print(f"{given.users:,} users, {given.titles:,} titles", flush=True)
    few = night.histories.of(night.histories.user_ids[:2048])
    _lists(SeededNight(**{**vars(night), "histories": few}), given.threads)  # compiled code is loaded
    _ceilings(night, given.threads)  # warms up
    alone, times, made = [_ceilings(night, given.threads)], [], []
    with _timed() as stages:
        for part in np.array_split(night.histories.user_ids, TURNS):
            some = SeededNight(**{**vars(night), "histories": night.histories.of(part)})
            started = time.perf_counter()
            lists, size = _lists(some, given.threads, stages)
            times.append(time.perf_counter() - started)
            made.append(lists)
            alone.append(_ceilings(night, given.threads))
            rates = ", ".join(f"{name} {1 / value:,.0f}" for name, value in alone[-1].items())
            print(
                f"{lists:,} lists of {size / lists:,.0f} bytes: {lists / times[-1]:,.0f} users a second; "
                f"the arithmetic alone: {rates}",
                flush=True,
            )
    lists, seconds = sum(made), sum(times)
    fastest = {name: min(one[name] for one in alone) for name in alone[0]}
    best = max(count / taken for count, taken in zip(made, times, strict=True))
    ceiling = 1 / (fastest["faiss"] + fastest["layers"])
    with_dots = 1 / sum(fastest.values())
    ratios = [
        count / taken * (before["faiss"] + after["faiss"] + before["layers"] + after["layers"]) / 2
        for count, taken, (before, after) in zip(made, times, itertools.pairwise(alone), strict=True)
    ]
    del night
    told = {
        "users_per_second": round(lists / seconds, 1),
        "best_users_per_second": round(best, 1),
        "ratio_to_ceiling": round(best / ceiling, 3),
        "ratio_to_ceiling_with_dots": round(best / with_dots, 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "ceiling_users_per_second": round(ceiling, 1),
        "ceiling_with_dots_users_per_second": round(with_dots, 1),
        "faiss_users_per_second": round(1 / fastest["faiss"], 1),
        "layers_users_per_second": round(1 / fastest["layers"], 1),
        **_peaks(sizes, given),
        "stages": {name: round(value, 2) for name, value in stages.items()},
        "seconds": round(seconds, 2),
        **_told_of(given),
    }
    print(json.dumps(told))


def _told_of(given: argparse.Namespace) -> dict[str, object]:
    return {
        "users": given.users,
        "titles": given.titles,
        "candidates": CANDIDATES,
        "threads": given.threads,
        "seed": given.seed,
        "machine": machine(),
        "versions": versions("numpy", "numba", "torch", "faiss-cpu", "pyarrow", "duckdb", "deltalake"),
    }


def _lists(night: SeededNight, threads: int, stages: dict[str, float] | None = None) -> tuple[int, int]:
    """Make and pack all lists; how many there are, and their bytes."""
    batches = scoring.list_rows(
        "run",
        "0/1",
        night.model_set,
        night.retrieval,
        in_memory(night.histories, night.users, night.user_features),
        night.item_features,
        DAY,
        FunnelConfiguration(),
        threads,
    )
    count = size = 0
    for batch in batches:
        started = time.perf_counter()
        for _, data in pack_many(batch, generated_at=end_of(DAY)):
            count += 1
            size += len(data)
        if stages is not None:
            stages["pack"] += time.perf_counter() - started
    return count, size


@contextmanager
def _timed() -> Iterator[dict[str, float]]:
    """Seconds of each stage, of all threads together."""
    stages: dict[str, float] = defaultdict(float)
    places = [
        (scoring, "knowledge_of", "know"),
        (funnel, "retrieve", "retrieve"),
        (funnel, "score", "rank"),
        (funnel, "diversify", "diversify"),
        (funnel, "explained", "explain"),
        (scoring, "recommendation_rows", "rows"),
    ]
    kept = [(module, name, getattr(module, name)) for module, name, _ in places]

    def timing(function: Callable[..., object], stage: str) -> Callable[..., object]:
        def timed(*arguments: object) -> object:
            started = time.perf_counter()
            result = function(*arguments)
            stages[stage] += time.perf_counter() - started
            return result

        return timed

    for module, name, stage in places:
        setattr(module, name, timing(getattr(module, name), stage))
    try:
        yield stages
    finally:
        for module, name, function in kept:
            setattr(module, name, function)


def _ceilings(night: SeededNight, threads: int) -> dict[str, float]:
    """Seconds a user of an exact search, of the ranker's layers and of the dot products of its vectors."""
    users = min(CEILING_USERS, len(night.histories.user_ids))
    vectors = night.model_set.towers.encode_users(night.histories.of(night.histories.user_ids[:users]))
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(night.retrieval.tower_items)
    ranker = RankerNetwork(RankerConfiguration())
    linear = [module for module in ranker.modules() if isinstance(module, torch.nn.Linear)]
    shapes = [(layer.in_features, layer.out_features) for layer in linear]
    layers = [(torch.randn(ROWS, before), torch.randn(after, before)) for before, after in shapes]
    embedded = torch.randn(ROWS, len(CATEGORICALS) + 1, ranker.embedding.embedding_dim)
    # Enough rows for a steady figure; each product costs the same every time.
    turns = max(1, users // 4 * CANDIDATES // ROWS)
    kept = faiss.omp_get_max_threads(), torch.get_num_threads()
    faiss.omp_set_num_threads(threads)
    torch.set_num_threads(threads)

    def search() -> None:
        index.search(vectors, min(CANDIDATES, index.ntotal))

    def multiply() -> None:
        for _ in range(turns):
            for rows, weights in layers:
                torch.matmul(rows, weights.T)

    def dot() -> None:
        for _ in range(turns):
            torch.matmul(embedded, embedded.transpose(1, 2))

    found = {}
    multiplied = turns * ROWS / CANDIDATES
    for name, work, many in (("faiss", search, users), ("layers", multiply, multiplied), ("dots", dot, multiplied)):
        started = time.perf_counter()
        work()
        found[name] = (time.perf_counter() - started) / many
    faiss.omp_set_num_threads(kept[0])
    torch.set_num_threads(kept[1])
    return found


def _score(lake: Lake, given: argparse.Namespace) -> dict[str, float]:
    """Make and write the lists of all users of a lake; the peak memory, in MB, before the commit and after it."""
    night = seeded_night(64, given.titles, given.seed)
    peak = {}
    batches = scoring.list_rows(
        "run",
        "0/1",
        night.model_set,
        night.retrieval,
        read_people(lake, DAY, EVERYONE),
        night.item_features,
        DAY,
        FunnelConfiguration(),
        given.threads,
    )

    def made() -> Iterator[pa.RecordBatch]:
        yield from batches
        peak["making"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    rows = pa.RecordBatchReader.from_batches(arrow_schema(RECOMMENDATIONS), made())
    lake.replace(RECOMMENDATIONS, rows, DAY, where={"shard": "0/1"})
    return peak


def _peaks(sizes: list[int], given: argparse.Namespace) -> dict[str, object]:
    """Peak memory by number of users, in MB."""
    making, whole = {}, {}
    for users in sizes:
        with tempfile.TemporaryDirectory(prefix="marquee-bench-score-") as folder:
            _run([], users, given, "--fill-lake", folder)
            found = _run([sys.executable, "-c", MEASURED], users, given, "--score-lake", folder)
        made, peak = (json.loads(line) for line in found[-2:])
        making[str(users)], whole[str(users)] = round(made["making"], 1), round(peak["peak_mb"], 1)
        print(
            f"peak memory for {users:,} users: {making[str(users)]} MB making, {whole[str(users)]} MB all", flush=True
        )
    return {
        "peak_mb": max(whole.values(), default=None),
        "peak_mb_by_users": whole,
        "peak_mb_making_by_users": making,
    }


def _run(before: list[str], users: int, given: argparse.Namespace, *arguments: str) -> list[str]:
    command = [*before, sys.executable, __file__, "--users", str(users), "--titles", str(given.titles)]
    command += ["--threads", str(given.threads), "--seed", str(given.seed), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True)
    if ended.returncode:
        sys.exit(ended.stdout + ended.stderr)
    return ended.stdout.splitlines()


if __name__ == "__main__":
    main()
