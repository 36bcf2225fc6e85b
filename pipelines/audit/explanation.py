"""From a served list back to all that made it: the run, the model set, the tables, its promotion, the audits.

Each part is some lines of text, made of the record alone, with where to look further.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from feature_defs.recommendations import NO_REASON, SOURCES
from pipelines.audit.entry import AuditRecord
from pipelines.audit.month_content import parts_of
from pipelines.lists.codec import UserList
from pipelines.runs import Run

# Places shown of a list, and findings of an audit.
_MOST = 10
_ORDER = ("FAIL", "INCONCLUSIVE", "PASS")


def list_lines(found: UserList, names: Mapping[int, str]) -> list[str]:
    """The first places of a list: title, score, source, and the watched title that explains it."""
    lines = [f"{len(found)} titles, made of what was known at {found.generated_at:%Y-%m-%d %H:%M} UTC; the first are"]
    for place in range(min(_MOST, len(found))):
        item, reason = int(found.item_ids[place]), int(found.reasons[place])
        because = "" if reason == NO_REASON else f", because of {_title(int(found.history[reason]), names)}"
        source = SOURCES[found.sources[place]].replace("_", " ")
        lines.append(f"{place + 1:3d}. {_title(item, names)} ({float(found.scores[place]):.3f}, {source}{because})")
    return lines


def run_lines(run: Run, steps: Sequence[Mapping[str, Any]]) -> list[str]:
    """The run: its attempt, and the jobs that ended well (rows of STEPS)."""
    jobs = list(dict.fromkeys(f"{row['job']} {row['shard']}".strip() for row in steps))
    return [f"{run.run_id}, attempt {run.attempt}", f"jobs: {', '.join(jobs)}"]


def table_lines(run: Run, steps: Sequence[Mapping[str, Any]]) -> list[str]:
    """The versions of the tables that were read, and the digests of what came in from the warehouse."""
    lines = [f"{name} version {pin.version}, digest {pin.digest}" for name, pin in sorted(run.inputs.items())]
    for row in steps:
        reads = json.loads(row["reads"]).items()
        lines += [f"{name} version {version}, read by {row['job']}" for name, version in reads]
    return list(dict.fromkeys(lines))


def promotion_lines(promotion: AuditRecord) -> list[str]:
    """The decision that made the set champion, with every reason."""
    said = promotion.content
    return [
        f"{promotion.audit_id}: {'promoted' if said['is_promoted'] else 'refused'} on {said['recorded_at']}, "
        f"{_count(said['attempts'], 'audit')} of this set",
        *(f"  {reason}" for reason in said["reasons"]),
    ]


def audit_lines(audit: AuditRecord, approvals: Sequence[AuditRecord]) -> list[str]:
    """An audit: policy, verdict and reasons, the decisive figures, who approved it, until when it is in force."""
    said = audit.content
    is_demo = ", for demos only" if said.get("is_demo") else ""
    parts = parts_of(said)
    is_whole = len(parts) == 1
    counted = f"of {said['user_count']:,} users; " if is_whole else ""
    lines = [
        f"{audit.audit_id}: {said['verdict']} under the policy {said.get('policy_name')} version "
        f"{said.get('policy_version')} ({str(said['policy'])[:16]}){is_demo}",
        f"  {counted}the set was {said['model_set']}",
        *(f"  {reason}" for reason in said.get("reasons", ())),
    ]
    for name, part in parts:
        if not is_whole:
            lines.append(f"  {name}: {part['verdict']}, of {part['user_count']:,} users")
        lines += _decisive(part["findings"])
    for approval in approvals:
        answer = "approved" if approval.content.get("is_approved") is True else "rejected"
        lines.append(f"  {answer} by {approval.content.get('by')} on {approval.content['recorded_at']}")
    if said.get("in_force_until"):
        lines.append(f"  in force from {said['day']} until {said['in_force_until']}, at the longest")
    return lines


def _decisive(findings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The findings that were held against a limit, the worst first, as many as are shown."""
    found = [one for one in findings if one["limit"] is not None]
    lines = [f"  {_finding(one)}" for one in sorted(found, key=lambda one: _ORDER.index(one["verdict"]))[:_MOST]]
    return [*lines, f"  and {len(found) - _MOST} findings more"] if len(found) > _MOST else lines


def _finding(one: Mapping[str, Any]) -> str:
    whose = f"{one['metric']}, {one['attribute']} {one['group']}, {one['user_count']:,} users"
    bounds = "" if one["low"] is None else f" [{one['low']:.3f}, {one['high']:.3f}]"
    value = "not told" if one["estimate"] is None else f"{one['estimate']:.3f}{bounds}"
    adjusted = "" if one["adjusted_p"] is None else f", adjusted p {one['adjusted_p']:.3f}"
    return f"{one['verdict']}: {whose}: {value}, limit {one['limit']:.3f}{adjusted}"


def _title(item_id: int, names: Mapping[int, str]) -> str:
    return names.get(item_id, f"title {item_id}")


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
