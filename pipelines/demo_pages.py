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


def quality_table(nights: Sequence[Sequence[Mapping[str, Any]]]) -> str:
    """Each night's models side by side: mean over users with its 95 % bootstrap interval."""
    lines = [f"  {'night of':<11}{'model':<14}{'users':>6}  {'ndcg_at_20':<25}{'recall_at_20':<25}"]
    for rows in nights:
        for role in ("challenger", "champion", "most_popular"):
            found = {row["metric"]: row for row in rows if row["role"] == role and row["segment"] == "all"}
            if found:
                ndcg, recall = found["ndcg_at_20"], found["recall_at_20"]
                lines.append(
                    f"  {ndcg['run_day']!s:<11}{role:<14}{ndcg['user_count']:>6}  "
                    f"{_interval(ndcg):<25}{_interval(recall)}"
                )
    return "\n".join(lines)


def _interval(row: Mapping[str, Any]) -> str:
    return f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def steps_table(steps: Mapping[str, float]) -> str:
    """Seconds by step, all nights together."""
    longest = max(steps.values(), default=1)
    return "\n".join(
        f"  {name:<26}{seconds:7.1f}  {'#' * round(30 * seconds / longest)}" for name, seconds in steps.items()
    )
