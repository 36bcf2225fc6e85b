"""What lists are worth to each user: a value a user and metric, for the challenger and the champion alike.

Shapes: U users, M metrics, C classes of titles, k places, I titles.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from feature_defs.audit_policy import AuditPolicy
from pipelines.audit.subjects import TIERS, Served, Subjects, Titles, tiers
from pipelines.evaluation.metrics import hits, ndcg_at, recall_at
from pipelines.histories import Histories
from pipelines.sorted_ids import positions_among

Values = NDArray[np.float64]

# Share of a user's own taste that is mixed into a list's, so that a genre without a title costs much and not all.
_MIXED = 0.01
_USERS_AT_ONCE = 8192
# Places of a list that people see at once.
PAGE = 20
# Whether more of a metric is better for a user, by its name: of lists, and of what a month as served alone can tell.
_OF_LISTS = {
    "ndcg_at_20": True,
    "recall_at_20": True,
    "genre_miscalibration": False,
    "popularity_miscalibration": False,
    "listed_popularity": False,
}
_OF_SERVED = {"fallback_share": False, "list_age_days": False, "exploration_share": True}
IS_MORE_BETTER: Mapping[str, bool] = {**_OF_LISTS, **_OF_SERVED}


@dataclass(frozen=True)
class Ratio:
    """A figure that is one sum over another: float64 [U] each, zero for users to whom it does not apply."""

    name: str
    parts: Values
    wholes: Values


@dataclass(frozen=True)
class UserValues:
    """Values a user and metric: float64 [U, M] each, NaN where a metric does not apply to a user.

    `champion` is `None` where lists are held against none. `ratios` are reported of groups, and not tested.
    """

    names: tuple[str, ...]
    values: Values
    champion: Values | None
    ratios: tuple[Ratio, ...] = ()

    @cached_property
    def is_compared(self) -> tuple[bool, ...]:
        """Whether the champion has a metric of anybody."""
        if self.champion is None:
            return (False,) * len(self.names)
        return tuple(bool(np.isfinite(column).any()) for column in self.champion.T)


def user_values(subjects: Subjects, policy: AuditPolicy) -> UserValues:
    """The metrics of a policy that can be computed of these subjects, in its order."""
    found = _of_lists(subjects, subjects.rankings)
    if subjects.served is not None:
        found |= _of_served(subjects.served, subjects.rankings >= 0)
    names = tuple(one.name for one in policy.metrics if one.name in found)
    champion = None
    if subjects.champion_rankings is not None:
        theirs = _of_lists(subjects, subjects.champion_rankings)
        nothing = np.full(len(subjects.user_ids), np.nan)
        champion = np.stack([theirs.get(name, nothing) for name in names], 1)
    values = np.stack([found[name] for name in names], 1)
    return UserValues(names, values, champion, (_lift(found), *_explored(subjects)))


def miscalibration(listed: Values, watched: Values) -> Values:
    """How far lists are from what users watched, in classes: Kullback-Leibler divergence in nats, float64 [U].

    Steck, "Calibrated recommendations" (2018), equations 2 to 4 with alpha .01. NaN for users without either.

    Args:
        listed: float64 [U, C], how much of each class is in a list.
        watched: float64 [U, C], how much of each was watched.
    """
    wanted = _share(watched, watched.sum(1))
    given = (1 - _MIXED) * _share(listed, listed.sum(1)) + _MIXED * wanted
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(wanted > 0, wanted * np.log(wanted / given), 0.0)
    divergence: Values = np.where(np.isfinite(wanted + given).all(1), terms.sum(1), np.nan)
    return divergence


def class_sums(
    item_ids: NDArray[np.int64], titles: Titles, classes: NDArray[np.float32], place_weights: Values
) -> Values:
    """How much of each class lists hold: float64 [U, C].

    Args:
        item_ids: int64 [U, k], -1 padded; titles that are not in the catalogue count nowhere.
        titles: of the day.
        classes: float32 [I, C], how far each title belongs to each class.
        place_weights: float64 [k] or [U, k], what a place counts.
    """
    parts = [rows @ classes for rows in list_rows(item_ids, titles, place_weights)]
    return np.concatenate([np.zeros((0, classes.shape[1])), *parts])


def list_rows(item_ids: NDArray[np.int64], titles: Titles, place_weights: Values) -> Iterator[sparse.csr_matrix]:
    """Lists as sparse rows of titles, float32 [a part of U, I]: what each place counts; parts in the order of users."""
    for start in range(0, len(item_ids), _USERS_AT_ONCE):
        part = item_ids[start : start + _USERS_AT_ONCE]
        at = positions_among(titles.item_ids, part)
        counted = place_weights if place_weights.ndim == 1 else place_weights[start : start + _USERS_AT_ONCE]
        weights = np.where(at >= 0, counted.astype(np.float32), np.float32(0))
        offsets = np.arange(len(part) + 1) * part.shape[1]
        yield sparse.csr_matrix(
            (weights.ravel(), np.maximum(at, 0).ravel(), offsets), shape=(len(part), len(titles.item_ids))
        )


def watched_sums(histories: Histories, titles: Titles, classes: NDArray[np.float32]) -> Values:
    """How much of each class users watched: float64 [U, C]."""
    at = positions_among(titles.item_ids, histories.item_ids)
    rows = sparse.csr_matrix(
        ((at >= 0).astype(np.float32), np.maximum(at, 0), histories.offsets),
        shape=(len(histories.user_ids), len(titles.item_ids)),
    )
    return np.asarray(rows @ classes, np.float64)


def one_hot(codes: NDArray[np.int64], count: int) -> NDArray[np.float32]:
    """Codes as columns: float32 [I, count]; those below zero have none."""
    columns = np.zeros((len(codes), count), np.float32)
    is_known = codes >= 0
    columns[np.flatnonzero(is_known), codes[is_known]] = 1
    return columns


def _of_served(served: Served, is_shown: NDArray[np.bool_]) -> dict[str, Values]:
    """By name: float64 [U] each."""
    explored = (served.is_exploration & is_shown).sum(1).astype(np.float64)
    values = (served.fallback_shares, served.list_ages, _share(explored, is_shown.sum(1)))
    return dict(zip(_OF_SERVED, values, strict=True))


def _of_lists(subjects: Subjects, rankings: NDArray[np.int64]) -> dict[str, Values]:
    """By name, and how popular what was watched is beside them: float64 [U] each."""
    titles, truth = subjects.titles, subjects.truth
    pages = rankings[:, :PAGE]
    counts = np.diff(truth.offsets)
    has_truth = counts > 0
    found = hits(pages, truth)
    genres = titles.has_genre.astype(np.float32)
    genres /= np.maximum(genres.sum(1, keepdims=True), 1)
    popularity = tiers(titles.play_counts)
    mean_plays = max(float(titles.play_counts[titles.may_be_shown].mean()), 1e-9) if titles.may_be_shown.any() else 1.0
    columns = [
        genres,
        one_hot(popularity, len(TIERS)),
        (titles.play_counts / mean_plays).astype(np.float32)[:, None],
        np.ones((len(titles.item_ids), 1), np.float32),
    ]
    ends = np.cumsum([one.shape[1] for one in columns])
    classes = np.concatenate(columns, 1)
    listed = class_sums(pages, titles, classes, np.ones(pages.shape[1]))
    watched = watched_sums(subjects.histories, titles, classes)
    values = (
        np.where(has_truth, ndcg_at(found, counts, PAGE), np.nan),
        np.where(has_truth, recall_at(found, counts, PAGE), np.nan),
        miscalibration(listed[:, : ends[0]], watched[:, : ends[0]]),
        miscalibration(listed[:, ends[0] : ends[1]], watched[:, ends[0] : ends[1]]),
        _share(listed[:, ends[1]], listed[:, ends[2]]),
    )
    watched_popularity = _share(watched[:, ends[1]], watched[:, ends[2]])
    return dict(zip(_OF_LISTS, values, strict=True)) | {"watched_popularity": watched_popularity}


def _lift(found: dict[str, Values]) -> Ratio:
    """How popular what users are shown is, over what they watched: 1 where the one is as popular as the other.

    Abdollahpouri et al., "The unfairness of popularity bias in recommendation" (2019), whose lift is this less one.
    """
    listed, watched = found["listed_popularity"], found["watched_popularity"]
    both = np.isfinite(listed + watched)
    return Ratio("popularity_lift", np.where(both, listed, 0.0), np.where(both, watched, 0.0))


def _explored(subjects: Subjects) -> tuple[Ratio, ...]:
    """Shares watched to the end: of places as served, and of any title, had each been shown alike.

    The second reads explored places alone and weighs each by the inverse of its propensity (self-normalised:
    Swaminathan and Joachims, 2015): it knows of titles that were never ranked, which the first cannot.
    """
    served = subjects.served
    if served is None:
        return ()
    is_shown = subjects.rankings >= 0
    is_ranked = is_shown & ~served.is_exploration
    weights = exploration_weights(served, is_shown)
    rewards = np.nan_to_num(served.rewards)
    return (
        Ratio("completed_share_ranked", (rewards * is_ranked).sum(1), is_ranked.sum(1).astype(np.float64)),
        Ratio("completed_share_of_any", (rewards * weights).sum(1), weights.sum(1)),
    )


def exploration_weights(served: Served, is_shown: NDArray[np.bool_]) -> Values:
    """The inverse of the propensity of each explored place whose propensity is known, zero elsewhere: [U, k]."""
    usable = is_shown & served.is_exploration & (served.propensities > 0)
    return np.where(usable, 1 / np.where(usable, served.propensities, 1.0), 0.0)


def _share(parts: Values, wholes: NDArray[np.float64] | NDArray[np.int64]) -> Values:
    """Parts over wholes; NaN where a whole is zero."""
    wholes = wholes if parts.ndim == 1 else wholes[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        shares: Values = np.where(wholes > 0, parts / wholes, np.nan)
    return shares
