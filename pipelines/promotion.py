"""Which model set is champion: the record of decisions is the truth, and its last promotion names the champion.

Each decision is also an entry of the signed record (`pipelines.audit.records`), with the audits that it rests on: what
is published is held against that.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa

from feature_defs.record import DECISIONS
from pipelines import crash_points
from pipelines.arrow_schemas import arrow_schema
from pipelines.audit.entry import AuditRecord
from pipelines.audit.in_force import Grounds
from pipelines.evaluation.gate import Verdict
from pipelines.lake import Lake


@dataclass(frozen=True)
class Decision:
    """What was decided of one challenger."""

    epoch: int
    run_id: str
    day: date
    challenger: str
    champion_before: str | None
    is_promoted: bool
    reasons: tuple[str, ...]


def decisions(lake: Lake) -> list[Decision]:
    """Every decision, in order."""
    rows: list[dict[str, Any]] = lake.read(DECISIONS).to_pylist()
    return [
        Decision(
            row["epoch"],
            row["run_id"],
            row["run_day"],
            row["challenger"],
            row["champion_before"],
            row["verdict"] == "promoted",
            tuple(json.loads(row["reasons"])),
        )
        for row in sorted(rows, key=lambda row: row["epoch"])
    ]


def champion(lake: Lake) -> Decision | None:
    """The decision that made the present champion; `None` if no set was ever promoted."""
    return next((decision for decision in reversed(decisions(lake)) if decision.is_promoted), None)


def decide(lake: Lake, run_id: str, day: date, challenger: str, verdict: Verdict) -> Decision:
    """Record what was decided of a run's challenger; the same again, or a champion promoted, is not recorded twice.

    Raises:
        RefusedError: if somebody else decided at the same time.
    """
    past = decisions(lake)
    before = champion(lake)
    last = past[-1] if past else None
    decision = Decision(
        last.epoch + 1 if last else 1,
        run_id,
        day,
        challenger,
        before.challenger if before else None,
        verdict.is_promoted,
        verdict.reasons,
    )
    if before and verdict.is_promoted and before.challenger == challenger:
        return before
    if last and (last.run_id, last.challenger, last.is_promoted) == (run_id, challenger, verdict.is_promoted):
        return last
    row = {
        "epoch": decision.epoch,
        "run_id": run_id,
        "run_day": day,
        "challenger": challenger,
        "champion_before": decision.champion_before,
        "verdict": "promoted" if verdict.is_promoted else "refused",
        "reasons": json.dumps(verdict.reasons),
        "decided_at": datetime.now(UTC),
    }
    crash_points.passing("promotion.before_record")
    lake.append(DECISIONS, pa.Table.from_pylist([row], arrow_schema(DECISIONS)), day, number=decision.epoch)
    crash_points.passing("promotion.after_record")
    return decision


def with_day_in_order(verdict: Verdict, day: date, before: Decision | None, *, allow_older: bool) -> Verdict:
    """The verdict, refused if the champion is of a newer day: a back-fill does not promote unless told to."""
    if before is None or before.day <= day or allow_older:
        return verdict
    reason = f"the champion is of {before.day}, a newer day than {day}: a back-fill does not promote unless told to"
    return Verdict(is_promoted=False, reasons=(reason, *verdict.reasons))


def with_audits(verdict: Verdict, grounds: Grounds) -> Verdict:
    """The verdict of the metrics, refused if the audits do not let the challenger pass; every reason is listed."""
    if not grounds.reasons:
        return verdict
    reasons = (*grounds.reasons, *verdict.reasons) if verdict.is_promoted else (*verdict.reasons, *grounds.reasons)
    return Verdict(is_promoted=False, reasons=reasons)


def decision_content(decision: Decision, grounds: Grounds, policy_digest: str, fingerprint: str) -> dict[str, Any]:
    """What the signed record says of a decision."""
    return {
        "epoch": decision.epoch,
        "run_id": decision.run_id,
        "model_set": decision.challenger,
        "champion_before": decision.champion_before,
        "is_promoted": decision.is_promoted,
        "reasons": list(decision.reasons),
        "attempts": grounds.attempts,
        "own_audit": grounds.own,
        "audit_in_force": grounds.in_force,
        "policy": policy_digest,
        "fingerprint": fingerprint,
    }


def signed_decision(chain: Sequence[AuditRecord], decision: Decision) -> AuditRecord | None:
    """The entry of a decision in the signed record; `None` if it is not there yet."""
    return next((one for one in chain if one.moment == "promotion" and _is_of(one, decision)), None)


def _is_of(entry: AuditRecord, decision: Decision) -> bool:
    said = entry.content
    told = (said.get("epoch"), said.get("model_set"), said.get("is_promoted"))
    return told == (decision.epoch, decision.challenger, decision.is_promoted)
