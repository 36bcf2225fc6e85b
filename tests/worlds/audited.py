"""Audits planted in a record: what a gate asks for, without anything having been audited."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from feature_defs.audit_policy import DEMO_POLICY
from pipelines.audit.content import policy_digest
from pipelines.audit.entry import AuditRecord, Moment
from pipelines.audit.fingerprint import fingerprint_of
from pipelines.audit.in_force import in_force_until, moment_of_challenger
from pipelines.audit.records import append_record, records
from pipelines.audit.signing import Signer, open_signer
from pipelines.configuration import RunConfiguration
from pipelines.digested_files import DigestedFiles
from pipelines.lake import Lake


def signer_of(home: Path) -> Signer:
    """The demo key of an installation."""
    return open_signer(home / "audit.key", home)


def said_of(model_set: str, day: date, configuration: RunConfiguration | None = None, **other: Any) -> dict[str, Any]:
    """What the record says of a full audit that let a set pass."""
    return {
        "model_set": model_set,
        "policy": policy_digest(DEMO_POLICY),
        "policy_name": DEMO_POLICY.name,
        "policy_version": DEMO_POLICY.version,
        "fingerprint": fingerprint_of(configuration or RunConfiguration()),
        "verdict": "PASS",
        "reasons": ["planted"],
        "user_count": 0,
        "findings": [],
        "in_force_until": str(in_force_until(day)),
        **other,
    }


def add(home: Path, moment: Moment, content: Mapping[str, Any], day: date) -> AuditRecord:
    """Add an entry to the record of an installation in this folder, as its jobs do."""
    return append_record(Lake(str(home / "lake")), signer_of(home), moment, content, day, audits=home / "audits")


def plant_audit(home: Path, model_set: str, day: date, configuration: RunConfiguration | None = None) -> None:
    """Let the audit of a challenger pass: genesis for the first; once, however often it is asked."""
    past = records(Lake(str(home / "lake")))
    if not any(entry.content.get("model_set") == model_set for entry in past):
        moment = moment_of_challenger(past)
        until = {} if moment == "genesis" else {"in_force_until": None}
        add(home, moment, said_of(model_set, day, configuration, **until), day)


def plant_promotion(home: Path, day: date, files: Mapping[str, bytes] | None = None) -> str:
    """A model set of these files that was promoted; returns its digest."""
    model_set = DigestedFiles(str(home / "models")).save(files or {"set.txt": b"a set"})
    plant_audit(home, model_set, day)
    said = {"epoch": 1, "run_id": "", "model_set": model_set, "champion_before": None, "is_promoted": True}
    said |= {"reasons": ["planted"], "attempts": 1, "own_audit": None, "audit_in_force": None}
    said |= {"policy": policy_digest(DEMO_POLICY), "fingerprint": fingerprint_of(RunConfiguration())}
    past = records(Lake(str(home / "lake")))
    if not any(entry.moment == "promotion" and entry.content["model_set"] == model_set for entry in past):
        add(home, "promotion", said, day)
    return model_set
