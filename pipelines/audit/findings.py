"""What an audit found: a verdict, the findings behind it, and the controls that say whether it can be believed."""

import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """What is said of a group, or of the whole."""

    PASS = "PASS"  # noqa: S105
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True)
class Finding:
    """One figure of one group, with what it was held against.

    `metric` names the figure and, after a colon, the kind of test: `ndcg_at_20:floor` (ratio to everybody else),
    `ndcg_at_20:kept` (ratio to the champion), `head_share:limit`, or nothing where it is reported only.
    `attribute` is "all" and `group` "all" for figures of all lists together. `estimate`, `low` and `high` (95 %,
    percentile bootstrap) are NaN where nothing may be told or can be computed, `reference` is the mean of the others,
    the champion, or the share of what is wanted. `limit` is NaN where there is none. `p_value` is one-sided, of
    nothing lying beyond the limit.
    """

    metric: str
    attribute: str
    group: str
    user_count: int
    estimate: float
    low: float
    high: float
    reference: float | None
    limit: float
    p_value: float | None
    adjusted_p: float | None
    is_primary: bool
    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class Controls:
    """Whether the audit could have failed, and how often it fails where there is nothing to find.

    `planted_group`: in which a bias was planted; empty if none was large enough.
    `bound`: the upper end of the exact one-sided 95 % interval of the share of label permutations that fail.
    `unmargined_failure_count`: permutations that fail if every margin is taken off; alpha of them are expected.
    """

    planted_bias_failed: bool
    planted_group: str
    permutation_count: int
    permutation_failure_count: int
    unmargined_failure_count: int
    bound: float


@dataclass(frozen=True)
class AuditResult:
    """The verdict of a whole audit: sentences, the decisive ones first, and all findings; no controls if not made."""

    verdict: Verdict
    reasons: tuple[str, ...]
    findings: tuple[Finding, ...]
    controls: Controls | None
    user_count: int

    def to_record(self) -> dict[str, Any]:
        """The result as JSON-like values for a record: aggregates alone; NaN becomes `None`."""
        cleaned: dict[str, Any] = _without_nan(asdict(self))
        return cleaned


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, StrEnum) else value
