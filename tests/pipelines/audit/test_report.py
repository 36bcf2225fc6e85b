"""The page of an audit: it stands by itself, hides nothing, and tells what was signed."""

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from feature_defs.audit_policy import DEMO_POLICY
from pipelines.audit.entry import NOTHING, AuditRecord
from pipelines.audit.findings import AuditResult, Controls, Finding, Verdict
from pipelines.audit.month_content import CHALLENGER, CHAMPION, parts_of, with_lists
from pipelines.audit.offline import not_audited
from pipelines.audit.report import report_page, write_report
from pipelines.audit.report_plots import forest
from pipelines.audit.words import controls_sentences, finding_sentence, group_title, part_sentences, policy_sentences
from pipelines.errors import UnavailableError

NAN = float("nan")


def finding(metric: str = "recall_at_20:floor", group: str = "female", **changes: Any) -> Finding:
    made = Finding(
        metric,
        "gender",
        group,
        500,
        0.9,
        0.8,
        1.0,
        0.3,
        0.4,
        0.6,
        1.0,
        True,
        Verdict.PASS,
        "not shown to lie beyond it",
    )
    return dataclasses.replace(made, **changes)


FAILED = finding(group="male", estimate=0.31, low=0.25, high=0.36, adjusted_p=1e-5, verdict=Verdict.FAIL)
FEW = finding(
    "ndcg_at_20", "other", estimate=NAN, low=NAN, high=NAN, limit=NAN, p_value=None, adjusted_p=None,
    verdict=Verdict.INCONCLUSIVE, reason="gender other has 28 users, fewer than 30",
)  # fmt: skip
REPORTED = finding("coverage", "all", attribute="all", limit=NAN, p_value=None, adjusted_p=None, is_primary=False)


def result(*findings: Finding, verdict: Verdict = Verdict.FAIL) -> AuditResult:
    controls = Controls(True, "gender male", 200, 1, 4, 0.023)
    return AuditResult(verdict, ("a reason",), findings, controls, 1000)


def content_of(found: AuditResult) -> dict[str, Any]:
    return found.to_record() | {
        "day": "2026-01-31", "run_id": "20260131-0123456789ab",
        "model_set": "a" * 32, "set_files": {"index.faiss": "b" * 64},
        "tables": {"users": {"version": 3, "digest": "d" * 32}, "judged_lists": {"version": 1}}, "policy": "c" * 64,
        "code": "e" * 32, "fingerprint": "f" * 64, "recorded_at": "2026-02-01T03:00:00+00:00", "is_demo": True,
    }  # fmt: skip


def record_of(content: dict[str, Any], moment: str = "challenger") -> AuditRecord:
    return AuditRecord(7, f"{moment}-20260131-7", moment, NOTHING, content, "1" * 64, "2" * 128, "3" * 64)


def page_of(content: dict[str, Any], moment: str = "challenger") -> str:
    return report_page(record_of(content, moment), DEMO_POLICY, Path("/srv/audits"))


