"""The ranker beside its peers: rows a second it learns and scores, and how good its order is, all on the same rows.

    make bench-ranker                                     3,000 users, 1,200 titles, 30 days, made by the jobs
    python tests/benchmarks/ranker.py --home work/demo --users 4000 --titles 1600 --days 45 --week 2026-06-27

A weekly run of a simulated service assembles its models; of the days that they have not learned from (14), the ranker
and its peers (`ranker_peers.py`: a plain DLRM of the same size, a logistic regression, boosted trees) learn from all
but the last, with the same inputs, and are judged on the last: each head by the area under its ROC curve and by its
log loss over the examples of the day, and the order that the policy's weights make of the same candidates by
ndcg_at_20, of users who went on to watch something new to them. The policy was not tuned for any of them.

Rows a second are medians of turns. Of learning: one pass with all that belongs to it (statistics, a held-out loss,
ours also its calibration), all threads. Of scoring: from what is known of users and titles to scores of candidates, one
thread: ours by `ranker_scoring`, the plain DLRM from the same features, made pair by pair. `..._inputs...` are those
from features made before. The share of the matrix-multiply rate counts the products of the network as it is defined,
three times in learning, beside one large product of float32 with as many threads. The last line is one JSON object.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from machine import machine, matmul_rate, versions
from numpy.typing import NDArray
from ranker_peers import Trees, logistic_regression, plain_dlrm
from simulated_service import FUNNEL, Judge, Night, beside, figure, run_jobs, set_of, weekly_jobs
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from feature_defs.ranking import CATEGORICALS, DENSE_FEATURES, HEADS, POLICY_WEIGHTS
from pipelines.evaluation.comparison import CANDIDATES, per_user
from pipelines.labelled_days import labelled_day, read_known
from pipelines.largest import largest
from pipelines.lists.candidates import Candidates, padded
from pipelines.lists.funnel import in_blocks, knowledge_of, retrieve
from pipelines.models.model_set import ModelSet
from pipelines.models.ranker_configuration import RankerConfiguration
from pipelines.models.ranker_inputs import Knowledge, RankerInputs, joined, pair_inputs, usual_context
from pipelines.models.ranker_scoring import score
from pipelines.models.ranker_training import train
from pipelines.models.torch_threads import one_torch_thread
from pipelines.simulation.configuration import WorldConfiguration

CONFIGURATION = RankerConfiguration()
HOUR = 20
# Of which turns of learning are: a row costs the same in any number of them.
TURN_ROWS = 100_000
# Inputs [N] to predictions [N, H].
Predict = Callable[[RankerInputs], NDArray[np.float32]]


@dataclass(frozen=True)
class Rows:
    """Examples of some days: inputs, labels float32 [N, H], days datetime64 [N]."""

    inputs: RankerInputs
    labels: NDArray[np.float32]
    days: NDArray[np.datetime64]

    def where(self, keep: NDArray[np.bool_]) -> "Rows":
        return Rows(self.inputs.rows(keep), self.labels[keep], self.days[keep])


@dataclass(frozen=True)
class Block:
    """Users of the judged day: what is known of them, and their candidates."""

    knowledge: Knowledge
    found: Candidates

    def inputs(self, weekday: int) -> RankerInputs:
        """What the ranker reads of each candidate, as scoring has it."""
        owners, hours, weekdays = self.found.owners(), *self.moment(weekday)
        context = usual_context(self.knowledge, owners, hours, weekdays)
        return pair_inputs(self.knowledge, owners, self.found.positions, context, np.full(len(owners), -1))

    def moment(self, weekday: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        users = len(self.found.user_ids)
        return np.full(users, HOUR), np.full(users, weekday)


def main() -> None:
    """Measure and say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=3000)
    parser.add_argument("--titles", type=int, default=1200)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--home", type=Path, help="a folder of an earlier run, whose models are taken as they are")
    parser.add_argument("--week", type=date.fromisoformat, help="the day of its weekly run, where it is not the last")
    asked = parser.parse_args()
    world = WorldConfiguration(asked.users, asked.titles, asked.days, seed=asked.seed)
    week = asked.week or world.last_day
    home = asked.home or Path(tempfile.mkdtemp(prefix="marquee-bench-ranker-"))
    night = Night(home)
    started = time.monotonic()
    try:
        if not (home / "models").exists():
            run_jobs(night, weekly_jobs(world, week))
        told = measured(night, week, asked.repeats)
    finally:
        if asked.home is None:
            shutil.rmtree(home)
    told |= {
        "world": {name: getattr(asked, name) for name in ("users", "titles", "days", "seed")},
        "seconds": round(time.monotonic() - started),
        "versions": versions("numpy", "numba", "torch", "scikit-learn"),
        "machine": machine(),
    }
    print(json.dumps(told))


