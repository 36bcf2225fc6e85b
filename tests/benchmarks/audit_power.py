"""How small a loss an audit finds, and how often it finds one where there is none.

    make bench-audit-power                                        200 trials each, 200,000 users; some 6 minutes
    python tests/benchmarks/audit_power.py --trials 20            a tenth of it

A simulated service (`simulated_lists`: real events, real lists of ALS of two nights in a row) gives the metrics of each
user for challenger and champion. A trial draws users with all their metrics from these, gives them groups by chance in
every attribute of the production policy, and judges them by that policy's family of group tests. Exactly 5 % of the
users are in one group; where a loss is planted, each of them finds nothing with that probability, and the others stay
as they are: a relative loss of the same size. Found means that a test of that very group fails.

Standard errors are those from moments, as in the controls of each audit; in the first trials (`--resampled`) 1,000
resamples judge as well, as an audit does, and `same_verdicts` says in how many both said the same.
`at_margin`: false alarms where the group has lost exactly what the policy allows. `genesis`: the same loss with no
champion to hold against, where only a ratio below the floor counts. Intervals are exact (Clopper and Pearson), 95 %.
The last line is one JSON object.
"""

import argparse
import dataclasses
import json
import time

import numpy as np
from machine import machine, versions
from simulated_lists import simulated_subjects

from feature_defs.audit_policy import POLICY
from pipelines.audit.family import Family, family_of
from pipelines.audit.findings import Verdict
from pipelines.audit.groups import Coded
from pipelines.audit.metrics import UserValues, user_values
from pipelines.audit.statistics import adjusted_by_moments, exact_interval
from pipelines.audit.verdict import judge
from pipelines.simulation.configuration import WorldConfiguration

GROUP, SHARE, LOSS = ("age_band", "under_18"), 0.05, 0.15
# Of the other groups: shares by attribute, as in the simulated service.
SHARES = {
    "activity_tier": {"new": 0.08, "light": 0.26, "regular": 0.37, "heavy": 0.29},
    "tenure": {"under_month": 0.06, "under_year": 0.45, "over_year": 0.49},
    "age_band": {"18_24": 0.2, "25_34": 0.29, "35_44": 0.22, "45_54": 0.14, "55_up": 0.1, "under_18": 0.05},
    "gender": {"female": 0.47, "male": 0.5, "other": 0.03},
    "country": {
        "US": 0.32, "GB": 0.14, "IN": 0.11, "MX": 0.09, "FR": 0.07, "DE": 0.07, "JP": 0.055, "BR": 0.05,
        "KR": 0.05, "ES": 0.045,
    },
    "language": {"en": 0.71, "es": 0.16, "hi": 0.05, "fr": 0.04, "de": 0.02, "ja": 0.01, "pt": 0.005, "ko": 0.005},
    "device": {"tv": 0.46, "phone": 0.29, "web": 0.13, "tablet": 0.12},
}  # fmt: skip
QUALITY = ("ndcg_at_20", "recall_at_20")


