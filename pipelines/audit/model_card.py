"""What a model set is, for people who did not make it: its data, its figures with intervals, its groups, its limits.

After Mitchell et al., "Model cards for model reporting" (2019). Made at promotion, of what was recorded: a page beside
the reports of audits, and in MLflow as the description of the set's version.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from pipelines.audit import words
from pipelines.audit.entry import AuditRecord
from pipelines.audit.month_content import parts_of
from pipelines.audit.report import rendered, write_page
from pipelines.configuration import configuration_to_json
from pipelines.runs import Run

_METRICS = {
    "ndcg_at_20": "order of the list (NDCG of 20 places)",
    "recall_at_20": "share found (recall of 20 places)",
    "hit_rate_at_200": "users with a hit in 200 places",
    "coverage_at_20": "share of the catalogue on pages",
    "head_share_at_20": "share of the 100 most popular titles",
    "novelty_at_20": "novelty, in bits",
    "diversity_at_20": "diversity within a list",
    "genres_at_20": "genres in 20 places",
}
_SEGMENTS = {
    "under_5_events": "fewer than 5 titles watched",
    "5_to_20_events": "5 to 20",
    "over_20_events": "more than 20",
    "new_titles": "all, of titles that nobody had played",
}
# What no figure says.
LIMITS = (
    "Judged offline, by what users went on to watch. What they were never shown cannot count: a figure is not what a "
    "user would have liked best.",
    "It learns from plays, and repeats what made them: a title that was hard to find is found less than it would be "
    "liked, which exploration corrects in part.",
    "Gender and exact age are read by the audit alone. An attribute that few people state is audited of those who do.",
    "For recommending titles of this catalogue to users of this service, and for nothing else: no other decision about "
    "a person may rest on it.",
    "Users who opted out of personalisation are in no part of it.",
)


@dataclass(frozen=True)
class ModelCard:
    """The parts of a card, as tables of text."""

    model_set: str
    run_id: str
    day: date
    audit_id: str | None
    verdict: str
    is_demo: bool
    data: tuple[tuple[str, str], ...]
    figures: tuple[tuple[str, str, str], ...]
    groups: tuple[tuple[str, str, str, str], ...]
    limits: tuple[str, ...]
    hyperparameters: str


def model_card(
    run: Run, model_set: str, evaluations: Sequence[Mapping[str, Any]], audit: AuditRecord | None
) -> ModelCard:
    """The card of a set that a run promoted.

    Args:
        run: that made it.
        model_set: its digest.
        evaluations: rows of EVALUATIONS of the run.
        audit: the challenger's own; without one the card says so.
    """
    learned_until = run.day - timedelta(days=run.configuration.truth_days)
    judged_on = (
        f"{run.day}" if run.configuration.truth_days == 1 else f"{learned_until + timedelta(days=1)} to {run.day}"
    )
    tables = ", ".join(f"{name} (version {pin.version})" for name, pin in run.inputs.items())
    own = [one for one in evaluations if (one["role"], one["against"]) == ("challenger", "challenger")]
    of_all = {one["metric"]: one for one in own if one["segment"] == "all"}
    data = [
        ("learned from", f"events received up to {learned_until}"),
        ("judged on", f"{judged_on}, unseen by it"),
        ("users judged by", f"{max((one['user_count'] for one in of_all.values()), default=0):,}"),
        ("tables", tables),
    ]
    figures = [(title, "all", _told(of_all[name])) for name, title in _METRICS.items() if name in of_all]
    figures += [
        (_METRICS["ndcg_at_20"], title, _told(one))
        for segment, title in _SEGMENTS.items()
        for one in own
        if (one["metric"], one["segment"]) == ("ndcg_at_20", segment) and one["user_count"]
    ]
    return ModelCard(
        model_set=model_set,
        run_id=run.run_id,
        day=run.day,
        audit_id=audit.audit_id if audit else None,
        verdict=str(audit.content["verdict"]) if audit else "not audited",
        is_demo=bool(audit and audit.content["is_demo"]),
        data=tuple(data),
        figures=tuple(figures),
        groups=tuple(_groups(audit)) if audit else (),
        limits=LIMITS,
        hyperparameters=configuration_to_json(run.configuration),
    )


def write_card(audits: Path, card: ModelCard) -> Path:
    """Write a card as a page into the folder of reports; returns where.

    Raises:
        UnavailableError: if the folder cannot be written.
    """
    return write_page(audits / f"model_card-{card.model_set}.html", rendered("model_card.html", card=card))


def card_markdown(card: ModelCard) -> str:
    """A card as Markdown, for MLflow: without its hyperparameters, which are there already, and its smallest groups."""
    demo = "; a demonstration" if card.is_demo else ""
    lines = [f"**Model set {card.model_set}**, promoted in the night of {card.day} (run {card.run_id})", ""]
    lines += [f"Audit {card.audit_id}: **{card.verdict}**{demo}", "", "| data | |", "|---|---|"]
    lines += [f"| {name} | {told} |" for name, told in card.data]
    lines += ["", "| figure | users | mean [95 %] |", "|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in card.figures]
    lines += ["", "| group | users | share found | of everybody else's |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in card.groups[:_MOST_GROUPS]]
    return "\n".join([*lines, "", *(f"- {limit}" for limit in card.limits)])


# MLflow keeps 5,000 characters of a description.
_MOST_GROUPS = 20


def _groups(audit: AuditRecord) -> list[tuple[str, str, str, str]]:
    """Every group of users: how many, the share found, and that as a share of everybody else's."""
    _, part = parts_of(audit.content)[0]
    by_group: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for one in part["findings"]:
        if one["attribute"] != "all" and not one["attribute"].startswith("titles."):
            by_group.setdefault((one["attribute"], one["group"]), {})[one["metric"]] = one
    rows = []
    for (attribute, group), found in by_group.items():
        count = next(iter(found.values()))["user_count"]
        rows.append(
            (
                f"{words.attribute_title(attribute)}: {words.group_title(group)}",
                f"{count:,}" if count else "too few to be told",
                _told(found.get("recall_at_20"), "estimate"),
                _told_ratio(found.get("recall_at_20:floor")),
            )
        )
    return rows


def _told_ratio(one: Mapping[str, Any] | None) -> str:
    if one is None or one["estimate"] is None:
        return "–"
    interval = "" if one["low"] is None else f" [{words.share(one['low'])}, {words.share(one['high'])}]"
    return f"{words.share(one['estimate'])}{interval}"


def _told(one: Mapping[str, Any] | None, name: str = "value") -> str:
    if one is None or one[name] is None:
        return "–"
    interval = "" if one["low"] is None else f" [{one['low']:.3f}, {one['high']:.3f}]"
    return f"{one[name]:.3f}{interval}"