class Balanced(HTMLParser):
    """Every element is closed in order."""

    VOID = frozenset({"meta"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        """Closed at once."""

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_but_itself_and_forbids_the_rest() -> None:
    page = page_of(content_of(result(finding(), FAILED, FEW, REPORTED)))
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert "default-src 'none'" in page
    assert not re.search(r"<(script|img|link|iframe|object)|url\(|@import|https?://", page)


def test_every_finding_is_there_with_its_figures_and_the_last_words_say_how_to_verify() -> None:
    page = page_of(content_of(result(finding(), FAILED, FEW, REPORTED)))
    for text in ("0.310", "0.250 to 0.360", "&lt; 0.001", "✗ fail", "gender other has 28 users", "a demonstration"):
        assert text.lower() in page.lower(), text
    assert "in force until" not in page, "of a full audit only"
    command = re.search(r"How to verify the record: <code>(.*?)</code>", page)
    assert command is not None
    assert command[1] == (
        "python -m jobs.verify_audit --records /srv/audits/records.jsonl --public-key /srv/audits/public_key.pem "
        f"--expect-head {'1' * 64}"
    )
    assert re.sub(r"</\w+>|\s", "", page[command.end() :]) == ""


def test_what_comes_from_outside_is_escaped() -> None:
    group = "<script>alert(1)</script>"
    page = page_of(content_of(result(finding(group=group))))
    assert "<script>" not in page


def test_a_month_has_two_parts_and_the_worse_verdict() -> None:
    served = content_of(result(finding(), verdict=Verdict.PASS)) | {"in_force_until": "2026-03-07"}
    content = with_lists(served, result(FEW, verdict=Verdict.INCONCLUSIVE), CHAMPION)
    assert content["verdict"] == "INCONCLUSIVE"
    assert content["reasons"] == ["as served: a reason", "the champion: a reason"]
    assert [(name, part["verdict"]) for name, part in parts_of(content)] == [
        ("As served", "PASS"),
        ("As the champion would serve", "INCONCLUSIVE"),
    ]
    assert "findings" not in content, "told once"
    page = page_of(content, "monthly")
    assert "once a named" in page
    of_challenger = with_lists(served, result(FAILED), CHALLENGER)
    assert of_challenger["verdict"] == "FAIL"
    assert of_challenger["reasons"][-1] == "the challenger: a reason"
    assert parts_of(of_challenger)[1][0] == "As the challenger would serve"


def test_an_audit_that_could_not_be_made_has_a_page_that_says_why(tmp_path: Path) -> None:
    content = content_of(not_audited("there is nobody to audit"))
    path = write_report(tmp_path, record_of(content), DEMO_POLICY)
    assert path == tmp_path / "challenger-20260131-7.html"
    assert "there is nobody to audit" in path.read_text()
    assert list(tmp_path.iterdir()) == [path]


def test_a_test_whose_figure_could_not_be_computed_has_a_tile_without_one() -> None:
    # As a group's share is of others who found nothing: the difference is known, and the ratio is not.
    untold = finding(estimate=NAN, low=NAN, high=NAN, reference=0.0)
    page = page_of(content_of(result(untold, FAILED)))
    assert '<td class="tile PASS">✓ –</td>' in page


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match=r"the page .*file/challenger-20260131-7.html cannot be written"):
        write_report(tmp_path / "file", record_of(content_of(result(finding()))), DEMO_POLICY)


def test_a_plot_has_a_mark_for_each_group_and_the_same_bytes_for_the_same_findings() -> None:
    findings = result(finding(), FAILED, FEW).to_record()["findings"]
    drawn = forest(findings, ["recall_at_20:floor"])
    assert drawn.count('class="mark PASS"') == drawn.count('class="mark FAIL"') == 1
    assert drawn.count('class="limit"') == 2
    assert drawn == forest(findings, ["recall_at_20:floor"])
    assert forest(findings, ["ndcg_at_20"]) == "", "nothing to draw"


@pytest.mark.parametrize(
    ("one", "sentence"),
    [
        (
            FAILED,
            "Gender “male”, 500 users: in share found they get 31% of what everybody else gets "
            "(95 % sure: 25% to 36%); at least 40% is asked for.",
        ),
        (
            finding("recall_at_20:kept", estimate=0.8, limit=0.95, verdict=Verdict.FAIL),
            "Gender “female”, 500 users: share found is 80% of what the champion gives them "
            "(95 % sure: 80% to 100%); the bound is 95%.",
        ),
        (
            finding("head_share:limit", "all", attribute="all", estimate=0.7, limit=0.5, verdict=Verdict.FAIL),
            "Share of the 100 most popular titles: 70% (95 % sure: 80% to 100%); the limit is 50%.",
        ),
        (
            finding("exposure:wanted", "KR", attribute="titles.origin", estimate=0.3, limit=0.5),
            "Titles from KR: they have 30% of the exposure that is wanted (95 % sure: 80% to 100%); "
            "at least 50% is asked for.",
        ),
    ],
)
def test_a_finding_is_told_in_words(one: Finding, sentence: str) -> None:
    assert finding_sentence(result(one).to_record()["findings"][0]) == sentence


def test_a_part_is_told_in_words() -> None:
    said = part_sentences(result(finding(), FAILED, FEW, REPORTED).to_record())
    assert (
        said[0]
        == "1,000 users were looked at, and 3 questions asked: in 1 nothing is amiss, 1 failed, 1 could not be told."
    )
    assert said[2] == "Too little is known of primary groups, which holds a promotion: Gender “other”, 500 users."


def test_controls_say_what_was_done_and_nothing_that_was_not() -> None:
    done = result().to_record()["controls"]
    found, dealt = controls_sentences(done)
    assert "“gender male” lost what they would have found), and the audit failed it, as it must." in found
    assert "at random 200 times" in dealt
    missed = controls_sentences(done | {"planted_bias_failed": False})[0]
    assert "“gender male”" in missed
    assert missed.endswith("the audit did not find it.")
    unplanted = controls_sentences(done | {"planted_bias_failed": False, "planted_group": ""})[0]
    assert unplanted == "No bias could be planted, as no group has its size: this audit could not have failed."
    assert controls_sentences(None) == ["There were no controls: the audit could not be made."]


def test_an_audit_that_could_not_be_made_tells_of_no_controls() -> None:
    page = page_of(content_of(not_audited("gender is known of nobody")))
    assert "There were no controls: the audit could not be made." in page
    assert "planted" not in page.partition("What the policy asks")[0].partition("Can this be believed?")[2]


def test_a_demo_policy_says_so_in_words_and_groups_read_well() -> None:
    said = policy_sentences(dataclasses.asdict(DEMO_POLICY))
    assert "for demonstrations" in said[-1]
    assert group_title("18_24+25_34+55_up") == "18–24 + 25–34 + 55 and over"
