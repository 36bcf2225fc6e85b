"""ALS beside most popular on real MovieLens: make bench-quality DATA=FOLDER

FOLDER holds `ml-100k/` and `ml-1m/`. Protocol B (leave one out, full ranking, ties count against us) on both; A (next
period) on ml-100k in weekly windows that do not overlap, users resampled with all their weeks. `implicit`'s ALS
stands beside ours as the peer. The last line is one JSON object.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import retrievers
from machine import machine, versions
from plays import Plays, read_plays
from retrieval import protocol_b

from pipelines.evaluation import metrics
from pipelines.lists.ranking import most_popular
from pipelines.models.als_training import train_als
from pipelines.spark_session import spark_session

WEEK = 7 * 86400


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
        model = train_als(spark.createDataFrame(before.table()).coalesce(1), retrievers.ALS)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    folder = parser.parse_args().data
    for name in ("ml-100k/u.data", "ml-1m/sasrec_ml-1m.txt.gz"):
        if not (folder / name).is_file():
            sys.exit(f"marquee: there is no {folder / name}: DATA names the folder that holds ml-100k/ and ml-1m/")
    with spark_session("bench_quality", "local[2]", "4g") as spark:
        small, large = read_plays(folder / "ml-100k"), read_plays(folder / "ml-1m")
        fits = {
            "most_popular": lambda plays, _: retrievers.most_popular(plays),
            "als": lambda plays, _: retrievers.als(spark, plays),
            "implicit_als": lambda plays, _: retrievers.implicit_als(plays),
        }
        result = {
            "protocol_b": {"ml-100k": protocol_b(small, fits, "test"), "ml-1m": protocol_b(large, fits, "test")},
            "protocol_a": {"ml-100k": protocol_a(spark, small)},
            "als": retrievers.ALS.__dict__,
            "versions": versions("pyspark", "implicit"),
            "machine": machine(),
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
