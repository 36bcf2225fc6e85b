"""What a person's word on an audit comes to: an approval, or a rejection and why."""

from typing import Any

from pipelines.audit.entry import AuditRecord

# What Airflow calls somebody who need not log in.
_NO_ACCOUNTS = frozenset({"", "anonymous"})
NOBODY = "nobody in time"


def answer_content(audited: AuditRecord, answer: str, *, name: str, account: str, note: str) -> dict[str, Any]:
    """What the record says of an answer: `is_approved` only if a named person approved an audit that passed.

    Args:
        audited: the audit.
        answer: `approve` or `reject`.
        name: who answered, as given; may be empty.
        account: whom they were logged in as; may be empty, or say that nobody need log in.
        note: what they found; may be empty.
    """
    is_named_account = account.lower() not in _NO_ACCOUNTS
    by = name or (account if is_named_account else "")
    verdict = audited.content["verdict"]
    reasons = []
    if answer == "approve" and not by:
        reasons.append("an approval names a person, and this one names nobody: it is a rejection")
    if answer == "approve" and verdict != "PASS":
        reasons.append(f"its verdict is {verdict}: no approval puts it in force")
    if answer == "reject" and not by and not account:
        reasons.append("nobody answered in time: that is a rejection")
    return {
        "audit_id": audited.audit_id,
        "model_set": audited.content["model_set"],
        "verdict": verdict,
        "answer": answer,
        "is_approved": answer == "approve" and not reasons,
        "by": by or (f"somebody of the account {account}" if account else NOBODY),
        "account": account,
        "note": note,
        "reasons": reasons,
    }
