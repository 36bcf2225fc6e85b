"""Which titles are shown: by creator, language, origin and age, against what there is and what is wanted.

What is wanted are the titles that users went on to watch. Of a month as served that knows only what was shown; where
places were explored, each title watched there counts by the inverse of its propensity instead, as if every title had
been shown alike (inverse propensity scoring, self-normalised: shares are of the same weights).

Shapes: U users, C classes of titles, I titles.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_defs.audit_policy import AuditedExposure, AuditPolicy
from pipelines.audit.metrics import (
    PAGE,
    Values,
    class_sums,
    exploration_weights,
    list_rows,
    one_hot,
    watched_sums,
)
from pipelines.audit.subjects import TIERS, Subjects, tiers
from pipelines.errors import DataError
from pipelines.evaluation.metrics import coverage
from pipelines.sorted_ids import positions_among

_HEAD = 100
_HEAD_AMONG = 10
SMALL = "small classes"


@dataclass(frozen=True)
class Exposure:
    """How much of what is shown, wanted and there belongs to each class of titles.

    `shown`: float64 [U, C], places by class, discounted by 1 / log2(place + 1) (Singh and Joachims, 2018).
    `wanted`: float64 [U, C]. `catalogue_shares`: float64 [C], of the titles that may be shown.
    `wanted_counts`: int64 [C], titles watched that this is known from.
    """

    audited: AuditedExposure
    names: tuple[str, ...]
    shown: Values
    wanted: Values
    catalogue_shares: Values
    wanted_counts: NDArray[np.int64]


@dataclass(frozen=True)
class WholeLists:
    """Figures of all lists together that are plain numbers, and the shares of the head that are resampled.

    `head_places`, `places`: float64 [U], places of a user's page that are among the 100 most popular, and all.
    `head_decides`: whether a hundred titles are few of those that may be shown: at most a tenth.
    """

    figures: dict[str, float]
    weekly_coverage: float | None
    head_places: Values
    places: Values
    head_decides: bool


def shown(subjects: Subjects, policy: AuditPolicy) -> tuple[list[Exposure], WholeLists]:
    """The exposure of each kind of class that the policy audits and the titles know, and figures of all lists.

    Classes of which too few are wanted to be judged are pooled as `small classes`.

    Raises:
        DataError: if a week of a month as served has no impressions.
    """
    titles = subjects.titles
    kinds = [
        _Classes(audited, *_small_together(*_wanted_classes(subjects, audited.name), policy.least_users))
        for audited in policy.exposures
        if audited.name in titles.classes
    ]
    columns = [one_hot(kind.codes, len(kind.names)) for kind in kinds]
    classes = np.concatenate([np.zeros((len(titles.item_ids), 0), np.float32), *columns], 1)
    discount = 1 / np.log2(np.arange(2, subjects.rankings.shape[1] + 2))
    by_title, parts = np.zeros(len(titles.item_ids)), [np.zeros((0, classes.shape[1]))]
    for rows in list_rows(subjects.rankings, titles, discount):
        parts.append(rows @ classes)
        by_title += np.asarray(rows.sum(0)).ravel()
    by_user = np.concatenate(parts)
    wanted, counts = _wanted(subjects, classes, policy)
    there = classes[titles.may_be_shown].sum(0)
    ends = np.cumsum([len(kind.names) for kind in kinds])
    found = []
    for kind, end in zip(kinds, ends.tolist(), strict=True):
        own = slice(end - len(kind.names), end)
        shares = there[own] / max(float(there[own].sum()), 1.0)
        found.append(Exposure(kind.audited, kind.names, by_user[:, own], wanted[:, own], shares, counts[own]))
    return found, _whole_lists(subjects, by_title)


@dataclass(frozen=True)
class _Classes:
    audited: AuditedExposure
    names: tuple[str, ...]
    codes: NDArray[np.int64]


def _wanted(subjects: Subjects, classes: NDArray[np.float32], policy: AuditPolicy) -> tuple[Values, NDArray[np.int64]]:
    """What is wanted of each class, float64 [U, C], and from how many titles watched that is known, int64 [C]."""
    served = subjects.served
    if served is not None:
        weights = np.nan_to_num(served.rewards) * exploration_weights(served, subjects.rankings >= 0)
        if np.count_nonzero(weights) >= policy.least_users:
            counts = class_sums(subjects.rankings, subjects.titles, classes, np.sign(weights)).sum(0)
            return class_sums(subjects.rankings, subjects.titles, classes, weights), counts.astype(np.int64)
    wanted = watched_sums(subjects.truth, subjects.titles, classes)
    return wanted, wanted.sum(0).astype(np.int64)


def _wanted_classes(subjects: Subjects, name: str) -> tuple[NDArray[np.str_], NDArray[np.int64], NDArray[np.int64]]:
    """Names of classes, the class of each title, and how much of each was watched."""
    names, codes = np.unique(subjects.titles.classes[name].astype(str), return_inverse=True)
    at = positions_among(subjects.titles.item_ids, subjects.truth.item_ids)
    return names, codes.astype(np.int64), np.bincount(codes[at[at >= 0]], minlength=len(names))


def _whole_lists(subjects: Subjects, by_title: Values) -> WholeLists:
    titles, pages = subjects.titles, subjects.rankings[:, :PAGE]
    can = titles.item_ids[titles.may_be_shown]
    tail = titles.item_ids[titles.may_be_shown & (tiers(titles.play_counts) == TIERS.index("tail"))]
    on_pages = np.unique(pages[pages >= 0])
    figures = {
        "gini_of_titles": gini(by_title[titles.may_be_shown]),
        "coverage": coverage(pages, len(can)),
        "tail_coverage": float(np.isin(tail, on_pages).mean()) if len(tail) else float("nan"),
    }
    if "creator" in titles.classes:
        _, codes = np.unique(titles.classes["creator"].astype(str), return_inverse=True)
        figures["gini_of_creators"] = gini(np.bincount(codes, by_title).astype(np.float64))
    weekly = None
    if subjects.served is not None:
        if any(not len(week) for week in subjects.served.weeks) or not subjects.served.weeks:
            raise DataError("a week of the month has no impressions: there is nothing to audit of it")
        weekly = min(float(np.isin(can, week).mean()) for week in subjects.served.weeks)
    head = titles.item_ids[np.lexsort((titles.item_ids, -titles.play_counts))[:_HEAD]]
    return WholeLists(
        figures,
        weekly,
        np.isin(pages, head).sum(1).astype(np.float64),
        (pages >= 0).sum(1).astype(np.float64),
        len(can) >= _HEAD_AMONG * _HEAD,
    )


def gini(amounts: Values) -> float:
    """How unevenly something is spread: 0 if all have alike, near 1 if one has all; NaN if there is nothing."""
    ordered = np.sort(amounts)
    total = float(ordered.sum())
    if total <= 0:
        return float("nan")
    count = len(ordered)
    ranks = np.arange(1, count + 1)
    return float(((2 * ranks - count - 1) * ordered).sum() / (count * total))


def _small_together(
    names: NDArray[np.str_], codes: NDArray[np.int64], counts: NDArray[np.int64], least: int
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    is_small = counts < least
    if is_small.sum() < 2:
        return tuple(names.tolist()), codes
    places = np.where(is_small, int((~is_small).sum()), np.cumsum(~is_small) - 1)
    return (*names[~is_small].tolist(), SMALL), places[codes]
