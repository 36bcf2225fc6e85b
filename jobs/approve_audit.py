"""Record a person's word on an audit: python -m jobs.approve_audit --audit-id monthly-20260131-7 --answer approve ...

Appended to the signed record, whichever it is. An approval names a person; one that names nobody is a rejection, as
silence is. It puts an audit in force only if that passed. Each audit is answered once.
"""

from datetime import date
from typing import Literal

from pipelines.audit.answers import answer_content
from pipelines.audit.records import append_record, trusted_records
from pipelines.audit.signing import open_signer
from pipelines.command_line import run, say, say_result
from pipelines.errors import RefusedError
from pipelines.lake import Lake
from pipelines.settings import read_settings


def main(
    audit_id: str, answer: Literal["approve", "reject"], name: str = "", account: str = "", note: str = ""
) -> None:
    """Record whether a full audit was approved, and by whom.

    Args:
        audit_id: which audit.
        answer: what was answered; a rejection also where nobody did.
        name: who answered, as that person gave it.
        account: the account they were logged in with.
        note: what they found.
    """
    settings = read_settings()
    lake = Lake(settings.lake, settings.lake_options)
    signer = open_signer(settings.audit_key, settings.home)
    chain = trusted_records(lake, signer.public_key, settings.audits)
    audited = next((record for record in chain if record.audit_id == audit_id), None)
    if audited is None or audited.moment not in {"monthly", "on_demand"}:
        raise RefusedError(f"the record holds no monthly audit, and none on demand, of the name {audit_id!r}")
    content = answer_content(audited, answer, name=name.strip(), account=account.strip(), note=note.strip())
    earlier = next(
        (record for record in chain if record.moment == "approval" and record.content["audit_id"] == audit_id), None
    )
    if earlier is not None and not content.items() <= earlier.content.items():
        raise RefusedError(f"{audit_id} was answered already, by {earlier.content['by']}: audit the month again")
    day = date.fromisoformat(audited.content["day"])
    record = earlier or append_record(lake, signer, "approval", content, day, audits=settings.audits)
    for reason in content["reasons"]:
        say(reason)
    told = "approved" if content["is_approved"] else "rejected"
    say(f"{audit_id} was {told} by {content['by']}; recorded as {record.audit_id}")
    say_result({"job": "approve_audit", "audit_id": audit_id, "answer": told, "record": record.audit_id})


if __name__ == "__main__":
    run(main, description=__doc__)
