"""ALS beside most popular on real MovieLens: make bench-quality DATA=FOLDER

FOLDER holds `ml-100k/` and `ml-1m/`. Protocol B (leave one out, full ranking, ties count against us) on both; A (next
period) on ml-100k in weekly windows that do not overlap, users resampled with all their weeks. `implicit`'s ALS
stands beside ours as the peer. The last line is one JSON object.
"""

import argparse
import gzip
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import implicit
import numpy as np
import pyspark
import scipy.sparse
from numpy.typing import NDArray

from pipelines.evaluation import metrics
from pipelines.evaluation.bootstrap import interval
from pipelines.histories import Histories
from pipelines.lists.ranking import most_popular
from pipelines.models.als import AlsConfiguration, AlsModel
from pipelines.models.als_training import train_als
from pipelines.spark_session import spark_session

CONFIGURATION = AlsConfiguration()
PEER_ALPHA = 10.0
SHARES = np.array([0, 0.1, 0.3, 0.6, 0.9, 1.0], np.float32)  # by rating, as the warehouse import has it
WEEK = 7 * 86400


class Plays:
    """Plays sorted by user and time: user, item, share and (where known) seconds."""

    def __init__(self, user: NDArray, item: NDArray, share: NDArray, seconds: NDArray | None = None) -> None:
        self.user, self.item, self.share, self.seconds = user, item, share, seconds

    def where(self, keep: NDArray) -> "Plays":
        seconds = None if self.seconds is None else self.seconds[keep]
        return Plays(self.user[keep], self.item[keep], self.share[keep], seconds)

    def is_last(self) -> NDArray:
        return np.append(self.user[1:] != self.user[:-1], True)

    def histories(self) -> Histories:
        ids, starts = np.unique(self.user, return_index=True)
        return Histories(ids, np.append(starts, len(self.user)), self.item, self.share)


def ml_100k(folder: Path) -> Plays:
    rows = np.loadtxt(folder / "u.data", dtype=np.int64)
    rows = rows[np.lexsort((np.arange(len(rows)), rows[:, 3], rows[:, 0]))]  # file order within ties
    return Plays(rows[:, 0], rows[:, 1], SHARES[rows[:, 2]], rows[:, 3])


def ml_1m(folder: Path) -> Plays:
    with gzip.open(folder / "sasrec_ml-1m.txt.gz") as lines:
        rows = np.loadtxt(lines, dtype=np.int64)
    return Plays(rows[:, 0], rows[:, 1], np.ones(len(rows), np.float32))


def our_als(spark, plays: Plays) -> AlsModel:
    columns = {"user_id": plays.user, "item_id": plays.item, "watched_share": plays.share}
    import pandas as pd

    return train_als(spark.createDataFrame(pd.DataFrame(columns)).coalesce(1), CONFIGURATION)


def by_peer(plays: Plays) -> Callable[[Histories], tuple[NDArray, NDArray]]:
    """`implicit`'s ALS with our width, its own confidence and regularisation, and its own encoding of a history."""
    items = np.unique(plays.item)

    def matrix(histories: Histories) -> scipy.sparse.csr_matrix:
        at = np.searchsorted(items, histories.item_ids).clip(max=len(items) - 1)
        known = items[at] == histories.item_ids
        values = 1 + PEER_ALPHA * histories.shares[known]
        shape = (len(histories.user_ids), len(items))
        return scipy.sparse.csr_matrix((values, (histories.owners()[known], at[known])), shape)

    model = implicit.als.AlternatingLeastSquares(
        CONFIGURATION.factors, regularization=1.0, alpha=1.0, iterations=15, random_state=1, num_threads=2
    )
    model.fit(matrix(plays.histories()), show_progress=False)

    def score(history: Histories) -> tuple[NDArray, NDArray]:
        users = model.recalculate_user(np.arange(len(history.user_ids)), matrix(history))
        return np.asarray(users @ model.item_factors.T), items

    return score


def leave_one_out(
    score: Callable[[Histories], tuple[NDArray, NDArray]], history: Histories, wanted: NDArray
) -> NDArray:
    """The rank (from 0) of each user's wanted item among all items not in the history; ties count against us."""
    scores, items = score(history)
    at = np.searchsorted(items, wanted).clip(max=len(items) - 1)
    is_known = items[at] == wanted
    seen = np.searchsorted(items, history.item_ids).clip(max=len(items) - 1)
    known = items[seen] == history.item_ids
    scores[history.owners()[known], seen[known]] = -np.inf
    own = scores[np.arange(len(wanted)), at]
    rank = (scores >= own[:, None]).sum(1) - 1
    return np.where(is_known, rank, len(items))


def by_als(model: AlsModel) -> Callable[[Histories], tuple[NDArray, NDArray]]:
    return lambda history: (model.encode(history) @ model.item_factors.T, model.item_ids)


def by_plays(plays: Plays) -> Callable[[Histories], tuple[NDArray, NDArray]]:
    items, counts = np.unique(plays.item, return_counts=True)
    return lambda history: (np.tile(counts.astype(np.float32), (len(history.user_ids), 1)), items)


def figures_b(rank: NDArray) -> dict[str, object]:
    gain = np.where(rank < 10, 1 / np.log2(rank + 2), 0.0)
    found = interval(gain)
    rates = {f"hit_rate_at_{k}": round(float((rank < k).mean()), 4) for k in (10, 50, 200)}
    return {
        **rates,
        "ndcg_at_10": round(found.mean, 4),
        "ndcg_at_10_low": round(found.low, 4),
        "ndcg_at_10_high": round(found.high, 4),
    }


