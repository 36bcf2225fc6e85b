"""Values of users in, findings and a verdict out: resamples, tests of one family, and the reasons in words.

Shapes: B resamples, U users, T groups that are tested, M metrics, R ratios, N tests.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from feature_defs.audit_policy import AuditedMetric, AuditPolicy
from pipelines.audit.exposure import Exposure, WholeLists
from pipelines.audit.family import Family, JudgedGroup
from pipelines.audit.findings import Controls, Finding, Verdict
from pipelines.audit.metrics import UserValues
from pipelines.audit.statistics import (
    Floats,
    GroupTest,
    contrasts,
    group_sums,
    holm,
    least_errors,
    p_values,
    resampled_sums,
    value_columns,
)

_ALL = "all"


@dataclass(frozen=True)
class _Figure:
    """A finding that is not decided yet: its difference and standard error are those of a test, or it is reported."""

    finding: Finding
    difference: float = np.nan
    error: float = np.nan
    group: JudgedGroup | None = None
    said: str = ""


def judge(
    family: Family,
    values: UserValues,
    exposures: Sequence[Exposure],
    whole: WholeLists | None,
    policy: AuditPolicy,
    *,
    seed: int,
) -> tuple[Finding, ...]:
    """The findings of an audit: every test of the family with its verdict, and what is reported beside them."""
    columns, wholes = _columns(values, exposures, whole)
    everybody = np.ones((1, len(values.values)), np.bool_)
    membership = np.concatenate([everybody, family.membership])
    by_group, over_all = resampled_sums(membership, columns, wholes, policy.resamples, seed)
    points = group_sums(membership, columns.astype(np.float64))
    figures = [
        *_of_tests(family, values, points, by_group, policy),
        *_of_exposures(exposures, wholes, over_all, policy),
        *_of_whole_lists(whole, wholes, over_all, policy),
        *_means(family, values, points, by_group),
        *_worst(family, values, points, policy),
    ]
    figures += [
        _Figure(_not_judged(group, values.names[0], policy, family.groups))
        for group in family.groups
        if group.place < 0
    ]
    return _decided(figures, policy, family.groups)


def conclude(
    findings: Sequence[Finding], controls: Controls, policy: AuditPolicy, absent: Sequence[str]
) -> tuple[Verdict, tuple[str, ...]]:
    """What is said of the whole, and why: sentences, the decisive ones first.

    Args:
        findings: of the audit.
        controls: of the same audit.
        policy: what was asked.
        absent: attributes that are known of nobody, and need not be.
    """
    failed = [one for one in findings if one.verdict == Verdict.FAIL]
    held = [one for one in findings if one.verdict == Verdict.INCONCLUSIVE]
    holding = {(one.attribute, one.group): one for one in reversed(held) if one.is_primary}
    others = {(one.attribute, one.group) for one in held} - set(holding)
    untrusted = _distrusted(controls, policy)
    reasons = [one.reason for one in failed]
    reasons += [holding[key].reason for key in sorted(holding)]
    reasons += untrusted
    tested = sum(one.p_value is not None for one in findings)
    reasons.append(
        f"{tested} tests of {len({(one.attribute, one.group) for one in findings if one.attribute != _ALL})} groups "
        f"and classes at alpha {policy.alpha:g} (Holm): {len(failed)} shown to lie beyond their limits"
    )
    if others:
        named = ", ".join(f"{attribute} {group}" for attribute, group in sorted(others)[:8])
        rest = f" and {len(others) - 8} more" if len(others) > 8 else ""
        reasons.append(f"too small to be judged, and not primary: {named}{rest}")
    reasons += [f"{name} is known of nobody: not audited" for name in absent]
    if policy.is_demo:
        reasons.append("made under a policy for demonstrations: it finds coarse faults alone")
    if failed:
        return Verdict.FAIL, tuple(reasons)
    return (Verdict.INCONCLUSIVE if holding or untrusted else Verdict.PASS), tuple(reasons)


def _distrusted(controls: Controls, policy: AuditPolicy) -> list[str]:
    reasons = []
    if not controls.planted_group:
        reasons.append("no group is large enough for a bias to be planted in: this audit could not have failed")
    elif not controls.planted_bias_failed:
        reasons.append("the planted bias was not found: this audit could not have failed")
    if controls.permutation_failure_count > policy.permutation_limit * controls.permutation_count:
        reasons.append(
            f"{controls.permutation_failure_count} of {controls.permutation_count} audits with permuted labels failed, "
            f"more than {policy.permutation_limit:.0%}: a failure of this audit says little"
        )
    return reasons


def _columns(
    values: UserValues, exposures: Sequence[Exposure], whole: WholeLists | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What is summed by group, float32 [U, 3 M + 2 R], and over everybody, [U, ...]."""
    ratios = [column for one in values.ratios for column in (one.parts, one.wholes)]
    own = value_columns(values.values, values.champion)
    by_group = [own, *(column[:, None].astype(np.float32) for column in ratios)]
    over_all: list[Floats] = [part for one in exposures for part in (one.shown, one.wanted)]
    if whole is not None:
        over_all += [whole.head_places[:, None], whole.places[:, None]]
    nothing = np.zeros((len(values.values), 0))
    return (
        np.concatenate(by_group, 1),
        np.concatenate([nothing, *over_all], 1).astype(np.float32),
    )


