"""A policy as a JSON file, for a service that asks other things than we do: the keys are those of the declaration."""

import dataclasses
import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from feature_defs.audit_policy import DEMO_POLICY, AuditPolicy
from pipelines.audit.policy_checks import check_policy
from pipelines.errors import UsageError


def read_policy(setting: str) -> AuditPolicy:
    """The policy in the file that the setting names; without one the labelled demo policy.

    Raises:
        UsageError: as `policy_from_json`.
    """
    return policy_from_json(Path(setting)) if setting else DEMO_POLICY


def policy_to_json(policy: AuditPolicy) -> str:
    """The policy as JSON, keys sorted: what its digest is taken of."""
    return json.dumps(dataclasses.asdict(policy), sort_keys=True)


def policy_from_json(path: Path) -> AuditPolicy:
    """The policy of a file; what it does not name is as in `AuditPolicy`.

    Raises:
        UsageError: if the file cannot be read, or a key or a value of it is not known or means nothing; names it.
    """
    try:
        values = json.loads(path.read_text())
    except OSError as fault:
        raise UsageError(f"the audit policy {path} cannot be read: {fault.strerror}") from fault
    except ValueError as fault:
        raise UsageError(f"the audit policy {path} is not JSON: {fault}") from fault
    policy: AuditPolicy = _built(AuditPolicy, values, f"the audit policy {path}", "")
    check_policy(policy, f"the audit policy {path}")
    return policy


def _built(kind: Any, values: Any, where: str, at: str) -> Any:
    if not isinstance(values, Mapping):
        raise UsageError(f"{where}: {at or 'the whole'} must be an object, not {json.dumps(values)}")
    kinds = get_type_hints(kind)
    for name in values:
        if name not in kinds:
            nearest = difflib.get_close_matches(name, kinds, 1, 0)
            raise UsageError(f"{where} has an unknown key, {at}{name}: is {at}{nearest[0]} meant?")
    missing = [one.name for one in dataclasses.fields(kind) if _is_needed(one) and one.name not in values]
    if missing:
        raise UsageError(f"{where} lacks {at}{missing[0]}")
    return kind(**{name: _value(kinds[name], value, where, f"{at}{name}") for name, value in values.items()})


def _is_needed(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _value(kind: Any, value: Any, where: str, at: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _built(kind, value, where, f"{at}.")
    if get_origin(kind) is tuple and isinstance(value, list):
        element = get_args(kind)[0]
        return tuple(_value(element, one, where, f"{at}[{place}]") for place, one in enumerate(value))
    allowed = (kind,) if get_origin(kind) is tuple else get_args(kind) or (kind,)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if is_number and float in allowed:
        return float(value)
    # A truth value is an integer to Python, and not to people.
    if type(value) in allowed:
        return value
    raise UsageError(f"{where}: {at} cannot be {json.dumps(value)}")
