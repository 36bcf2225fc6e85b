"""What the record says of a month: two audits in one entry, of what was served and of what the champion would serve."""

from collections.abc import Mapping
from typing import Any

from pipelines.audit.findings import AuditResult, Verdict

SERVED, CHAMPION = "served", "champion_lists"
# The worst of two is that of both.
_WORST_FIRST = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)


def with_champion(content: Mapping[str, Any], champion: AuditResult) -> dict[str, Any]:
    """The entry of an audit of what was served, with that of the champion beside it; its verdict is the worse one.

    Args:
        content: of the audit of what was served (`pipelines.audit.content.audit_content`).
        champion: the audit of the champion's lists.
    """
    theirs = champion.to_record()
    ours = {name: value for name, value in content.items() if name in theirs}
    whole = {name: value for name, value in content.items() if name not in theirs}
    verdicts = {ours["verdict"], theirs["verdict"]}
    return whole | {
        SERVED: ours,
        CHAMPION: theirs,
        "verdict": str(next(one for one in _WORST_FIRST if one in verdicts)),
        "reasons": [
            *(f"as served: {reason}" for reason in ours["reasons"]),
            *(f"the champion: {reason}" for reason in theirs["reasons"]),
        ],
    }
