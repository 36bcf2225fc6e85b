"""Our two-tower and ALS beside their peers, by a named protocol: make bench-retrieval DATA=... PROTOCOL=B

A: the next period. Everything received before the last day of a simulated service is known, titles' texts and people's
profiles too; found is to be what each user newly watched to the end on that day, among the titles that may be shown.
The oracle knows what is true of the day but chance. The world is by default that of the demo.
B: leave one out. Of each user the last item is wanted, the one before is for validation (our models do not look at it),
the rest is learned from; at the test the history holds the validation item. All items not in the history are ranked. A
play is a play, whatever its rating: any may be the one that is wanted, as in the papers.
C: a random split in two files of a line a user, TRAIN and TEST; all items not learned from are ranked. The order of a
line is read as the order of plays, which says nothing there. `--make-split FOLDER --data PLAYS` makes such a pair of
any plays: of each user a fifth at random is for the test.

MODELS=two_tower,sasrec picks some. Ties count against us in B; in lists, the smaller id comes first. The last line is
one JSON object.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import numpy as np
import retrievers
import tyro
from machine import machine, versions
from next_day import next_day
from numpy.typing import NDArray
from plays import Plays, random_split, read_item_lists, read_plays, write_item_lists
from retrievers import Known, Score

from pipelines.evaluation.bootstrap import interval
from pipelines.evaluation.comparison import CANDIDATES, Measures, per_user, whole_lists
from pipelines.histories import Histories, Popularity
from pipelines.models.towers_configuration import TowersConfiguration
from pipelines.simulation.configuration import WorldConfiguration
from pipelines.spark_session import spark_session

MODELS = ("most_popular", "ease", "implicit_als", "als", "sasrec", "two_tower")
# A sequence peer has nothing to read where order says nothing, and in A it takes long beside little.
NO_SEQUENCE_PEER = tuple(name for name in MODELS if name != "sasrec")
DEFAULT_MODELS = {"A": NO_SEQUENCE_PEER, "B": MODELS, "C": NO_SEQUENCE_PEER}
# What a model is fitted by, from plays and from what is known beside them.
Fit = Callable[[Plays, Known], Score]
PAIRS = (("two_tower", "sasrec"), ("als", "most_popular"), ("two_tower", "als"), ("two_tower", "ease"))


def fitted(fits: Mapping[str, Fit], plays: Plays, known: Known):
    """Each model fitted on the plays, by its name, and the seconds it took."""
    for name, fit in fits.items():
        started = time.monotonic()
        score = fit(plays, known)
        yield name, score, round(time.monotonic() - started, 1)


def apart(gains: Mapping[str, NDArray]) -> dict[str, list[float]]:
    """Paired differences of models, each with its 95 % interval over users."""
    found = {}
    for one, other in PAIRS:
        if one in gains and other in gains:
            less = interval(gains[one] - gains[other])
            found[f"{one}_less_{other}"] = [round(value, 4) for value in (less.mean, less.low, less.high)]
    return found


def lists(score: Score, history: Histories, may_be_listed: NDArray | None = None) -> NDArray:
    """The best items of each user that are not in the history: int64 [U, 200], -1 where there are no more."""
    found = []
    for start in range(0, len(history.user_ids), 1000):
        part = history.of(history.user_ids[start : start + 1000])
        scores, items = score(part)
        at = np.searchsorted(items, part.item_ids).clip(max=len(items) - 1)
        known = items[at] == part.item_ids
        scores[part.owners()[known], at[known]] = -np.inf
        if may_be_listed is not None:
            scores[:, ~np.isin(items, may_be_listed)] = -np.inf
        best = np.argsort(-scores, axis=1, kind="stable")[:, :CANDIDATES]
        is_there = np.take_along_axis(scores, best, 1) > -np.inf
        ids = np.where(is_there, items[best], -1)
        found.append(np.pad(ids, ((0, 0), (0, CANDIDATES - ids.shape[1])), constant_values=-1))
    return np.concatenate(found)


def figures(values: Mapping[str, NDArray], chosen: NDArray | slice = slice(None)) -> dict[str, float]:
    """Means over users, with the interval of ndcg_at_20."""
    gain = interval(values["ndcg_at_20"][chosen])
    return {
        "recall_at_20": round(float(values["recall_at_20"][chosen].mean()), 4),
        "ndcg_at_20": round(gain.mean, 4),
        "ndcg_at_20_low": round(gain.low, 4),
        "ndcg_at_20_high": round(gain.high, 4),
        "hit_rate_at_200": round(float(values["hit_rate_at_200"][chosen].mean()), 4),
    }


def judged_lists(
    fits: Mapping[str, Fit],
    plays: Plays,
    known: Known,
    history: Histories,
    truth: Histories,
    may_be_listed: NDArray | None = None,
    measures: Measures | None = None,
) -> dict[str, object]:
    """Models fitted on plays, judged by the lists they make for histories of the users of the truth: A and C."""
    models: dict[str, dict[str, object]] = {}
    gains: dict[str, NDArray] = {}
    lengths = np.diff(history.offsets)
    segments = {"under_5_events": lengths < 5, "5_to_20_events": (lengths >= 5) & (lengths <= 20)}
    segments["over_20_events"] = lengths > 20
    for name, score, seconds in fitted(fits, plays, known):
        ranking = lists(score, history, may_be_listed)
        values = per_user(ranking, truth)
        gains[name] = values["ndcg_at_20"]
        models[name] = {**figures(values), "train_seconds": seconds}
        if measures is not None:
            models[name] |= {metric: round(value, 4) for metric, value in whole_lists(ranking, measures).items()}
            models[name]["segments"] = {
                segment: {"users": int(chosen.sum()), **figures(values, chosen)}
                for segment, chosen in segments.items()
                if chosen.any()
            }
        print(f"{name:<13} {models[name]}", flush=True)
    return {"users": len(truth.user_ids), "models": models, **apart(gains)}


def protocol_a(configuration: WorldConfiguration, fits: Mapping[str, Fit]) -> dict[str, object]:
    day = next_day(configuration)
    items, counts = np.unique(day.plays.item, return_counts=True)
    measures = Measures(Popularity(items, counts, counts), len(np.unique(day.plays.user)), day.known.catalogue)
    everyone = {**fits, "oracle": lambda *_: day.oracle}
    return judged_lists(everyone, day.plays, day.known, day.past, day.truth, day.known.catalogue.eligible, measures)


def protocol_c(train: Plays, test: Plays, fits: Mapping[str, Fit]) -> dict[str, object]:
    history, truth = train.histories(), test.histories()
    both = np.intersect1d(history.user_ids, truth.user_ids)
    return judged_lists(fits, train, retrievers.nothing_but_ids(train), history.of(both), truth.of(both))


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


def protocol_b(plays: Plays, fits: Mapping[str, Fit], on: str) -> dict[str, object]:
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
    for name, score, seconds in fitted(fits, training, retrievers.nothing_but_ids(training)):
        rank = ranks(score, history, wanted)
        gains[name] = gains_of(rank)
        models[name] = {**figures_b(rank), "train_seconds": seconds}
        print(f"{name:<13} {models[name]}", flush=True)
    return {"users": len(wanted), "judged_on": on, "models": models, **apart(gains)}


def main() -> None:
    """Measure and say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--protocol", choices=("A", "B", "C"), default="B")
    parser.add_argument("--data", type=Path, help="of B: a file of plays, or the folder that holds it")
    parser.add_argument("--train", type=Path, help="of C")
    parser.add_argument("--test", type=Path, help="of C")
    parser.add_argument("--make-split", type=Path, metavar="FOLDER", help="write train.txt and test.txt for C, and end")
    parser.add_argument("--users", type=int, default=4000, help="of A, as the next three")
    parser.add_argument("--titles", type=int, default=1600)
    parser.add_argument("--days", type=int, default=45)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--models", help=f"some of {','.join(MODELS)}; A and C do without sasrec unless told")
    parser.add_argument("--on", choices=("test", "validation"), default="test", help="of B; tune on validation only")
    parser.add_argument("--sasrec-minutes", type=float, default=25, help="how long the sequence peer may learn")
    asked, rest = parser.parse_known_args()
    configuration = tyro.cli(TowersConfiguration, args=rest)
    wanted = asked.models.split(",") if asked.models else DEFAULT_MODELS[asked.protocol]
    if unknown := set(wanted) - set(MODELS):
        sys.exit(f"marquee: there is no model {', '.join(sorted(unknown))}; there are {', '.join(MODELS)}")
    if asked.data is None and (asked.make_split or asked.protocol == "B"):
        sys.exit("marquee: DATA= is missing: a file of plays or the folder that holds it")
    if asked.make_split:
        make_split(read_plays(asked.data), asked.make_split, asked.seed)
        return
    if asked.protocol == "C" and None in (asked.train, asked.test):
        sys.exit("marquee: protocol C needs TRAIN= and TEST=, two files of a line a user")
    world = WorldConfiguration(asked.users, asked.titles, asked.days, seed=asked.seed)
    fits: dict[str, Fit] = {
        "most_popular": lambda plays, _: retrievers.most_popular(plays),
        "ease": lambda plays, _: retrievers.ease(plays),
        "implicit_als": lambda plays, _: retrievers.implicit_als(plays),
        "sasrec": lambda plays, _: retrievers.plain_sasrec(plays, asked.sasrec_minutes),
        "two_tower": lambda plays, known: retrievers.two_tower(plays, configuration, known),
    }
    with ExitStack() as stack:
        if "als" in wanted:
            spark = stack.enter_context(spark_session("bench_retrieval", "local[2]", "4g"))
            fits["als"] = lambda plays, _: retrievers.als(spark, plays)
        chosen = {name: fits[name] for name in MODELS if name in wanted}
        if asked.protocol == "A":
            data, found = {"simulated": asdict(world)}, protocol_a(world, chosen)
        elif asked.protocol == "B":
            data, found = str(asked.data), protocol_b(read_plays(asked.data).rated_alike(), chosen, asked.on)
        else:
            pair = read_item_lists(asked.train), read_item_lists(asked.test)
            data, found = f"{asked.train}, {asked.test}", protocol_c(*pair, chosen)
    result = {
        "protocol": asked.protocol,
        "data": data,
        **found,
        "towers": asdict(configuration),
        "versions": versions("torch", "pyspark", "implicit"),
        "machine": machine(),
    }
    print(json.dumps(result))


def make_split(plays: Plays, folder: Path, seed: int) -> None:
    """Write a random split of plays as a pair of files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in zip(("train.txt", "test.txt"), random_split(plays, 0.2, seed), strict=True):
        write_item_lists(part, folder / name)
        print(f"{folder / name}: {len(part.item):,} plays of {len(np.unique(part.user)):,} users")


if __name__ == "__main__":
    main()