def _of_tests(
    family: Family, values: UserValues, points: Floats, by_group: Floats, policy: AuditPolicy
) -> list[_Figure]:
    count = len(values.names)
    tests = family.tests
    if not tests:
        return []

    def parted(sums: Floats) -> tuple[Floats, Floats]:
        metrics = sums[..., : 3 * count].reshape(*sums.shape[:-1], count, 3)
        return metrics[..., 1:, :, :], metrics[..., 0, :, :]

    found = contrasts(*parted(points), tests)
    drawn = contrasts(*parted(by_group), tests)
    least = least_errors(family.sums(family.moments), family.moments.sum(0).reshape(-1, 6), tests)
    errors = np.maximum(drawn.differences.std(0, ddof=1), least)
    lows, highs = _percentiles(drawn.estimates)
    at_place = {one.place: one for one in family.groups}
    metrics = {one.name: one for one in policy.metrics}
    figures = []
    for at, test in enumerate(tests):
        group, metric = at_place[test.group], metrics[values.names[test.metric]]
        finding = Finding(
            f"{metric.name}:{test.kind}",
            group.attribute.name,
            group.name,
            group.user_count,
            float(found.estimates[at]),
            float(lows[at]),
            float(highs[at]),
            float(found.scales[at]),
            test.bound,
            None,
            None,
            group.is_primary,
            Verdict.PASS,
            "",
        )
        figures.append(
            _Figure(finding, float(found.differences[at]), float(errors[at]), group, _said(finding, test, metric))
        )
    return figures


def _said(finding: Finding, test: GroupTest, metric: AuditedMetric) -> str:
    against = "what the champion gives it" if test.kind == "kept" else "that of everybody else"
    least = "least" if test.is_more_better else "most"
    return (
        f"{metric.name} of {finding.attribute} {finding.group} ({finding.user_count:,} users) is "
        f"{_percent(finding.estimate)} [{_percent(finding.low)}, {_percent(finding.high)}] of {against}, where "
        f"{test.bound:.0%} is the {least}"
    )


def _of_exposures(
    exposures: Sequence[Exposure], wholes: NDArray[np.float32], over_all: Floats, policy: AuditPolicy
) -> list[_Figure]:
    figures, start = [], 0
    points = wholes.sum(0, dtype=np.float64)
    for one in exposures:
        width = len(one.names)
        shown, wanted = slice(start, start + width), slice(start + width, start + 2 * width)
        start += 2 * width
        share, share_b = _shares(points[shown]), _shares(over_all[:, shown])
        asked, asked_b = _shares(points[wanted]), _shares(over_all[:, wanted])
        to_wanted, to_wanted_b = _ratio(share, asked), _ratio(share_b, asked_b)
        to_there, to_there_b = _ratio(share, one.catalogue_shares), _ratio(share_b, one.catalogue_shares)
        lows, highs = _percentiles(to_wanted_b)
        there_lows, there_highs = _percentiles(to_there_b)
        limit = one.audited.least_ratio
        for at, name in enumerate(one.names):
            attribute = f"titles.{one.audited.name}"
            count = int(one.wanted_counts[at])
            reported = Finding(
                "exposure:catalogue",
                attribute,
                name,
                len(wholes),
                float(to_there[at]),
                float(there_lows[at]),
                float(there_highs[at]),
                float(one.catalogue_shares[at]),
                np.nan,
                None,
                None,
                False,
                Verdict.PASS,
                f"{_percent(share[at])} of exposure for {_percent(one.catalogue_shares[at])} of the titles: "
                "reported only",
            )
            said = (
                f"titles of {one.audited.name} {name} have {_percent(share[at])} of exposure for "
                f"{_percent(asked[at])} of what is wanted: {_percent(to_wanted[at], 0)} "
                f"[{_percent(lows[at], 0)}, {_percent(highs[at], 0)}]"
            )
            held = replace(
                reported,
                metric="exposure:wanted",
                estimate=float(to_wanted[at]),
                low=float(lows[at]),
                high=float(highs[at]),
                reference=float(asked[at]),
                limit=np.nan if limit is None else limit,
                reason=f"{said}: reported only",
            )
            figures.append(_Figure(reported))
            if limit is None or (one.audited.classes and name not in one.audited.classes):
                figures.append(_Figure(replace(held, limit=np.nan)))
            elif count < policy.least_users:
                reason = f"{said}; {count:,} titles watched are fewer than the {policy.least_users:,} that decide"
                figures.append(_Figure(replace(held, verdict=Verdict.INCONCLUSIVE, reason=reason)))
            else:
                error = float((share_b[:, at] - limit * asked_b[:, at]).std(ddof=1))
                difference = float(share[at] - limit * asked[at])
                figures.append(_Figure(held, difference, error, None, f"{said}, where {limit:.0%} is the least"))
    return figures