def protocol_b(spark, plays: Plays, name: str) -> dict[str, object]:
    is_last = plays.is_last()
    before, last = plays.where(~is_last), plays.where(is_last)
    history = before.histories()
    training = before.where(~before.is_last())  # the validation item is in the history, not in training
    models: dict[str, dict[str, object]] = {}
    ranks = {}
    for model, fit in (
        ("most_popular", lambda: by_plays(training)),
        ("als", lambda: by_als(our_als(spark, training))),
        ("implicit_als", lambda: by_peer(training)),
    ):
        started = time.monotonic()
        score = fit()
        seconds = round(time.monotonic() - started, 1)
        ranks[model] = leave_one_out(score, history, last.item)
        models[model] = {**figures_b(ranks[model]), "train_seconds": seconds}
        print(f"B {name:<8} {model:<13} {models[model]}", flush=True)
    gains = {model: np.where(rank < 10, 1 / np.log2(rank + 2), 0.0) for model, rank in ranks.items()}
    apart = interval(gains["als"] - gains["most_popular"])
    return {"users": len(last.item), "models": models, "als_less_most_popular": _rounded(apart)}


def protocol_a(spark, plays: Plays) -> dict[str, object]:
    """Weekly windows after the first 80 % of plays; a user's figure is summed over weeks, and users are resampled."""
    cut = int(np.sort(plays.seconds)[int(0.8 * len(plays.seconds))])
    sums: dict[str, dict[int, list[float]]] = {"most_popular": {}, "als": {}}
    weeks = []
    for start in range(cut, int(plays.seconds.max()) + 1 - WEEK, WEEK):
        before = plays.where(plays.seconds < start)
        week = plays.where((plays.seconds >= start) & (plays.seconds < start + WEEK) & (plays.share >= 0.8))
        history, later = before.histories(), week.histories()
        past = history.of(later.user_ids)
        seen = np.isin(later.owners() << 32 | later.item_ids, past.owners() << 32 | past.item_ids)
        truth = later.where(~seen)
        truth = truth.of(truth.user_ids[(np.diff(truth.offsets) > 0) & (np.diff(past.offsets) > 0)])
        past = history.of(truth.user_ids)
        items, counts = np.unique(before.item, return_counts=True)
        popular = items[np.lexsort((items, -counts))]
        model = our_als(spark, before)
        scores = model.encode(past) @ model.item_factors.T
        scores[past.owners(), model.positions(past.item_ids)] = -np.inf
        lists = {
            "most_popular": most_popular(past, popular, items, 20),
            "als": model.item_ids[np.argsort(-scores, axis=1, kind="stable")[:, :20]],
        }
        for name, ranking in lists.items():
            value = metrics.ndcg_at(metrics.hits(ranking, truth), np.diff(truth.offsets), 20)
            for user, one in zip(truth.user_ids.tolist(), value.tolist(), strict=True):
                sums[name].setdefault(user, []).append(one)
        weeks.append(len(truth.user_ids))
    users = sorted(sums["als"])
    total = {name: np.array([[sum(of[user]), len(of[user])] for user in users]) for name, of in sums.items()}
    generator = np.random.default_rng(1)
    drawn = generator.integers(0, len(users), (2000, len(users)))
    means = {name: values[drawn, 0].sum(1) / values[drawn, 1].sum(1) for name, values in total.items()}
    result: dict[str, object] = {"weeks": len(weeks), "users_a_week": weeks, "users": len(users), "models": {}}
    for name, values in total.items():
        low, high = np.quantile(means[name], [0.025, 0.975])
        result["models"][name] = {  # type: ignore[index]
            "ndcg_at_20": round(float(values[:, 0].sum() / values[:, 1].sum()), 4),
            "low": round(float(low), 4),
            "high": round(float(high), 4),
        }
        print(f"A ml-100k  {name:<13} {result['models'][name]}", flush=True)  # type: ignore[index]
    low, high = np.quantile(means["als"] - means["most_popular"], [0.025, 0.975])
    gap = result["models"]["als"]["ndcg_at_20"] - result["models"]["most_popular"]["ndcg_at_20"]  # type: ignore[index]
    result["als_less_most_popular"] = {
        "mean": round(gap, 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
    }
    return result


def _rounded(found) -> dict[str, float]:
    return {"mean": round(found.mean, 4), "low": round(found.low, 4), "high": round(found.high, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    folder = parser.parse_args().data
    for name in ("ml-100k/u.data", "ml-1m/sasrec_ml-1m.txt.gz"):
        if not (folder / name).is_file():
            sys.exit(f"marquee: there is no {folder / name}: DATA names the folder that holds ml-100k/ and ml-1m/")
    with spark_session("bench_quality", "local[2]", "4g") as spark:
        small, large = ml_100k(folder / "ml-100k"), ml_1m(folder / "ml-1m")
        result = {
            "protocol_b": {"ml-100k": protocol_b(spark, small, "ml-100k"), "ml-1m": protocol_b(spark, large, "ml-1m")},
            "protocol_a": {"ml-100k": protocol_a(spark, small)},
            "als": CONFIGURATION.__dict__,
            "versions": {
                "python": platform.python_version(),
                "pyspark": pyspark.__version__,
                "implicit": implicit.__version__,
            },
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
