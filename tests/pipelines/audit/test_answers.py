"""What a person's word on an audit comes to."""

import pytest

from pipelines.audit.answers import NOBODY, answer_content
from pipelines.audit.entry import NOTHING, AuditRecord


def audited(verdict: str = "PASS") -> AuditRecord:
    content = {"verdict": verdict, "model_set": "a" * 32}
    return AuditRecord(7, "monthly-20260131-7", "monthly", NOTHING, content, "", "", "")


def test_a_named_person_approves_an_audit_that_passed() -> None:
    said = answer_content(audited(), "approve", name="Ada", account="admin", note="looked at it")
    assert (said["is_approved"], said["by"], said["account"], said["note"]) == (True, "Ada", "admin", "looked at it")
    assert said["reasons"] == []
    assert said["audit_id"] == "monthly-20260131-7"


def test_an_account_of_somebody_is_a_name() -> None:
    assert answer_content(audited(), "approve", name="", account="ada", note="")["by"] == "ada"


@pytest.mark.parametrize(
    ("verdict", "name", "account", "reason"),
    [
        ("PASS", "", "", "names nobody"),
        ("PASS", "", "Anonymous", "names nobody"),
        ("FAIL", "Ada", "ada", "no approval puts it in force"),
        ("INCONCLUSIVE", "Ada", "ada", "no approval puts it in force"),
    ],
)
def test_an_approval_by_nobody_or_of_what_did_not_pass_is_none(
    verdict: str, name: str, account: str, reason: str
) -> None:
    said = answer_content(audited(verdict), "approve", name=name, account=account, note="")
    assert not said["is_approved"]
    assert reason in said["reasons"][0]


def test_silence_is_a_rejection() -> None:
    said = answer_content(audited(), "reject", name="", account="", note="")
    assert (said["is_approved"], said["by"]) == (False, NOBODY)
    assert said["reasons"] == ["nobody answered in time: that is a rejection"]


def test_a_rejection_needs_no_reason() -> None:
    said = answer_content(audited(), "reject", name="Ada", account="ada", note="not yet")
    assert (said["is_approved"], said["by"], said["reasons"]) == (False, "Ada", [])
