"""An audit as a page for people: one file that needs nothing else, made from the entry of the record alone."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from feature_defs.audit_policy import AuditPolicy
from pipelines.audit import words
from pipelines.audit.entry import AuditRecord
from pipelines.audit.export import verify_command
from pipelines.audit.month_content import parts_of
from pipelines.audit.report_plots import forest, is_of_users
from pipelines.errors import UnavailableError
from pipelines.whole_files import write_whole

_TEMPLATES = Path(__file__).parent / "templates"
# By the kind of test.
_PLOTS = {
    ("floor",): "Groups held against everybody else",
    ("kept",): "Groups held against the champion, on the same users",
    ("wanted", "catalogue"): "Which titles are shown",
}


def write_report(audits: Path, record: AuditRecord, policy: AuditPolicy) -> Path:
    """Write the page of an audit into the folder of reports; returns where.

    Raises:
        UnavailableError: if the folder cannot be written.
    """
    return write_page(audits / f"{record.audit_id}.html", report_page(record, policy, audits))


def write_page(path: Path, page: str) -> Path:
    """Write a page, whole or not at all.

    Raises:
        UnavailableError: if the folder cannot be written.
    """
    try:
        write_whole(path, page.encode())
    except OSError as error:
        raise UnavailableError(f"the page {path} cannot be written: {error.strerror}") from None
    return path


def report_page(record: AuditRecord, policy: AuditPolicy, audits: Path) -> str:
    """The page of an audit, as HTML.

    Args:
        record: the entry of the audit.
        policy: that it was judged by.
        audits: where the export of the record is, for whoever verifies it.
    """
    content = record.content
    asked = dataclasses.asdict(policy)
    return rendered(
        "report.html",
        record=record,
        content=content,
        moment=words.moment_explained(record.moment),
        verdict=words.verdict_explained(content["verdict"]),
        parts=[_part(name, part) for name, part in parts_of(content)],
        policy=words.policy_sentences(asked),
        policy_json=json.dumps(asked, indent=1, ensure_ascii=False),
        privacy_floor=policy.privacy_floor,
        needs_approval=record.moment != "genesis",
        verify=verify_command(audits, record.digest),
    )


def rendered(template: str, **values: object) -> str:
    """A template of this package with these values; what is not marked safe is escaped."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = (_TEMPLATES / "page.css").read_text(encoding="utf-8")
    return environment.get_template(template).render(style=style, **values)


def _part(name: str, part: Mapping[str, Any]) -> dict[str, Any]:
    findings: Sequence[Mapping[str, Any]] = part["findings"]
    plots = []
    for test, title in _PLOTS.items():
        metrics = [one for one in dict.fromkeys(each["metric"] for each in findings) if words.split(one)[1] in test]
        if svg := forest(findings, metrics):
            explained = [_explained(metric, with_test=len(test) > 1) for metric in metrics]
            plots.append({"title": title, "explained": explained, "svg": svg})
    decided = [one for one in findings if words.decides(one)]
    return {
        "name": name,
        "verdict": part["verdict"],
        "sentences": words.part_sentences(part),
        "overview": _overview(findings),
        "plots": plots,
        "tables": [
            ("Of all lists together", [_row(one) for one in findings if one["attribute"] == "all"], True),
            (f"All {len(decided)} findings that decide", [_row(one) for one in decided], False),
            ("What is reported beside", [_row(one) for one in findings if not words.decides(one)], False),
        ],
        "controls": words.controls_sentences(part["controls"]),
    }


def _overview(findings: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """A tile for each group of users and each test: its verdict, and by how much; nothing without any.

    A group that could not be judged by itself has one tile, over its whole row.
    """
    found = [one for one in findings if words.decides(one) and is_of_users(one)]
    metrics = list(dict.fromkeys(one["metric"] for one in found if one["p_value"] is not None))
    if not metrics:
        return None
    attributes = list(dict.fromkeys(one["attribute"] for one in found))
    by_group: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for one in sorted(found, key=lambda one: attributes.index(one["attribute"])):
        by_group.setdefault((one["attribute"], one["group"]), []).append(one)
    rows = []
    for at, ((attribute, group), of_group) in enumerate(by_group.items()):
        tested = {one["metric"]: one for one in of_group if one["p_value"] is not None}
        rows.append(
            {
                "attribute": words.attribute_title(attribute),
                "is_first": not at or list(by_group)[at - 1][0] != attribute,
                "group": words.group_title(group) + (" *" if of_group[0]["is_primary"] else ""),
                "count": f"{of_group[0]['user_count']:,}" if of_group[0]["user_count"] else "few",
                "tiles": [_tile(tested.get(metric)) for metric in metrics] if tested else [],
            }
        )
    return {"heads": [(words.metric_title(one), words.split(one)[1]) for one in metrics], "rows": rows}


def _tile(one: Mapping[str, Any] | None) -> tuple[str, str]:
    """A verdict and what stands in its tile."""
    return (
        ("", "") if one is None else (one["verdict"], f"{words.SIGNS[one['verdict']]} {words.share(one['estimate'])}")
    )


def _explained(metric: str, *, with_test: bool) -> str:
    """What a figure says, and what it is held against."""
    title, told = words.metric_title(metric), words.metric_explained(metric)
    return f"{title.capitalize()}: {told}{f'; {words.test_explained(metric)}' if with_test else ''}."


def _row(one: Mapping[str, Any]) -> dict[str, str]:
    metric, test = words.split(one["metric"])
    whose = f"{words.attribute_title(one['attribute'])}: {words.group_title(one['group'])}"
    return {
        "metric": words.metric_title(metric) + (f" ({test})" if test else ""),
        "group": "all lists" if one["attribute"] == "all" else whose + (" *" if one["is_primary"] else ""),
        "count": f"{one['user_count']:,}",
        "estimate": words.number(one["estimate"]),
        "interval": f"{words.number(one['low'])} to {words.number(one['high'])}" if one["low"] is not None else "–",
        "reference": words.number(one["reference"]),
        "limit": words.number(one["limit"], 2),
        "p": words.p_value(one["adjusted_p"]),
        "verdict": one["verdict"] if words.decides(one) else "soft",
        "told": f"{words.SIGNS[one['verdict']]} {one['verdict'].lower()}" if words.decides(one) else "reported",
        "reason": one["reason"],
    }
