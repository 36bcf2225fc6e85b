"""Which audits a promotion rests on: the challenger's own, and the full one that is in force.

A full audit is the genesis audit of an installation's first set, or one that a named person approved (monthly, or on
demand with a day until which it holds). It is in force from its day for 35 days, for sets of its configuration
fingerprint under its policy, until a newer one of the same kind is settled: a failed or rejected one ends it.

What is read of an audit's content: `model_set`, `policy` (a digest), `fingerprint`, `verdict` (PASS, FAIL or
INCONCLUSIVE), `reasons` (sentences), `day`, `in_force_until` (a day; of full audits). Of an approval's: `audit_id`,
`is_approved`, `by`. Of a promotion's or refusal's: `model_set`, `is_promoted`, `policy`, `fingerprint`, `epoch`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from pipelines.audit.entry import AuditRecord, Moment

IN_FORCE_DAYS = 35
_FULL = frozenset({"genesis", "monthly", "on_demand"})
OWN_AUDITS = frozenset({"genesis", "challenger"})


@dataclass(frozen=True)
class Grounds:
    """What a promotion rests on, or why it may not be: `reasons` is empty if the audits let it pass.

    `own` and `in_force` are audit ids; `attempts` counts the challenger's own audits.
    """

    own: str | None
    in_force: str | None
    attempts: int
    reasons: tuple[str, ...]


def moment_of_challenger(records: Sequence[AuditRecord]) -> Moment:
    """As what a challenger is to be audited: `genesis` until a first set was promoted, then `challenger`."""
    return "challenger" if any(_promotes(record) for record in records) else "genesis"


def in_force_until(day: date) -> date:
    """The last day on which a full audit of this day is in force."""
    return day + timedelta(days=IN_FORCE_DAYS)


def audit_for_promotion(
    records: Sequence[AuditRecord], challenger: str, policy_digest: str, fingerprint: str, today: date
) -> Grounds:
    """The audits that let a challenger be promoted on a day, or every reason why it may not be.

    The first audit of a set under a policy is the one that counts: trying again until it passes changes nothing.

    Args:
        records: a chain that was verified.
        challenger: digest of the model set.
        policy_digest: of the policy in use.
        fingerprint: of the run's configuration (`pipelines.audit.fingerprint`).
        today: the day whose night this is.
    """
    tried = [
        record for record in records if record.moment in OWN_AUDITS and record.content.get("model_set") == challenger
    ]
    own, own_reasons = _own(tried, challenger, policy_digest, fingerprint)
    full, full_reasons = _full(records, policy_digest, fingerprint, today)
    return Grounds(own, full, len(tried), (*own_reasons, *full_reasons))


def covering(records: Sequence[AuditRecord], model_set: str, day: date) -> str | None:
    """The full audit in force on a day for a promoted set; `None` if it was never promoted, or none is in force."""
    promotions = promotions_of(records, model_set)
    if not promotions:
        return None
    said = promotions[-1].content
    return _full(records, str(said["policy"]), str(said["fingerprint"]), day)[0]


def promotions_of(records: Sequence[AuditRecord], model_set: str) -> list[AuditRecord]:
    """Every promotion of a set, in order."""
    return [record for record in records if _promotes(record) and record.content.get("model_set") == model_set]


def newest_promotion(records: Sequence[AuditRecord]) -> AuditRecord | None:
    """The promotion that made the present champion; `None` if no set was ever promoted."""
    return next((record for record in reversed(records) if _promotes(record)), None)


def _promotes(record: AuditRecord) -> bool:
    return record.moment == "promotion" and record.content.get("is_promoted") is True


def _own(
    tried: Sequence[AuditRecord], challenger: str, policy_digest: str, fingerprint: str
) -> tuple[str | None, list[str]]:
    """The challenger's own audit if it lets it pass, and the reasons why not."""
    if not tried:
        return None, [f"the challenger {challenger[:12]} was not audited"]
    judged = [record for record in tried if record.content.get("policy") == policy_digest]
    if not judged:
        return None, [
            f"{tried[-1].audit_id}, the challenger's own audit, was judged by another policy than the one in use"
        ]
    first, reasons = judged[0], []
    verdict = first.content.get("verdict")
    if verdict != "PASS":
        reasons.append(f"{first.audit_id}, the challenger's own audit, ended in {verdict}{_because(first.content)}")
        if len(judged) > 1:
            reasons.append(f"the challenger was audited {len(judged)} times: the first verdict is the one that counts")
    if first.content.get("fingerprint") != fingerprint:
        reasons.append(f"{first.audit_id}, the challenger's own audit, is of another configuration than this run's")
    return (None if reasons else first.audit_id), reasons


