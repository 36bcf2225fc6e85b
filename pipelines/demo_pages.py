"""What the demo shows of three nights: users' histories and lists, measured quality, seconds by step; as plain text."""

from collections.abc import Mapping, Sequence
from typing import Any

_MOST_TITLES = 8


def user_page(user_id: int, history: Sequence[str], answer: Mapping[str, Any], names: Mapping[int, str]) -> str:
    """A user's history, newest first, and the list that the endpoint answered, with a reason for each title."""
    lines = [f"user {user_id} lately watched:"]
    lines += [f"    {title}" for title in history[:_MOST_TITLES]]
    if len(history) > _MOST_TITLES:
        lines.append(f"    and {len(history) - _MOST_TITLES} more")
    lines.append(f"  and is recommended ({answer['source']}, run {answer['run_id']}):")
    for item in answer["items"]:
        title = names.get(item["item_id"], f"title {item['item_id']}")
        lines.append(f"    {item['slot'] + 1:2d}. {title:<48.48s} {_reason(item['reason'], names)}")
    return "\n".join(lines)


def _reason(reason: Mapping[str, Any], names: Mapping[int, str]) -> str:
    if reason.get("item_id") is not None:
        return f"because of {names.get(reason['item_id'], reason['item_id'])}"
    return str(reason["kind"]).replace("_", " ")


# Roles of EVALUATIONS as a newcomer reads them, best first, each with the one it is held against.
_MODELS = (
    ("oracle", "oracle", None),
    ("funnel", "challenger", None),
    ("two-tower", "towers", "challenger"),
    ("ALS", "als", "towers"),
    ("most popular", "most_popular", "als"),
)


def quality_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Models side by side: mean over users with its 95 % bootstrap interval, and by how much the line above is better.

    Args:
        rows: of EVALUATIONS of a night, with rows of an oracle where there is one.
    """
    lines = [
        f"  {'model':<14}{'users':>6}  {'ndcg_at_20':<23}{'recall_at_20':<23}ndcg_at_20 of the line above, less this"
    ]
    for name, role, above in _MODELS:
        found = _of_role(rows, role, "challenger")
        if not found:
            continue
        apart = _of_role(rows, role, above)["ndcg_at_20"] if above else None
        ndcg, recall = found["ndcg_at_20"], found["recall_at_20"]
        better = "" if apart is None else f"{apart['difference']:+.3f} " + _bounds(apart, "difference_")
        lines.append(
            f"  {name:<14}{ndcg['user_count']:>6}  {_interval(ndcg):<23}{_interval(recall):<23}{better}".rstrip()
        )
    return "\n".join(lines)


def models_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """The same figures by model; low and high are of ndcg_at_20."""
    models = {}
    for name, role, above in _MODELS:
        found = _of_role(rows, role, "challenger")
        if not found:
            continue
        ndcg = found["ndcg_at_20"]
        models[name.replace(" ", "_").replace("-", "_").lower()] = {
            **{metric: found[metric]["value"] for metric in ("ndcg_at_20", "recall_at_20")},
            **{end: ndcg[end] for end in ("low", "high")},
        }
        if above:
            apart = _of_role(rows, role, above)["ndcg_at_20"]
            key = name.replace(" ", "_").replace("-", "_").lower()
            models[key] |= {f"next_better_by{end}": apart[f"difference{end}"] for end in ("", "_low", "_high")}
    return models


def _of_role(rows: Sequence[Mapping[str, Any]], role: str, against: str | None) -> dict[str, Mapping[str, Any]]:
    """Rows of a role for all users, by metric."""
    wanted = {"role": role, "against": against, "segment": "all"}
    return {row["metric"]: row for row in rows if wanted.items() <= row.items()}


def _bounds(row: Mapping[str, Any], prefix: str = "") -> str:
    return f"[{row[prefix + 'low']:+.3f}, {row[prefix + 'high']:+.3f}]"


def _interval(row: Mapping[str, Any]) -> str:
    return f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def steps_table(steps: Mapping[str, float]) -> str:
    """Seconds by step, all nights together."""
    longest = max(steps.values(), default=1)
    return "\n".join(
        f"  {name:<26}{seconds:7.1f}  {'#' * round(30 * seconds / longest)}" for name, seconds in steps.items()
    )