class Trials:
    """Users drawn from those of a simulated service, in groups that mean nothing but for the loss that is planted."""

    def __init__(self, values: UserValues, users: int, seed: int) -> None:
        self.pool, self.users, self.seed = values, users, seed
        self.quality = [values.names.index(name) for name in QUALITY]

    def audit(self, trial: int, loss: float, resampled: bool) -> tuple[bool, bool, bool | None]:
        """Whether the group fails, whether anything fails, and whether resamples say the same of both."""
        generator = np.random.default_rng([self.seed, trial])
        attributes = [_drawn(generator, name, shares, self.users) for name, shares in SHARES.items()]
        rows = generator.integers(0, len(self.pool.values), self.users)
        own = self.pool.values[rows]
        champion = None if self.pool.champion is None else self.pool.champion[rows]
        members = next(one.members((GROUP[1],)) for one in attributes if one.attribute.name == GROUP[0])
        losers = members & (generator.random(self.users) < loss)
        own[np.ix_(losers, self.quality)] *= 0
        values = UserValues(self.pool.names, own, champion)
        family = family_of(attributes, values, POLICY)
        found = by_moments(family)
        if not resampled:
            return *found, None
        findings = judge(family, values, [], None, POLICY, seed=trial)
        failed = {(one.attribute, one.group) for one in findings if one.verdict == Verdict.FAIL}
        return *found, found == (GROUP in failed, bool(failed))

    def run(self, trials: int, loss: float, resampled: int = 0) -> dict[str, object]:
        """Counts over trials."""
        started = time.perf_counter()
        said = []
        for trial in range(trials):
            said.append(self.audit(trial, loss, trial < resampled))
            if trial % 25 == 24:
                found, failed = sum(one[0] for one in said), sum(one[1] for one in said)
                print(f"    {trial + 1} trials: found {found}, audits failed {failed}", flush=True)
        found, failed = sum(one[0] for one in said), sum(one[1] for one in said)
        both = [one[2] for one in said if one[2] is not None]
        told = {
            "users": self.users,
            "loss": loss,
            "trials": trials,
            "found": found,
            "found_interval": [round(end, 4) for end in exact_interval(found, trials)],
            "audits_failed": failed,
            "audits_failed_interval": [round(end, 4) for end in exact_interval(failed, trials)],
        }
        if both:
            told |= {"resampled": len(both), "same_verdicts": sum(both)}
        print(f"  {told} in {time.perf_counter() - started:.0f} s", flush=True)
        return told

    def smallest(self, trials: int) -> dict[str, object]:
        """The smallest loss, in steps of 5 points, that is found in at least 95 % of the trials."""
        for loss in np.round(np.arange(LOSS, 1.0, 0.05), 2).tolist():
            told = self.run(trials, loss)
            if int(str(told["found"])) >= 0.95 * trials:
                break
        return told


def by_moments(family: Family) -> tuple[bool, bool]:
    sums = family.sums(family.moments)
    is_failed = adjusted_by_moments(sums, family.moments.sum(0).reshape(-1, 6), family.tests) < POLICY.alpha
    at = next(one.place for one in family.groups if (one.attribute.name, one.name) == GROUP)
    is_own = np.array([one.group == at for one in family.tests])
    return bool(is_failed[is_own].any()), bool(is_failed.any())


def _drawn(generator: np.random.Generator, name: str, shares: dict[str, float], users: int) -> Coded:
    """Labels in exactly these shares, by chance."""
    attribute = next(one for one in POLICY.attributes if one.name == name)
    names = sorted(shares)
    ends = np.round(np.cumsum([shares[one] for one in names]) * users).astype(int)
    return Coded(
        attribute, tuple(names), generator.permutation(np.repeat(np.arange(len(names)), np.diff(ends, prepend=0)))
    )


def main() -> None:
    """Measure and say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--resampled", type=int, default=10)
    parser.add_argument("--world-users", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--parts", nargs="*", help="of planted, no_bias, at_margin, at_10000, genesis; default: all")
    given = parser.parse_args()
    world = WorldConfiguration(user_count=given.world_users, title_count=1500, day_count=30, seed=given.seed)
    values = dataclasses.replace(user_values(simulated_subjects(world, POLICY), POLICY), ratios=())
    judged = len(values.values)
    own, theirs = values.values[:, 0], values.champion[:, 0]
    print(
        f"{judged:,} users with lists of both nights: ndcg_at_20 {own.mean():.3f} and {theirs.mean():.3f}", flush=True
    )
    large, small = (Trials(values, users, given.seed) for users in (given.users, 10_000))
    alone = Trials(UserValues(values.names, values.values, None), given.users, given.seed)
    parts = {
        "planted": lambda: large.run(given.trials, LOSS, given.resampled),
        "no_bias": lambda: large.run(given.trials, 0.0, given.resampled),
        "at_margin": lambda: large.run(given.trials, POLICY.metrics[0].kept_margin or 0.0),
        "at_10000": lambda: small.smallest(given.trials),
        "genesis": lambda: [alone.run(given.trials, loss) for loss in (LOSS, 2 * LOSS)],
    }
    result = {
        "judged_users": judged,
        "ndcg_mean": round(float(own.mean()), 4),
        "ndcg_spread": round(float(own.std() / own.mean()), 3),
        "ndcg_correlation": round(float(np.corrcoef(own, theirs)[0, 1]), 3),
        "machine": machine(),
        "versions": versions("numpy", "scipy"),
    }
    print(json.dumps(result | {part: run() for part, run in parts.items() if part in (given.parts or parts)}))


if __name__ == "__main__":
    main()
