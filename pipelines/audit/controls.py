"""Can the audit fail, and does it fail where there is nothing to find? Asked anew in every audit, of its own users.

Both controls run the tests of the audit's own family on its users' values, with standard errors from moments instead
of resamples. The planted bias takes from a share of one group's users all that their lists found. Labels are permuted
for all attributes together: groups keep their sizes and how they overlap, and nothing is left to be found.
"""

import numpy as np

from feature_defs.audit_policy import AuditPolicy
from pipelines.audit.family import Family
from pipelines.audit.findings import Controls
from pipelines.audit.metrics import UserValues
from pipelines.audit.statistics import (
    GroupTest,
    adjusted_by_moments,
    contrasts,
    exact_upper,
    moment_columns,
)


def run_controls(family: Family, values: UserValues, policy: AuditPolicy, *, seed: int) -> Controls:
    """The controls of an audit; without a group that is large enough, no bias can be planted and found."""
    generator = np.random.default_rng([seed, 2])
    planted, was_found = _planted(family, values, policy, generator)
    margined, unmargined = 0, 0
    without = [GroupTest(one.group, one.metric, one.kind, 1.0, one.is_more_better) for one in family.tests]
    totals = family.moments.sum(0).reshape(-1, 6)
    # Sums of so few digits do for a rate of failures, in a third of the time.
    members, moments = family.membership.astype(np.float32), family.moments.astype(np.float32)
    for _ in range(policy.permutations):
        shuffled = moments[generator.permutation(len(moments))]
        sums = (members @ shuffled).astype(np.float64).reshape(len(members), len(values.names), 6)
        margined += bool((adjusted_by_moments(sums, totals, family.tests) < policy.alpha).any())
        unmargined += bool((adjusted_by_moments(sums, totals, without) < policy.alpha).any())
    return Controls(
        planted_bias_failed=was_found,
        planted_group=planted,
        permutation_count=policy.permutations,
        permutation_failure_count=margined,
        unmargined_failure_count=unmargined,
        bound=exact_upper(margined, policy.permutations),
    )


def _planted(
    family: Family, values: UserValues, policy: AuditPolicy, generator: np.random.Generator
) -> tuple[str, bool]:
    """The group in which a bias was planted, in words (empty if none is large enough), and whether it was found."""
    large = [one for one in family.groups if one.place >= 0 and one.size == "enough" and not one.pool_of]
    large = [one for one in large if one.is_primary] or large
    if not large or not family.tests:
        return "", False
    sums = family.sums(family.moments)
    totals = family.moments.sum(0).reshape(-1, 6)
    estimates = dict(zip(family.tests, contrasts(sums, totals, family.tests).estimates, strict=True))

    def worst(place: int) -> float:
        return min((float(value) for test, value in estimates.items() if test.group == place), default=np.inf)

    chosen = min(large, key=lambda one: (worst(one.place), one.name))
    members = np.flatnonzero(family.membership[chosen.place])
    losers = generator.choice(members, round(policy.planted_loss * len(members)), replace=False)
    quality = {metric.name for metric in policy.metrics if metric.has_floor}
    is_quality = np.array([name in quality for name in values.names])
    starved = values.values.copy()
    starved[np.ix_(losers, np.flatnonzero(is_quality))] *= 0
    moments = moment_columns(starved, values.champion)
    sums = family.sums(moments)
    adjusted = adjusted_by_moments(sums, moments.sum(0).reshape(-1, 6), family.tests)
    is_own = np.array([one.group == chosen.place for one in family.tests])
    return f"{chosen.attribute.name} {chosen.name}", bool((adjusted[is_own] < policy.alpha).any())
