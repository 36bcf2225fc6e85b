"""Which groups are judged, and by which tests: the family that is declared before anything is compared.

Shapes: U users, T groups that are tested, M metrics.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from feature_defs.audit_policy import AuditedAttribute, AuditPolicy
from pipelines.audit.groups import WATCHED_ATTRIBUTES, Coded, name_of, pooled
from pipelines.audit.metrics import UserValues
from pipelines.audit.statistics import (
    Floats,
    GroupTest,
    analytic_errors,
    contrasts,
    group_sums,
    least_errors,
    moment_columns,
    thinned,
    users_needed,
)
from pipelines.audit.subjects import UNKNOWN

Size = Literal["enough", "no_power", "few", "private"]


@dataclass(frozen=True)
class JudgedGroup:
    """A group, whether it is large enough, and where it stands among the groups that are tested (-1: it is not).

    `needed`: how many users it would take; `pool_of`: the labels, if it is a pool.
    """

    attribute: AuditedAttribute
    name: str
    user_count: int
    size: Size
    needed: float
    place: int
    pool_of: tuple[str, ...] = ()

    @property
    def is_primary(self) -> bool:
        """Whether it holds a promotion if it cannot be judged; pools and the unknown never do: their members do."""
        return self.attribute.is_primary and not self.pool_of and self.name != UNKNOWN


@dataclass(frozen=True)
class Family:
    """Groups, who is in those that are tested (bool [T, U]), the tests, and moments of values: float64 [U, 6 M]."""

    groups: tuple[JudgedGroup, ...]
    membership: NDArray[np.bool_]
    tests: tuple[GroupTest, ...]
    moments: Floats

    def sums(self, moments: Floats) -> Floats:
        """Moments summed by group: float64 [T, M, 6]."""
        return group_sums(self.membership, moments).reshape(len(self.membership), moments.shape[1] // 6, 6)


def family_of(attributes: Sequence[Coded], values: UserValues, policy: AuditPolicy) -> Family:
    """The groups and tests of a policy, for users with these values."""
    moments = moment_columns(values.values, values.champion)
    totals = moments.sum(0).reshape(-1, 6)
    least = max(policy.least_users, policy.privacy_floor)
    candidates = [
        (one, name, int(count))
        for one in attributes
        for name, count in zip(one.names, one.counts(), strict=True)
        if count >= least
    ]
    planned = sum(len(_tests_of(one.attribute, name, 0, values, policy, count)) for one, name, count in candidates)
    level = policy.alpha / max(planned, 1)
    rows = [one.members((name,)) for one, name, _ in candidates]
    places = {(one.attribute, name): at for at, (one, name, _) in enumerate(candidates)}
    membership = np.array(rows, np.bool_).reshape(len(rows), len(moments))
    sums = group_sums(membership, moments).reshape(len(rows), len(values.names), 6)

    def needed(one: Coded, name: str, count: int, own: Floats) -> float:
        tests = _tests_of(one.attribute, name, 0, values, policy, count)
        return _needed(count, own[None], totals, tests, level, policy)

    groups: list[JudgedGroup] = []
    tests: list[GroupTest] = []
    for one in attributes:
        counts = {name: int(count) for name, count in zip(one.names, one.counts(), strict=True)}
        small = []
        for name, count in counts.items():
            place = places.get((one.attribute, name), -1)
            size, wanted = _size(count, needed(one, name, count, sums[place]) if place >= 0 else np.inf, policy)
            groups.append(JudgedGroup(one.attribute, name, count, size, wanted, place))
            if place >= 0:
                tests += _tests_of(one.attribute, name, place, values, policy, count)
            if size != "enough" and name != UNKNOWN:
                small.append(name)

        def measured(labels: Sequence[str], one: Coded = one) -> tuple[int, Size, float]:
            members = one.members(labels)
            count = int(members.sum())
            own = group_sums(members[None], moments).reshape(-1, 6)
            return count, *_size(count, needed(one, name_of(labels), count, own) if count >= least else np.inf, policy)

        known = {name: count for name, count in counts.items() if name != UNKNOWN}
        for pool in pooled(one.attribute, known, small, lambda labels: measured(labels)[1] == "enough"):
            count, size, wanted = measured(pool)
            place = len(rows) if count >= least else -1
            groups.append(JudgedGroup(one.attribute, name_of(pool), count, size, wanted, place, pool))
            if place >= 0:
                tests += _tests_of(one.attribute, name_of(pool), place, values, policy, count)
                rows.append(one.members(pool))
    membership = np.array(rows, np.bool_).reshape(len(rows), len(moments))
    return Family(tuple(groups), membership, tuple(tests), moments)


def _tests_of(
    attribute: AuditedAttribute, name: str, place: int, values: UserValues, policy: AuditPolicy, count: int
) -> list[GroupTest]:
    """The tests of one group; the first is the one that its size is told by."""
    found: list[GroupTest] = []
    if len(values.values) - count < policy.least_users:
        # There are too few others: what befell nearly everybody is for the metric gate to judge.
        return found
    # Whoever watched nothing is served less well by any recommender: what they get is held against the champion, and
    # not against what others get. How new users fare is what tiers of activity are for, with a floor of their own.
    has_watched = name != UNKNOWN or attribute.name not in WATCHED_ATTRIBUTES
    for metric in policy.metrics:
        if metric.name not in values.names:
            continue
        at = values.names.index(metric.name)
        if metric.kept_margin is not None and values.is_compared[at]:
            bound = 1 - metric.kept_margin if metric.is_more_better else 1 + metric.kept_margin
            found.append(GroupTest(place, at, "kept", bound, metric.is_more_better))
        if metric.has_floor and has_watched:
            found.append(GroupTest(place, at, "floor", attribute.floor))
    return found


def _needed(
    count: int, sums: Floats, totals: Floats, tests: list[GroupTest], level: float, policy: AuditPolicy
) -> float:
    """How many users it takes to find, by the first test, a loss as large as the policy wants found."""
    if not tests:
        return 0.0
    first = tests[:1]
    beyond = policy.found_beyond_margin if first[0].kind == "kept" else policy.found_below_floor
    beyond = min(beyond, first[0].bound)
    lost = thinned(sums, first[0].bound - beyond)
    at = first[0].metric
    remaining = totals.copy()
    remaining[at] += (lost - sums)[0, at]
    errors = np.maximum(analytic_errors(lost, remaining, first), least_errors(lost, remaining, first))
    scales = contrasts(sums, totals, first).scales
    return float(users_needed(np.array([count]), errors, scales, beyond, level, policy.power)[0])


def _size(count: int, needed: float, policy: AuditPolicy) -> tuple[Size, float]:
    if count < policy.privacy_floor:
        return "private", float(policy.least_users)
    if count < policy.least_users:
        return "few", float(policy.least_users)
    return ("enough" if needed <= count else "no_power"), needed
