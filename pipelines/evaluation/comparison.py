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
from pipelines.catalogue import Catalogue
from pipelines.evaluation import metrics
from pipelines.evaluation.bootstrap import Interval, interval
from pipelines.evaluation.gate import Held
from pipelines.histories import Histories, Popularity

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
class Measures:
    """What lists are measured by, beside the truth.

    `popularity`: of all titles before the truth. `user_count`: users with a history. `catalogue`: of the day.
    """

    popularity: Popularity
    user_count: int
    catalogue: Catalogue


# What each part should be better than: retrieval by towers than by ALS, that than most popular; a stage than the last.
_NEXT_BETTER = (("most_popular", "als"), ("als", "towers"), ("als", "retrieved"), ("retrieved", "ranked"))
# Finding titles that nobody had played before: a segment of what is to be found, not of users.
NEW_TITLES = "new_titles"


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


def whole_lists(ranking: NDArray[np.int64], measures: Measures) -> dict[str, float]:
    """What is said of all lists of a model together, over their first 20 places."""
    shown, popularity, catalogue = ranking[:, :20], measures.popularity, measures.catalogue
    positions = catalogue.positions(shown)
    return {
        "coverage_at_20": metrics.coverage(shown, int(catalogue.may_be_shown.sum())),
        "head_share_at_20": metrics.head_share(shown, popularity.most_popular()[:100]),
        "novelty_at_20": metrics.novelty(shown, popularity.item_ids, popularity.play_counts, measures.user_count),
        "diversity_at_20": metrics.intra_list_diversity(positions, catalogue.has_genre),
        "genres_at_20": float(metrics.genres_at(positions, catalogue.main_genres, 20).mean()) if len(shown) else 0.0,
    }


def finding_new(truth: Histories, popularity: Popularity) -> Histories:
    """The truth with those titles alone that nobody had played before; users stay, be it with nothing."""
    return truth.where(~np.isin(truth.item_ids, popularity.item_ids[popularity.play_counts > 0]))


def compare(
    judged: Mapping[str, Judged],
    truth: Histories,
    histories: Histories,
    measures: Measures,
    *,
    run_id: str,
    day: date,
    resamples: int,
    seed: int,
) -> pa.Table:
    """Rows of EVALUATIONS: each model by metric and segment, and the paired difference of another to it.

    Each is held against the challenger; and parts of the challenger against the next better part, where both are there.

    Args:
        judged: lists by role; one role is `challenger`.
        truth: what is to be found, of the users judged on, U.
        histories: what they had watched before, by which they are told apart in segments.
        measures: what lists are measured by beside the truth.
        run_id: the run that compares.
        day: its day.
        resamples: bootstrap resamples of users.
        seed: of the bootstrap.
    """
    lengths = np.diff(histories.of(truth.user_ids).offsets)
    new = finding_new(truth, measures.popularity)
    segments = {name: (lengths >= low) & (lengths <= high) for name, (low, high) in _SEGMENTS.items()}
    segments[NEW_TITLES] = np.diff(new.offsets) > 0
    in_all = {role: per_user(lists.ranking, truth) for role, lists in judged.items()}
    in_new = {role: per_user(lists.ranking, new) for role, lists in judged.items()}
    rows = []
    pairs = [(role, "challenger") for role in judged]
    pairs += [(role, better) for role, better in _NEXT_BETTER if role in judged and better in judged]
    for role, against in pairs:
        one = judged[role]
        here = {"run_id": run_id, "run_day": day, "role": role, "model_set": one.model_set, "against": against}
        for segment, chosen in segments.items():
            values = in_new if segment == NEW_TITLES else in_all
            for metric, value in values[role].items():
                own = interval(value[chosen], resamples, seed)
                apart = interval((values[against][metric] - value)[chosen], resamples, seed)
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
        if against != "challenger":
            continue
        for metric, figure in whole_lists(one.ranking, measures).items():
            rows.append({**here, "metric": metric, "segment": "all", "user_count": len(lengths), "value": figure})
    return pa.Table.from_pylist(rows, arrow_schema(EVALUATIONS))


def held_against(rows: Sequence[Mapping[str, Any]], metric: str) -> list[Held]:
    """What the gate asks of recorded evaluations: the challenger held against the champion, or else most popular."""
    wanted = {"metric": metric, "segment": "all", "against": "challenger"}
    of_metric = {row["role"]: row for row in rows if wanted.items() <= row.items()}
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