def _of_whole_lists(
    whole: WholeLists | None, wholes: NDArray[np.float32], over_all: Floats, policy: AuditPolicy
) -> list[_Figure]:
    if whole is None:
        return []
    blank = Finding(
        "", _ALL, _ALL, len(wholes), np.nan, np.nan, np.nan, None, np.nan, None, None, False, Verdict.PASS, ""
    )
    figures = [
        _Figure(replace(blank, metric=name, estimate=value, reason="reported only"))
        for name, value in whole.figures.items()
    ]
    limit = policy.head_share_limit
    shares = over_all[:, -2] / np.maximum(over_all[:, -1], 1e-12)
    share = float(whole.head_places.sum() / max(whole.places.sum(), 1e-12))
    low, high = np.quantile(shares, [0.025, 0.975])
    said = f"the 100 most popular titles have {share:.1%} [{low:.1%}, {high:.1%}] of all places"
    held = replace(blank, metric="head_share:limit", estimate=share, low=float(low), high=float(high), limit=limit)
    if whole.head_decides:
        error = float(shares.std(ddof=1))
        figures.append(_Figure(held, limit - share, error, None, f"{said}, where {limit:.0%} is the most"))
    else:
        figures.append(_Figure(replace(held, limit=np.nan, reason=f"{said}; of so few titles that decides nothing")))
    if whole.weekly_coverage is not None:
        covered, least = whole.weekly_coverage, policy.weekly_coverage_limit
        is_enough = covered >= least
        figures.append(
            _Figure(
                replace(
                    blank,
                    metric="weekly_coverage:limit",
                    estimate=covered,
                    limit=least,
                    verdict=Verdict.PASS if is_enough else Verdict.FAIL,
                    reason=f"{covered:.1%} of all titles were shown within a week, where {least:.0%} is the least",
                )
            )
        )
    return figures


def _means(family: Family, values: UserValues, points: Floats, by_group: Floats) -> list[_Figure]:
    """Means by metric and ratios, of everybody and of each group that is tested: reported."""
    places = {0: None} | {one.place + 1: one for one in family.groups if one.place >= 0}
    names = [*values.names, *(one.name for one in values.ratios)]
    start = 3 * len(values.names)
    tops = [3 * at + 1 for at in range(len(values.names))] + [start + 2 * at for at in range(len(values.ratios))]
    bottoms = [3 * at for at in range(len(values.names))] + [start + 2 * at + 1 for at in range(len(values.ratios))]
    means = _ratio(points[:, tops], points[:, bottoms])
    others = points[:1, bottoms] - points[:, bottoms]
    # What rounding leaves over of a group that is everybody is nobody.
    others = np.where(others > 1e-9 * points[:1, bottoms], others, 0.0)
    rests = _ratio(points[:1, tops] - points[:, tops], others)
    lows, highs = _percentiles(_ratio(by_group[..., tops], by_group[..., bottoms]))
    figures = []
    for place, group in places.items():
        for at, name in enumerate(names):
            rest = float(rests[place, at])
            figures.append(
                _Figure(
                    Finding(
                        name,
                        group.attribute.name if group else _ALL,
                        group.name if group else _ALL,
                        group.user_count if group else len(values.values),
                        float(means[place, at]),
                        float(lows[place, at]),
                        float(highs[place, at]),
                        rest if group and np.isfinite(rest) else None,
                        np.nan,
                        None,
                        None,
                        False,
                        Verdict.PASS,
                        "reported only",
                    )
                )
            )
    return figures


