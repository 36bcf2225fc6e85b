"""What the record says of an audit: what was judged, by what, on which data and code, and with which figures."""

import dataclasses
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from feature_defs.audit_policy import AuditPolicy
from pipelines.audit.canonical import canonical_digest, digest_of_bytes
from pipelines.audit.findings import AuditResult
from pipelines.audit.fingerprint import fingerprint_of
from pipelines.digests import code_digest
from pipelines.runs import Run

_ROOT = Path(__file__).parents[2]


def policy_digest(policy: AuditPolicy) -> str:
    """sha256 of all that a policy asks, 64 hexadecimal digits."""
    return canonical_digest(dataclasses.asdict(policy))


def audit_content(
    result: AuditResult,
    policy: AuditPolicy,
    run: Run,
    model_set: str,
    files: Mapping[str, bytes],
    tables: Mapping[str, int],
    *,
    in_force_until: date | None = None,
    fingerprint: str | None = None,
) -> dict[str, Any]:
    """The content of a record of an audit, for `pipelines.audit.records.append_record`.

    Args:
        result: what was found.
        policy: by which it was judged.
        run: the night of the audit, whose inputs it had.
        model_set: its digest.
        files: of the set, as they were loaded.
        tables: version by name of what else was read, beside the inputs of the run.
        in_force_until: of a full audit; none for a challenger's own.
        fingerprint: of the configuration that the set is of; that of the run unless it says another.
    """
    pinned = {name: {"version": pin.version, "digest": pin.digest} for name, pin in run.inputs.items()}
    said = {
        **result.to_record(),
        "run_id": run.run_id,
        "model_set": model_set,
        "set_files": {name: digest_of_bytes(data) for name, data in files.items()},
        "tables": pinned | {name: {"version": version} for name, version in tables.items()},
        "policy": policy_digest(policy),
        "policy_name": policy.name,
        "policy_version": policy.version,
        "is_demo": policy.is_demo,
        "fingerprint": fingerprint or fingerprint_of(run.configuration),
        "code": code_digest(_ROOT),
    }
    return said if in_force_until is None else {**said, "in_force_until": str(in_force_until)}