def measured(night: Night, week: date, repeats: int) -> dict[str, object]:
    """All figures of a night's weekly run."""
    model_set = set_of(night, week, "weekly")
    rows = labelled_rows(night, model_set, week)
    is_judged = rows.days == np.datetime64(week, "D")
    known, judged = rows.where(~is_judged), rows.where(is_judged)
    print(f"{len(known.labels):,} examples to learn from, {len(judged.labels):,} of {week} to be judged on", flush=True)
    learning = np.flatnonzero(known.days < known.days.max())
    held_out = np.flatnonzero(known.days == known.days.max())
    parts = (known.inputs, known.labels, learning, held_out)

    fits: dict[str, Callable[[], object]] = {
        "ranker": lambda: train(known.inputs, known.labels, known.days, model_set.learned_until, CONFIGURATION).ranker,
        "plain_dlrm": lambda: plain_dlrm(CONFIGURATION).fit(*parts, CONFIGURATION.epochs),
        "logistic_regression": lambda: logistic_regression().fit(*parts, CONFIGURATION.epochs),
        # Trees hold rows out themselves.
        "boosted_trees": lambda: Trees().fit(known.inputs, known.labels, np.arange(len(known.labels))),
    }
    models, seconds = {}, {}
    for name, fit in fits.items():
        begun = time.monotonic()
        models[name] = fit()
        seconds[name] = time.monotonic() - begun
        print(f"{seconds[name]:7.1f} s  {name} learned", flush=True)
    blocks = blocks_of(night, model_set, week)
    judge, weekday = blocks.judge, week.weekday()
    lists = {"retrieval_order": blocks.ranked(lambda block: -np.arange(len(block.found.positions), dtype=np.float32))}
    for name, model in models.items():
        predict = model.predict
        lists[name] = blocks.ranked(lambda block, predict=predict: worth(predict(block.inputs(weekday))))
    gains = {name: per_user(ranking, judge.truth)["ndcg_at_20"] for name, ranking in lists.items()}
    told_models: dict[str, dict[str, object]] = {"retrieval_order": {"ndcg_at_20": figure(gains["retrieval_order"])}}
    for name, model in models.items():
        told_models[name] = {
            "ndcg_at_20": figure(gains[name]),
            "train_seconds": round(seconds[name], 1),
            "heads": heads_of(model.predict(judged.inputs), judged.labels),
        }
    for name, told in told_models.items():
        print(f"  {name:<20} {told}", flush=True)
    learned = learning_rates(known, model_set.learned_until, repeats)
    scored = scoring_rates(models, blocks.all[0], weekday, repeats)
    return {
        "training_rows_per_second": round(learned["ranker"]),
        "training_share_of_matmul": round(learned["ranker"] * 3 * operations() / learned["matmul"], 3),
        "training_ratio_to_plain_dlrm": round(learned["ranker"] / learned["plain_dlrm"], 2),
        "scoring_rows_per_second": round(scored["ranker"]),
        "scoring_share_of_matmul": round(scored["ranker"] * operations() / scored["matmul"], 3),
        "scoring_ratio_to_plain_dlrm": round(scored["ranker"] / scored["plain_dlrm"], 2),
        "scoring_inputs_ratio_to_plain_dlrm": round(scored["ranker_inputs"] / scored["plain_dlrm_inputs"], 2),
        "ndcg_at_20_ratio_to": {name: beside(gains["ranker"], gains[name]) for name in gains if name != "ranker"},
        "models": told_models,
        "learned_rows_per_second": {name: round(rate) for name, rate in learned.items() if name != "matmul"},
        "scored_rows_per_second": {name: round(rate) for name, rate in scored.items() if name != "matmul"},
        "matmul_gflops": {
            "all_threads": round(learned["matmul"] / 1e9, 1),
            "one_thread": round(scored["matmul"] / 1e9, 1),
        },
        "operations_a_row": operations(),
        "examples": len(known.labels),
        "judged_examples": len(judged.labels),
        "judged_users": len(judge.truth.user_ids),
        "repeats": repeats,
    }


def labelled_rows(night: Night, model_set: ModelSet, week: date) -> Rows:
    """The examples of the days that a weekly run holds out."""
    lake = night.lake
    known = read_known(lake, week)
    days = [week - timedelta(days=number) for number in reversed(range((week - model_set.learned_until).days))]
    found = {day: labelled_day(known, model_set, day, FUNNEL, CONFIGURATION.seed) for day in days}
    there = {day: rows for day, rows in found.items() if rows is not None}
    return Rows(
        joined([rows.inputs for rows in there.values()]),
        np.concatenate([rows.labels for rows in there.values()]),
        np.concatenate([np.full(len(rows.inputs), np.datetime64(day, "D")) for day, rows in there.items()]),
    )


@dataclass(frozen=True)
class Blocks:
    """The users of the judged day and what they went on to watch."""

    judge: Judge
    all: list[Block]

    def ranked(self, score_of: Callable[[Block], NDArray[np.float32]]) -> NDArray[np.int64]:
        """Item ids by falling score of the candidates: int64 [U, 200], -1 where a list is shorter."""
        lists = []
        for block in self.all:
            positions = padded(block.found, block.found.positions, -1)
            order = largest(padded(block.found, score_of(block), -np.inf), positions.shape[1])[:, :CANDIDATES]
            at = np.where(order >= 0, np.take_along_axis(positions, np.maximum(order, 0), 1), -1)
            lists.append(np.where(at >= 0, self.judge.catalogue.item_ids[np.maximum(at, 0)], -1))
        width = max(ids.shape[1] for ids in lists)
        return np.concatenate([np.pad(ids, ((0, 0), (0, width - ids.shape[1])), constant_values=-1) for ids in lists])