def _worst(family: Family, values: UserValues, points: Floats, policy: AuditPolicy) -> list[_Figure]:
    """Of each attribute and metric with a floor, the lowest mean of a group over the mean of everybody: reported."""
    figures = []
    for metric in policy.metrics:
        if not metric.has_floor or metric.name not in values.names:
            continue
        at = 3 * values.names.index(metric.name)
        means = _ratio(points[:, at + 1], points[:, at])
        ratios = _ratio(means, means[:1])
        for attribute in dict.fromkeys(one.attribute for one in family.groups):
            told = [one for one in family.groups if one.attribute == attribute and one.place >= 0 and not one.pool_of]
            told = [one for one in told if np.isfinite(ratios[one.place + 1])]
            if len(told) < 2:
                continue
            worst = min(told, key=_by(ratios))
            figures.append(
                _Figure(
                    Finding(
                        f"{metric.name}:worst",
                        attribute.name,
                        worst.name,
                        worst.user_count,
                        float(ratios[worst.place + 1]),
                        np.nan,
                        np.nan,
                        float(means[0]),
                        np.nan,
                        None,
                        None,
                        False,
                        Verdict.PASS,
                        f"the lowest of {len(told)} groups, beside the mean of everybody: reported only",
                    )
                )
            )
    return figures


def _by(ratios: Floats) -> Callable[[JudgedGroup], float]:
    return lambda group: float(ratios[group.place + 1])


def _not_judged(group: JudgedGroup, metric: str, policy: AuditPolicy, groups: Sequence[JudgedGroup]) -> Finding:
    if group.size == "private":
        count, said = 0, f"has fewer than {policy.privacy_floor:,} users: no figure of it is given"
    else:
        count = group.user_count
        said = f"has {count:,} users, fewer than {policy.least_users:,}: it is not judged by itself"
    return Finding(
        metric,
        group.attribute.name,
        group.name,
        count,
        np.nan,
        np.nan,
        np.nan,
        None,
        np.nan,
        None,
        None,
        group.is_primary,
        Verdict.INCONCLUSIVE,
        f"{group.attribute.name} {group.name} {said}{_pooled_in(group, groups)}",
    )


def _pooled_in(group: JudgedGroup, groups: Sequence[JudgedGroup]) -> str:
    pool = next((one for one in groups if one.attribute == group.attribute and group.name in one.pool_of), None)
    return f"; it is judged as part of {pool.name}" if pool is not None and pool.place >= 0 else ""


def _decided(figures: Sequence[_Figure], policy: AuditPolicy, groups: Sequence[JudgedGroup]) -> tuple[Finding, ...]:
    tested = [at for at, one in enumerate(figures) if np.isfinite(one.error)]
    p = p_values(np.array([figures[at].difference for at in tested]), np.array([figures[at].error for at in tested]))
    adjusted = dict(zip(tested, zip(p, holm(p), strict=True), strict=True))
    found = []
    for at, one in enumerate(figures):
        if at not in adjusted:
            found.append(one.finding)
            continue
        alone, together = (float(value) for value in adjusted[at])
        verdict, reason = Verdict.PASS, f"{one.said}: not shown to lie beyond it"
        if together < policy.alpha:
            verdict, reason = Verdict.FAIL, f"{one.said}: shown to lie beyond it (adjusted p {together:.2g})"
        elif one.group is not None and one.group.size != "enough":
            verdict = Verdict.INCONCLUSIVE
            needed = f"{one.group.needed:,.0f} users" if np.isfinite(one.group.needed) else "more to find"
            reason = f"{one.said}: it takes {needed} to tell{_pooled_in(one.group, groups)}"
        found.append(replace(one.finding, p_value=alone, adjusted_p=together, verdict=verdict, reason=reason))
    return tuple(found)


def _percent(value: float, digits: int = 1) -> str:
    """A share in words; a dash where it could not be computed."""
    return f"{value:.{digits}%}" if np.isfinite(value) else "–"


def _percentiles(drawn: Floats) -> tuple[Floats, Floats]:
    """The middle 95 % over the first axis; NaN where a figure is undefined in a resample."""
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    return low, high


def _shares(sums: Floats) -> Floats:
    return _ratio(sums, sums.sum(-1, keepdims=True))


def _ratio(parts: Floats, wholes: Floats) -> Floats:
    """NaN where a whole is zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: Floats = np.where(wholes > 0, parts / wholes, np.nan)
    return ratio
