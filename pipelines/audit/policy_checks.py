"""Whether a policy asks only what can be asked: a name or a limit that means nothing would let everything pass."""

import difflib
from collections.abc import Collection, Sequence

from feature_defs.audit_policy import AuditedAttribute, AuditedExposure, AuditedMetric, AuditPolicy
from pipelines.audit.groups import ATTRIBUTES, CUT_ATTRIBUTES
from pipelines.audit.metrics import IS_MORE_BETTER
from pipelines.audit.subjects import CLASSES
from pipelines.errors import UsageError

_NUMBERS = (
    ("alpha", 1e-6, 0.2),
    ("resamples", 1000, 1_000_000),
    ("power", 0.5, 0.999),
    ("found_beyond_margin", 0.001, 0.95),
    ("found_below_floor", 0.001, 0.95),
    ("privacy_floor", 1, 1_000_000),
    ("least_users", 2, 1_000_000_000),
    ("unknown_limit", 0, 1),
    ("planted_loss", 0.05, 1),
    ("permutations", 200, 100_000),
    ("permutation_limit", 0, 0.05),
    ("head_share_limit", 0, 1),
    ("weekly_coverage_limit", 0, 1),
    ("new_title_days", 0, 36_500),
)
# Of what everybody has: a group that may lose more of it may lose all. Of what is to be little: it may double.
_MOST_LOST, _MOST_GAINED = 0.95, 1.0


def check_policy(policy: AuditPolicy, where: str) -> None:
    """Refuse a policy that asks what is not known, or within limits that nothing could lie beyond.

    Args:
        policy: what is asked.
        where: what it is called in errors.

    Raises:
        UsageError: one sentence that names the key and, of a name, the nearest that is known.
    """
    for name, low, high in _NUMBERS:
        _check_number(where, name, getattr(policy, name), low, high)
    if not policy.metrics or not policy.attributes:
        raise UsageError(f"{where} names no {'attributes' if policy.metrics else 'metrics'}: it asks nothing")
    _check_names(where, "attribute", [one.name for one in policy.attributes], ATTRIBUTES)
    _check_names(where, "metric", [one.name for one in policy.metrics], IS_MORE_BETTER)
    _check_names(where, "exposure", [one.name for one in policy.exposures], CLASSES)
    for attribute in policy.attributes:
        _check_attribute(where, attribute)
    for metric in policy.metrics:
        _check_metric(where, metric)
    for exposure in policy.exposures:
        _check_exposure(where, exposure)


def _check_attribute(where: str, attribute: AuditedAttribute) -> None:
    if not 0 <= attribute.floor <= 1:
        raise UsageError(f"{where}: the floor of {attribute.name} is {attribute.floor:g}; a ratio has from 0 to 1")
    if len(attribute.least) != len(attribute.order) and (attribute.least or attribute.name in CUT_ATTRIBUTES):
        raise UsageError(
            f"{where}: {attribute.name} has {len(attribute.order)} labels and {len(attribute.least)} bounds"
        )
    if attribute.name in CUT_ATTRIBUTES and not attribute.least:
        raise UsageError(f"{where}: {attribute.name} is cut from a number, and has no labels with bounds")
    if any(low >= high for low, high in zip(attribute.least, attribute.least[1:], strict=False)):
        raise UsageError(f"{where}: the bounds of {attribute.name} do not ascend")


def _check_metric(where: str, metric: AuditedMetric) -> None:
    is_more_better = IS_MORE_BETTER[metric.name]
    if metric.is_more_better != is_more_better:
        better, needed = ("more", "true") if is_more_better else ("less", "false")
        raise UsageError(f"{where}: of {metric.name} {better} is better: is_more_better must be {needed}")
    if metric.has_floor and not is_more_better:
        raise UsageError(f"{where}: {metric.name} can have no floor, since less of it is better")
    if metric.kept_margin is not None:
        most = _MOST_LOST if is_more_better else _MOST_GAINED
        _check_number(where, f"the kept_margin of {metric.name}", metric.kept_margin, 0, most)


def _check_exposure(where: str, exposure: AuditedExposure) -> None:
    if exposure.least_ratio is not None:
        _check_number(where, f"the least_ratio of {exposure.name}", exposure.least_ratio, 0, 1)
    # Of languages and countries any may come.
    if known := CLASSES[exposure.name]:
        _check_names(where, f"class of {exposure.name}", exposure.classes, known)


def _check_number(where: str, name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UsageError(f"{where}: {name} is {value:g}; it must lie between {low:g} and {high:g}")


def _check_names(where: str, kind: str, names: Sequence[str], known: Collection[str]) -> None:
    for at, name in enumerate(names):
        if name not in known:
            nearest = difflib.get_close_matches(name, known, 1, 0)
            raise UsageError(f"{where} names an unknown {kind}, {name}: is {nearest[0]} meant?")
        if name in names[:at]:
            raise UsageError(f"{where} names the {kind} {name} twice")
