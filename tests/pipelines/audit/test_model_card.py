"""The card of a promoted set says its data, its figures with intervals, its groups and its limits."""

from datetime import date
from pathlib import Path
from typing import Any

from pipelines.audit.entry import NOTHING, AuditRecord
from pipelines.audit.model_card import LIMITS, card_markdown, model_card, write_card
from pipelines.configuration import RunConfiguration
from pipelines.runs import Pinned, Run

RUN = Run("20260131-0123456789ab", date(2026, 1, 31), "daily", 1, RunConfiguration(), {"events": Pinned(3, "d" * 32)})
SET = "a" * 32


def evaluated(metric: str, segment: str = "all", **more: Any) -> dict[str, Any]:
    made = {"role": "challenger", "against": "challenger", "metric": metric, "segment": segment, "user_count": 70}
    return made | {"value": 0.25, "low": 0.2, "high": 0.3} | more


ROWS = [
    evaluated("ndcg_at_20"),
    evaluated("ndcg_at_20", "under_5_events", user_count=30),
    evaluated("coverage_at_20", low=None, high=None),
    evaluated("ndcg_at_20", role="champion", value=0.9),
]


def found(metric: str, group: str, estimate: float | None) -> dict[str, Any]:
    return {"metric": metric, "attribute": "gender", "group": group, "user_count": 35, "estimate": estimate} | {
        "low": estimate,
        "high": estimate,
    }


def audited(*findings: dict[str, Any]) -> AuditRecord:
    content = {"verdict": "PASS", "is_demo": True, "findings": list(findings)}
    return AuditRecord(3, "challenger-20260131-3", "challenger", NOTHING, content, "", "", "")


AUDIT = audited(
    found("recall_at_20", "male", 0.4), found("recall_at_20:floor", "male", 1.1), found("ndcg_at_20", "other", None)
)


def test_the_card_has_data_figures_groups_and_limits(tmp_path: Path) -> None:
    card = model_card(RUN, SET, ROWS, AUDIT)
    assert ("learned from", "events received up to 2026-01-30") in card.data
    assert ("tables", "events (version 3)") in card.data
    assert [told for _, _, told in card.figures] == ["0.250 [0.200, 0.300]", "0.250", "0.250 [0.200, 0.300]"]
    assert card.groups == (
        ("gender: male", "35", "0.400 [0.400, 0.400]", "110% [110%, 110%]"),
        ("gender: other", "35", "–", "–"),
    )
    page = write_card(tmp_path, card).read_text()
    assert "challenger-20260131-3.html" in page
    assert "demonstration" in page
    for limit in LIMITS:
        assert limit[:40] in page.replace("&#39;", "'")


def test_a_ratio_that_could_not_be_computed_is_a_dash() -> None:
    untold = audited(found("recall_at_20", "male", 0.4), found("recall_at_20:floor", "male", None))
    assert model_card(RUN, SET, ROWS, untold).groups == (("gender: male", "35", "0.400 [0.400, 0.400]", "–"),)


def test_a_set_without_an_audit_says_so(tmp_path: Path) -> None:
    assert "It was not audited." in write_card(tmp_path, model_card(RUN, SET, [], None)).read_text()


def test_what_mlflow_shows_fits_into_a_description() -> None:
    many = audited(*(found("recall_at_20", f"group number {number}", 0.5) for number in range(200)))
    text = card_markdown(model_card(RUN, SET, ROWS * 3, many))
    assert len(text) < 5000
    assert text.startswith(f"**Model set {SET}**")
