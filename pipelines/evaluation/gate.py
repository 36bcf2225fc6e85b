"""May a challenger become champion? The metric gate: a verdict and every reason for it."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.evaluation.bootstrap import Interval


@dataclass(frozen=True)
class GateConfiguration:
    """What the gate asks for."""

    # What is compared.
    metric: str = "ndcg_at_20"
    # A challenger may look worse than what it is held against by this share of it, and no more: nights are noisy.
    margin_share: float = 0.05
    # Fewer users than this decide nothing.
    minimum_user_count: int = 20
    # Bootstrap resamples of users.
    resamples: int = 1000
    # Of the bootstrap.
    seed: int = 1


@dataclass(frozen=True)
class Held:
    """A challenger held against a reference: the reference's metric, and the paired difference to it."""

    reference: str
    user_count: int
    value: Interval
    difference: Interval


@dataclass(frozen=True)
class Verdict:
    """Whether to promote, and why: sentences, the decisive ones first."""

    is_promoted: bool
    reasons: tuple[str, ...]


def metric_gate(held: Sequence[Held], configuration: GateConfiguration) -> Verdict:
    """Decide on a challenger that was held against each of its references on the same users.

    Refused if against any of them it is shown to be worse (the whole interval of the difference lies below zero),
    or looks worse by more than the margin, or if there are too few users to tell.
    """
    refused, passed = [], []
    for one in held:
        metric, value, difference = configuration.metric, one.value, one.difference
        found = (
            f"{metric} {difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}] against "
            f"{one.reference} ({value.mean:.4f}) on {one.user_count} users"
        )
        if one.user_count < configuration.minimum_user_count:
            refused.append(
                f"{one.user_count} users with something to find are too few to judge against {one.reference}: "
                f"at least {configuration.minimum_user_count} are needed"
            )
        elif difference.high < 0:
            refused.append(f"shown to be worse: {found}")
        elif difference.mean < -configuration.margin_share * value.mean:
            refused.append(f"looks worse by more than {configuration.margin_share:.0%}: {found}")
        else:
            passed.append(f"not worse: {found}")
    if not held:
        refused.append("it was held against nothing")
    return Verdict(not refused, (*refused, *passed))
