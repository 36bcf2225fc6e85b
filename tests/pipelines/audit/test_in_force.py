"""A promotion rests on the challenger's own audit and a full one in force; what is missing is said, all of it."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import pytest

from pipelines.audit.entry import AuditRecord
from pipelines.audit.in_force import (
    IN_FORCE_DAYS,
    audit_for_promotion,
    covering,
    in_force_until,
    moment_of_challenger,
    newest_promotion,
    promotions_of,
)

DAY = date(2026, 1, 31)
SET, POLICY, PRINT = "a" * 32, "p" * 64, "f" * 64


class Told:
    """A record as it grows; nothing is signed here, as only what is said matters."""

    def __init__(self) -> None:
        self.entries: list[AuditRecord] = []

    def add(self, moment: str, day: date = DAY, **said: Any) -> str:
        number = len(self.entries) + 1
        audit_id = f"{moment}-{number}"
        content: Mapping[str, Any] = {"day": str(day), **said}
        self.entries.append(AuditRecord(number, audit_id, moment, "", content, f"digest {number}", "", ""))
        return audit_id

    def audit(self, moment: str, model_set: str = SET, day: date = DAY, **other: Any) -> str:
        said = {"model_set": model_set, "policy": POLICY, "fingerprint": PRINT, "verdict": "PASS", "reasons": []}
        until = None if moment == "challenger" else str(in_force_until(day))
        return self.add(moment, day, **(said | {"in_force_until": until} | other))

    def promote(self, model_set: str = SET, day: date = DAY) -> str:
        return self.add("promotion", day, model_set=model_set, is_promoted=True, policy=POLICY, fingerprint=PRINT)

    def answer(self, audit_id: str, day: date = DAY, by: str = "Ada", *, is_approved: bool = True) -> str:
        return self.add("approval", day, audit_id=audit_id, is_approved=is_approved, by=by)

    def reasons(self, model_set: str = SET, day: date = DAY, policy: str = POLICY, of: str = PRINT) -> list[str]:
        return list(audit_for_promotion(self.entries, model_set, policy, of, day).reasons)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def started(told: Told) -> Told:
    """An installation whose first set was promoted."""
    told.audit("genesis", "first")
    told.promote("first")
    return told


def test_the_first_set_rests_on_its_genesis_audit_alone(told: Told) -> None:
    assert moment_of_challenger(told.entries) == "genesis"
    genesis = told.audit("genesis")
    grounds = audit_for_promotion(told.entries, SET, POLICY, PRINT, DAY)
    assert (grounds.own, grounds.in_force, grounds.attempts, grounds.reasons) == (genesis, genesis, 1, ())


def test_without_any_audit_both_are_missing(told: Told) -> None:
    assert told.reasons() == [
        f"the challenger {SET[:12]} was not audited",
        "no audit is in force: there was no full audit yet",
    ]


def test_a_later_set_needs_its_own_audit_beside_the_one_in_force(started: Told) -> None:
    assert moment_of_challenger(started.entries) == "challenger"
    assert started.reasons() == [f"the challenger {SET[:12]} was not audited"]
    own = started.audit("challenger")
    grounds = audit_for_promotion(started.entries, SET, POLICY, PRINT, DAY)
    assert (grounds.own, grounds.in_force, grounds.reasons) == (own, "genesis-1", ())


@pytest.mark.parametrize("verdict", ["FAIL", "INCONCLUSIVE"])
def test_a_challenger_that_does_not_pass_is_refused_with_the_audits_reasons(started: Told, verdict: str) -> None:
    started.audit("challenger", verdict=verdict, reasons=["women get less", "so do the old"])
    assert started.reasons() == [
        f"challenger-3, the challenger's own audit, ended in {verdict}: women get less; so do the old"
    ]


def test_trying_again_until_it_passes_changes_nothing_and_is_counted(started: Told) -> None:
    started.audit("challenger", verdict="FAIL")
    started.audit("challenger")
    started.audit("challenger")
    grounds = audit_for_promotion(started.entries, SET, POLICY, PRINT, DAY)
    assert grounds.attempts == 3
    assert grounds.own is None
    assert grounds.reasons == (
        "challenger-3, the challenger's own audit, ended in FAIL",
        "the challenger was audited 3 times: the first verdict is the one that counts",
    )


def test_a_pass_is_not_undone_by_an_audit_that_is_repeated(started: Told) -> None:
    started.audit("challenger")
    started.audit("challenger", verdict="INCONCLUSIVE")
    assert started.reasons() == []


def test_an_audit_holds_for_its_days_and_then_has_expired(started: Told) -> None:
    last = DAY + timedelta(IN_FORCE_DAYS)
    started.audit("challenger", day=last)
    assert started.reasons(day=last) == []
    assert started.reasons(day=last + timedelta(1)) == [
        f"genesis-1, the newest full audit, has expired: it was in force until {last}"
    ]


def test_nobody_can_say_that_an_audit_holds_for_longer(told: Told) -> None:
    told.audit("genesis", in_force_until=str(DAY + timedelta(1000)))
    assert "has expired" in told.reasons(day=DAY + timedelta(36))[0]
    told.entries.clear()
    told.audit("genesis", in_force_until=str(DAY))
    assert "has expired" in told.reasons(day=DAY + timedelta(1))[0]


def test_a_monthly_audit_is_in_force_once_a_person_approved_it(started: Told) -> None:
    later = DAY + timedelta(40)
    started.audit("challenger", day=later)
    monthly = started.audit("monthly", "first", later)
    assert "expired" in started.reasons(day=later)[0]
    started.answer(monthly, later)
    assert started.reasons(day=later) == []
    assert audit_for_promotion(started.entries, SET, POLICY, PRINT, later).in_force == monthly


def test_one_that_waits_for_its_answer_leaves_the_one_before_in_force(started: Told) -> None:
    started.audit("challenger")
    started.audit("monthly", "first")
    assert audit_for_promotion(started.entries, SET, POLICY, PRINT, DAY).in_force == "genesis-1"


def test_nobody_answers_and_it_counts_as_rejected(started: Told) -> None:
    started.audit("challenger")
    started.answer(started.audit("monthly", "first"), by="nobody in time", is_approved=False)
    assert started.reasons() == ["monthly-4, the newest full audit, was rejected by nobody in time"]


def test_a_month_that_failed_ends_what_was_in_force_and_no_approval_helps(started: Told) -> None:
    started.audit("challenger")
    monthly = started.audit("monthly", "first", verdict="FAIL", reasons=["the old get less"])
    expected = "monthly-4, the newest full audit, ended in FAIL: the old get less"
    assert started.reasons() == [f"{expected}", "monthly-4, the newest full audit, was not approved by anybody yet"]
    started.answer(monthly)
    assert started.reasons() == [expected]


def test_a_first_audit_that_nobody_approved_is_not_in_force(told: Told) -> None:
    told.audit("challenger")
    told.audit("monthly")
    assert told.reasons() == ["monthly-2, the newest full audit, was not approved by anybody yet"]


def test_an_audit_of_another_policy_is_none(started: Told) -> None:
    started.audit("challenger")
    assert started.reasons(policy="q" * 64) == [
        "challenger-3, the challenger's own audit, was judged by another policy than the one in use",
        "genesis-1, the newest full audit, was judged by another policy than the one in use",
    ]


def test_a_new_configuration_needs_a_full_audit_of_its_own(started: Told) -> None:
    started.audit("challenger", fingerprint="g" * 64)
    sentence = (
        "genesis-1, the newest full audit, is of another configuration: a new architecture or feature set needs a "
        "full audit of its own"
    )
    assert started.reasons(of="g" * 64) == [sentence]
    assert started.reasons() == [
        "challenger-3, the challenger's own audit, is of another configuration than this run's"
    ]
    started.answer(started.audit("on_demand", fingerprint="g" * 64))
    assert started.reasons(of="g" * 64) == []


def test_an_audit_on_demand_that_is_not_meant_to_hold_neither_helps_nor_harms(started: Told) -> None:
    started.audit("challenger")
    started.audit("on_demand", verdict="FAIL", in_force_until=None)
    assert started.reasons() == []


def test_a_second_genesis_is_none(started: Told) -> None:
    started.audit("genesis", SET, DAY + timedelta(40))
    assert "genesis-1, the newest full audit, has expired" in started.reasons(day=DAY + timedelta(40))[0]


def test_an_audit_of_a_later_day_is_not_yet_in_force(started: Told) -> None:
    started.audit("challenger", day=DAY - timedelta(1))
    assert started.reasons(day=DAY - timedelta(1)) == ["genesis-1, the first full audit, is of a day after 2026-01-30"]


def test_every_reason_is_listed_at_once(started: Told) -> None:
    started.audit("challenger", verdict="FAIL", reasons=["starved"])
    started.answer(started.audit("monthly", "first", verdict="INCONCLUSIVE", reasons=["too few"]), is_approved=False)
    assert started.reasons(day=DAY + timedelta(50), of="g" * 64)[:2] == [
        "challenger-3, the challenger's own audit, ended in FAIL: starved",
        "challenger-3, the challenger's own audit, is of another configuration than this run's",
    ]
    assert len(started.reasons(day=DAY + timedelta(50))) == 4


def test_a_promoted_set_is_covered_while_a_full_audit_is_in_force(started: Told) -> None:
    assert covering(started.entries, "first", DAY) == "genesis-1"
    assert covering(started.entries, "first", DAY + timedelta(36)) is None
    assert covering(started.entries, SET, DAY) is None
    later = DAY + timedelta(30)
    started.answer(started.audit("monthly", "first", later), later)
    assert covering(started.entries, "first", later) == "monthly-3"
    assert covering(started.entries, "first", later - timedelta(1)) == "genesis-1"
    assert covering(started.entries, "first", DAY + timedelta(36)) == "monthly-3"


def test_promotions_are_told_from_refusals(started: Told) -> None:
    started.add("promotion", model_set=SET, is_promoted=False)
    assert promotions_of(started.entries, SET) == []
    assert [entry.number for entry in promotions_of(started.entries, "first")] == [2]
    champion = newest_promotion(started.entries)
    assert champion is not None
    assert champion.content["model_set"] == "first"
    assert newest_promotion([]) is None
