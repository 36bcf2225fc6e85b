"""A challenger beside its references, on days none of them learned from and with the same histories for all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_defs.record import EVALUATIONS
from pipelines.arrow_schemas import arrow_schema
from pipelines.evaluation import metrics
from pipelines.evaluation.bootstrap import Interval, interval
from pipelines.evaluation.gate import Held
from pipelines.histories import Histories

CANDIDATES = 200
_SEGMENTS: dict[str, tuple[int, int]] = {
    "all": (0, 2**31),
    "under_5_events": (0, 4),
    "5_to_20_events": (5, 20),
    "over_20_events": (21, 2**31),
}


@dataclass(frozen=True)
class Judged:
    """Lists of one model for the users of the truth: int64 [U, 200]; `model_set` is its digest, if it is one."""

    ranking: NDArray[np.int64]
    model_set: str | None = None


@dataclass(frozen=True)
class Catalogue:
    """What whole lists are measured by."""

    size: int
    most_popular: NDArray[np.int64]
    item_ids: NDArray[np.int64]
    play_counts: NDArray[np.int64]
    user_count: int
    genres: Mapping[int, frozenset[str]]


def new_to_each(truth: Histories, histories: Histories, complete_share: float) -> Histories:
    """What users watched to the end in the truth and had never played before; users without any are left out."""
    before = histories.of(truth.user_ids)
    known = before.owners() << 32 | before.item_ids
    keep = (truth.shares >= complete_share) & ~np.isin(truth.owners() << 32 | truth.item_ids, known)
    kept = truth.where(keep)
    return kept.of(kept.user_ids[np.diff(kept.offsets) > 0])


def per_user(ranking: NDArray[np.int64], truth: Histories) -> dict[str, metrics.PerUser]:
    """The metrics of protocol A for each user of the truth: float64 [U] each."""
    counts = np.diff(truth.offsets)
    found = metrics.hits(ranking, truth)
    return {
        "ndcg_at_20": metrics.ndcg_at(found, counts, 20),
        "recall_at_20": metrics.recall_at(found, counts, 20),
        "hit_rate_at_200": metrics.hit_rate_at(found, CANDIDATES),
    }


def whole_lists(ranking: NDArray[np.int64], catalogue: Catalogue) -> dict[str, float]:
    """What is said of all lists of a model together, over their first 20 places."""
    shown = ranking[:, :20]
    return {
        "coverage_at_20": metrics.coverage(shown, catalogue.size),
        "head_share_at_20": metrics.head_share(shown, catalogue.most_popular[:100]),
        "novelty_at_20": metrics.novelty(shown, catalogue.item_ids, catalogue.play_counts, catalogue.user_count),
        "diversity_at_20": metrics.intra_list_diversity(shown, dict(catalogue.genres)),
    }


def compare(
    judged: Mapping[str, Judged],
    truth: Histories,
    histories: Histories,
    catalogue: Catalogue,
    *,
    run_id: str,
    day: date,
    resamples: int,
    seed: int,
) -> pa.Table:
    """Rows of EVALUATIONS: each model by metric and segment, and the challenger's paired difference to it.

    Args:
        judged: lists by role; one role is `challenger`.
        truth: what is to be found, of the users judged on, U.
        histories: what they had watched before, by which they are told apart in segments.
        catalogue: what whole lists are measured by.
        run_id: the run that compares.
        day: its day.
        resamples: bootstrap resamples of users.
        seed: of the bootstrap.
    """
    lengths = np.diff(histories.of(truth.user_ids).offsets)
    values = {role: per_user(one.ranking, truth) for role, one in judged.items()}
    rows = []
    for role, one in judged.items():
        here = {"run_id": run_id, "run_day": day, "role": role, "model_set": one.model_set}
        for segment, (low, high) in _SEGMENTS.items():
            chosen = (lengths >= low) & (lengths <= high)
            for metric, value in values[role].items():
                own = interval(value[chosen], resamples, seed)
                apart = interval((values["challenger"][metric] - value)[chosen], resamples, seed)
                rows.append(
                    {
                        **here,
                        "metric": metric,
                        "segment": segment,
                        "user_count": int(chosen.sum()),
                        "value": own.mean,
                        "low": own.low,
                        "high": own.high,
                        "difference": apart.mean,
                        "difference_low": apart.low,
                        "difference_high": apart.high,
                    }
                )
        for metric, figure in whole_lists(one.ranking, catalogue).items():
            rows.append({**here, "metric": metric, "segment": "all", "user_count": len(lengths), "value": figure})
    return pa.Table.from_pylist(rows, arrow_schema(EVALUATIONS))


def held_against(rows: Sequence[Mapping[str, Any]], metric: str) -> list[Held]:
    """What the gate asks of recorded evaluations: the challenger held against the champion, or else most popular."""
    of_metric = {row["role"]: row for row in rows if row["metric"] == metric and row["segment"] == "all"}
    reference = next((role for role in ("champion", "most_popular") if role in of_metric), None)
    if reference is None:
        return []
    row = of_metric[reference]
    return [
        Held(
            reference,
            row["user_count"],
            Interval(row["value"], row["low"], row["high"]),
            Interval(row["difference"], row["difference_low"], row["difference_high"]),
        )
    ]