def blocks_of(night: Night, model_set: ModelSet, week: date) -> Blocks:
    """The candidates of the users of the last day, by models and histories of before."""
    judge = Judge(night, week, 1)
    retrieval, (user_features, item_features) = judge.retrieval(model_set), judge.features()
    blocks = []
    for block in in_blocks(judge.past):
        knowledge = knowledge_of(model_set, retrieval, block, judge.users, user_features, item_features)
        blocks.append(Block(knowledge, retrieve(model_set, retrieval, knowledge, FUNNEL)))
    return Blocks(judge, blocks)


def worth(predictions: NDArray[np.float32]) -> NDArray[np.float32]:
    """The policy's score of predictions [N, H]."""
    return predictions @ np.array(POLICY_WEIGHTS, np.float32)


def heads_of(predictions: NDArray[np.float32], labels: NDArray[np.float32]) -> dict[str, dict[str, float | None]]:
    """Area under the ROC curve (of the watched share: watched at all) and log loss of each head."""
    found: dict[str, dict[str, float | None]] = {}
    for head, name in enumerate(HEADS):
        known = ~np.isnan(labels[:, head])
        label, likely = labels[known, head].astype(np.float64), predictions[known, head].astype(np.float64)
        likely = likely.clip(1e-6, 1 - 1e-6)
        is_so = label > 0
        has_both = 0 < is_so.sum() < len(is_so)
        loss = -(label * np.log(likely) + (1 - label) * np.log1p(-likely))
        found[name] = {
            "auc": round(float(roc_auc_score(is_so, likely)), 4) if has_both else None,
            "log_loss": round(float(loss.mean()), 5) if len(loss) else None,
        }
    return found


def operations() -> int:
    """Operations of the matrix products of one row, forwards: of the layers, and of each dot product once."""
    width, bottom, (first, second) = CONFIGURATION.width, CONFIGURATION.bottom_units, CONFIGURATION.top_units
    dense, vectors = len(DENSE_FEATURES), len(CATEGORICALS) + 1
    dots = vectors * (vectors - 1) // 2
    layers = dense * bottom + bottom * width + (width + dots) * first + first * second + (second + dense) * len(HEADS)
    return 2 * (layers + dots * width)


def learning_rates(rows: Rows, learned_until: date, repeats: int) -> dict[str, float]:
    """Rows a second of one pass of each, and operations a second of one large product; medians of turns."""
    chosen = np.zeros(len(rows.labels), np.bool_)
    chosen[np.random.default_rng(1).permutation(len(chosen))[:TURN_ROWS]] = True
    some, configuration = rows.where(chosen), replace(CONFIGURATION, epochs=1)
    is_held_out = some.days == some.days.max()
    learning, held_out = np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)
    fits: dict[str, Callable[[], object]] = {
        "ranker": lambda: train(some.inputs, some.labels, some.days, learned_until, configuration),
        "plain_dlrm": lambda: plain_dlrm(configuration).fit(some.inputs, some.labels, learning, held_out, 1),
    }
    rates: dict[str, list[float]] = {name: [] for name in (*fits, "matmul")}
    for turn in range(repeats):
        rates["matmul"].append(matmul_rate())
        for name, fit in fits.items():
            rates[name].append(len(learning) / seconds_of(fit))
        print(f"learning, turn {turn + 1}: {rounded(rates)}", flush=True)
    return {name: statistics.median(found) for name, found in rates.items()}


def scoring_rates(models: dict[str, object], block: Block, weekday: int, repeats: int) -> dict[str, float]:
    """Candidates a second of each with one thread, and operations a second of one large product; medians of turns."""
    inputs = block.inputs(weekday)
    work: dict[str, Callable[[], object]] = {
        "ranker": lambda: score(
            models["ranker"], block.knowledge, block.found.offsets, block.found.positions, *block.moment(weekday)
        ),
        "plain_dlrm": lambda: worth(models["plain_dlrm"].predict(block.inputs(weekday))),
        **{f"{name}_inputs": lambda predict=model.predict: worth(predict(inputs)) for name, model in models.items()},
    }
    rates: dict[str, list[float]] = {name: [] for name in (*work, "matmul")}
    with one_torch_thread(), threadpool_limits(1):
        for turn in range(repeats + 1):
            found = {"matmul": matmul_rate()} | {name: len(inputs) / seconds_of(run) for name, run in work.items()}
            if turn:  # in the first, code is compiled and memory grows
                for name, rate in found.items():
                    rates[name].append(rate)
    print(f"scoring: {rounded(rates)}", flush=True)
    return {name: statistics.median(found) for name, found in rates.items()}


def seconds_of(work: Callable[[], object]) -> float:
    """How long something takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def rounded(rates: dict[str, list[float]]) -> str:
    """The last of each, for people."""
    return ", ".join(f"{name} {found[-1]:,.0f}" for name, found in rates.items())


if __name__ == "__main__":
    main()
