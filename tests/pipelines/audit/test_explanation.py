"""What an audit, a promotion and a list say of themselves, in lines."""

from datetime import UTC, datetime
from typing import Any

import numpy as np

from pipelines.audit.entry import AuditRecord
from pipelines.audit.explanation import audit_lines, list_lines, promotion_lines
from pipelines.audit.findings import AuditResult, Finding, Verdict
from pipelines.audit.month_content import CHAMPION, with_lists
from pipelines.lists.codec import pack, unpack

SAID: dict[str, Any] = {"day": "2026-01-31", "recorded_at": "2026-02-01T02:30:00+00:00", "is_demo": False}
FINDING = {"metric": "ndcg_at_20:floor", "attribute": "gender", "group": "f", "user_count": 1200, "estimate": 0.71}
FINDING |= {"low": 0.66, "high": 0.76, "limit": 0.8, "adjusted_p": 0.001, "verdict": "FAIL"}


def entry(moment: str, **said: Any) -> AuditRecord:
    return AuditRecord(3, f"{moment}-3", moment, "", SAID | said, "", "", "")


def test_an_audit_says_its_policy_verdict_figures_answer_and_days() -> None:
    passed = FINDING | {"group": "m", "verdict": "PASS", "low": None, "adjusted_p": None}
    untold = FINDING | {"group": "x", "estimate": None, "low": None, "high": None, "verdict": "INCONCLUSIVE"}
    reported = FINDING | {"group": "y", "limit": None}
    audit = entry(
        "monthly",
        verdict="FAIL",
        reasons=["gender f reaches .71"],
        policy="p" * 64,
        policy_name="production",
        policy_version=1,
        model_set="a" * 32,
        user_count=5000,
        findings=[passed, untold, FINDING, reported],
        in_force_until="2026-03-07",
    )
    assert audit_lines(audit, [entry("approval", is_approved=False, by="Ada")]) == [
        "monthly-3: FAIL under the policy production version 1 (pppppppppppppppp)",
        f"  of 5,000 users; the set was {'a' * 32}",
        "  gender f reaches .71",
        "  FAIL: ndcg_at_20:floor, gender f, 1,200 users: 0.710 [0.660, 0.760], limit 0.800, adjusted p 0.001",
        "  INCONCLUSIVE: ndcg_at_20:floor, gender x, 1,200 users: not told, limit 0.800, adjusted p 0.001",
        "  PASS: ndcg_at_20:floor, gender m, 1,200 users: 0.710, limit 0.800",
        "  rejected by Ada on 2026-02-01T02:30:00+00:00",
        "  in force from 2026-01-31 until 2026-03-07, at the longest",
    ]


def test_a_month_says_whom_each_of_its_parts_looked_at() -> None:
    few = ("too few",)
    finding = Finding(
        "recall_at_20:floor", "gender", "f", 40, 0.9, 0.8, 1.0, 0.3, 0.4, 0.6, 1.0, True, Verdict.PASS, ""
    )
    served = AuditResult(Verdict.PASS, (), (finding,), None, 1234)
    content = with_lists(served.to_record(), AuditResult(Verdict.INCONCLUSIVE, few, (), None, 56), CHAMPION)
    audit = entry("monthly", **content, policy="p" * 64, policy_name="demo", policy_version=2, model_set="a" * 32)
    assert audit_lines(audit, []) == [
        "monthly-3: INCONCLUSIVE under the policy demo version 2 (pppppppppppppppp)",
        f"  the set was {'a' * 32}",
        "  the champion: too few",
        "  As served: PASS, of 1,234 users",
        "  PASS: recall_at_20:floor, gender f, 40 users: 0.900 [0.800, 1.000], limit 0.400, adjusted p 1.000",
        "  As the champion would serve: INCONCLUSIVE, of 56 users",
    ]


def test_of_many_findings_the_worst_are_told() -> None:
    audit = entry("challenger", verdict="PASS", policy="p", model_set="a", user_count=9, findings=[FINDING] * 12)
    lines = audit_lines(audit, [])
    assert sum("gender f" in line for line in lines) == 10
    assert lines[-1] == "  and 2 findings more"


def test_a_decision_says_its_reasons_and_how_often_the_set_was_audited() -> None:
    lines = promotion_lines(entry("promotion", is_promoted=True, attempts=1, reasons=["not worse"]))
    assert lines == ["promotion-3: promoted on 2026-02-01T02:30:00+00:00, 1 audit of this set", "  not worse"]


def test_a_list_says_what_it_recommends_and_why() -> None:

    packed = pack(
        item_ids=[5, 9],
        scores=[0.5, 0.25],
        sources=[3, 1],
        reasons=[0, 255],
        history=[7],
        vector=np.zeros(4),
        generated_at=datetime(2026, 1, 31, tzinfo=UTC),
    )
    assert list_lines(unpack(packed), {5: "Five", 7: "Seven"}) == [
        "2 titles, made of what was known at 2026-01-31 00:00 UTC; the first are",
        "  1. Five (0.500, towers, because of Seven)",
        "  2. title 9 (0.250, trending)",
    ]