def _full(
    records: Sequence[AuditRecord], policy_digest: str, fingerprint: str, today: date
) -> tuple[str | None, list[str]]:
    """The full audit in force on a day, and the reasons why there is none."""
    audits = _full_audits(records)
    if not audits:
        return None, ["no audit is in force: there was no full audit yet"]
    started = [one for one in audits if _day(one.content, "day") <= today]
    if not started:
        return None, [f"{audits[0].audit_id}, the first full audit, is of a day after {today}"]
    fitting = [one for one in started if not _mismatches(one, policy_digest, fingerprint)]
    if not fitting:
        return None, _mismatches(started[-1], policy_digest, fingerprint)
    # The first answer is the one that counts, as the first verdict is.
    approvals = [record.content for record in reversed(records) if record.moment == "approval"]
    answers = {str(content.get("audit_id")): content for content in approvals}
    # One that waits for its answer leaves the one before in force.
    settled = [one for one in fitting if one.content.get("verdict") != "PASS" or _is_answered(one, answers)]
    newest = settled[-1] if settled else fitting[-1]
    reasons = _faults(newest, answers.get(newest.audit_id), today)
    return (None if reasons else newest.audit_id), reasons


def _full_audits(records: Sequence[AuditRecord]) -> list[AuditRecord]:
    """Those that may be in force; a genesis audit after the first promotion is none."""
    first = next((record.number for record in records if _promotes(record)), len(records) + 1)
    return [
        record
        for record in records
        if record.moment in _FULL
        and record.content.get("in_force_until")
        and (record.moment != "genesis" or record.number < first)
    ]


def _is_answered(audit: AuditRecord, answers: Mapping[str, Mapping[str, Any]]) -> bool:
    return audit.moment == "genesis" or audit.audit_id in answers


def _mismatches(audit: AuditRecord, policy_digest: str, fingerprint: str) -> list[str]:
    reasons = []
    if audit.content.get("policy") != policy_digest:
        reasons.append(f"{audit.audit_id}, the newest full audit, was judged by another policy than the one in use")
    if audit.content.get("fingerprint") != fingerprint:
        reasons.append(
            f"{audit.audit_id}, the newest full audit, is of another configuration: a new architecture or feature set "
            "needs a full audit of its own"
        )
    return reasons


def _faults(audit: AuditRecord, answer: Mapping[str, Any] | None, today: date) -> list[str]:
    """Why a full audit that fits is not in force."""
    named, content, reasons = f"{audit.audit_id}, the newest full audit,", audit.content, []
    if content.get("verdict") != "PASS":
        reasons.append(f"{named} ended in {content.get('verdict')}{_because(content)}")
    if audit.moment != "genesis":
        if answer is None:
            reasons.append(f"{named} was not approved by anybody yet")
        elif answer.get("is_approved") is not True:
            reasons.append(f"{named} was rejected by {answer.get('by')}")
    last = min(_day(content, "in_force_until"), in_force_until(_day(content, "day")))
    if today > last:
        reasons.append(f"{named} has expired: it was in force until {last}")
    return reasons


def _because(content: Mapping[str, Any]) -> str:
    reasons = content.get("reasons") or ()
    return ": " + "; ".join(str(reason) for reason in reasons) if reasons else ""


def _day(content: Mapping[str, Any], name: str) -> date:
    return date.fromisoformat(str(content[name]))
