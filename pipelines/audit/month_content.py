"""What the record says of a month: two audits in one entry, of what was served and of the lists of a model set."""

from collections.abc import Mapping
from typing import Any

from pipelines.audit.findings import AuditResult, Verdict

SERVED, CHAMPION, CHALLENGER = "served", "champion_lists", "challenger_lists"
_PARTS = {
    SERVED: "As served",
    CHAMPION: "As the champion would serve",
    CHALLENGER: "As the challenger would serve",
}
_OFFLINE = "As it would be served"
_WHOSE = {SERVED: "as served", CHAMPION: "the champion", CHALLENGER: "the challenger"}
# The worst of two is that of both.
_WORST_FIRST = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)


def with_lists(content: Mapping[str, Any], judged: AuditResult, name: str) -> dict[str, Any]:
    """The entry of an audit of what was served, with that of lists beside it; its verdict is the worse one.

    Args:
        content: of the audit of what was served (`pipelines.audit.content.audit_content`).
        judged: the audit of the lists.
        name: whose they are, CHAMPION or CHALLENGER.
    """
    theirs = judged.to_record()
    ours = {key: value for key, value in content.items() if key in theirs}
    whole = {key: value for key, value in content.items() if key not in theirs}
    parts = {SERVED: ours, name: theirs}
    verdicts = {part["verdict"] for part in parts.values()}
    return {
        **whole,
        **parts,
        "verdict": str(next(one for one in _WORST_FIRST if one in verdicts)),
        "reasons": [f"{_WHOSE[key]}: {reason}" for key, part in parts.items() for reason in part["reasons"]],
    }


def parts_of(content: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The audits of an entry by name: a month has two, of what was served and of a set's lists; a night has one."""
    found = [(title, content[name]) for name, title in _PARTS.items() if name in content]
    return found or [(_OFFLINE, content)]
