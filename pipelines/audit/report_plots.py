"""The plots of an audit's page, as SVG that stands in it: which group fares how, with its interval and its limit.

Drawn here and not by a library: they are marks and lines, a night makes them in milliseconds, and the same findings
give the same bytes. A verdict is told by a shape as well as by a colour.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from pipelines.audit.words import attribute_title, decides, group_title, metric_title, split

_Finding = Mapping[str, Any]

_WIDTH, _ROW, _FOOT = 940, 22, 30
_NAMES, _GAP, _LINE = 210, 22, 15
_LONGEST = 30
_STEPS = (1, 2, 2.5, 5, 10)


def forest(findings: Sequence[_Finding], metrics: Sequence[str]) -> str:
    """Figures side by side, group by group: a mark with its 95 % interval, and the limit; empty if there is nothing.

    Args:
        findings: of an audit.
        metrics: which of them, a panel each; ratios, so that 100 % is as good as what they are held against.
    """
    found = [one for one in findings if one["metric"] in metrics and one["estimate"] is not None]
    rows = list(dict.fromkeys((one["attribute"], one["group"]) for one in found))
    panels = [metric for metric in metrics if any(one["metric"] == metric for one in found)]
    if not rows:
        return ""
    width = (_WIDTH - _NAMES - _GAP * len(panels)) / len(panels)
    titles = [[*textwrap.wrap(metric_title(one), int(width / 7)), f"({split(one)[1]})"] for one in panels]
    head = _LINE * max(map(len, titles)) + 12
    height = head + len(rows) * _ROW + _FOOT
    drawn = [_names(rows, head)]
    for at, (metric, lines) in enumerate(zip(panels, titles, strict=True)):
        left = _NAMES + _GAP + at * (width + _GAP)
        for line, text in enumerate(lines):
            y = head - 10 - _LINE * (len(lines) - 1 - line)
            drawn.append(f'<text x="{left + width / 2:.0f}" y="{y}" class="title">{escape(text)}</text>')
        drawn.append(_panel([one for one in found if one["metric"] == metric], rows, head, left, width))
    title = escape(", ".join(metric_title(metric) for metric in panels))
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{title}" class="plot">'
        + "".join(drawn)
        + "</svg>"
    )


def is_of_users(finding: _Finding) -> bool:
    """Whether a finding is of a group of users: neither of titles nor of all lists."""
    return finding["attribute"] != "all" and not finding["attribute"].startswith("titles.")


def _names(rows: Sequence[tuple[str, str]], head: int) -> str:
    """Groups at the left, and a line where another attribute begins."""
    drawn = []
    for at, (attribute, group) in enumerate(rows):
        y = head + at * _ROW
        name = f"{attribute_title(attribute)}: {_short(group_title(group))}"
        drawn.append(f'<text x="{_NAMES}" y="{y + 15}" class="name">{escape(name)}</text>')
        if at and rows[at - 1][0] != attribute:
            drawn.append(f'<line x1="0" x2="{_WIDTH}" y1="{y}" y2="{y}" class="between"/>')
    return "".join(drawn)


def _panel(found: Sequence[_Finding], rows: Sequence[tuple[str, str]], head: int, left: float, width: float) -> str:
    values = [
        value for one in found for name in ("estimate", "low", "high", "limit") if (value := one[name]) is not None
    ]
    low, high = min(1.0, *values), max(1.0, *values)
    low, high = low - 0.04 * (high - low), high + 0.04 * (high - low)
    bottom = head + len(rows) * _ROW

    def x(value: float) -> float:
        at: float = left + width * (value - low) / max(high - low, 1e-9)
        return round(at, 1)

    drawn = []
    # A figure at the very edge would run into that of the next panel.
    inner = 0.08 * (high - low)
    for tick, digits in _ticks(low + inner, high - inner, max(2, int(width / 60))):
        drawn.append(f'<line x1="{x(tick)}" x2="{x(tick)}" y1="{head}" y2="{bottom}" class="grid"/>')
        drawn.append(f'<text x="{x(tick)}" y="{bottom + 17}" class="tick">{tick:.{digits}%}</text>')
    drawn.append(f'<line x1="{x(1)}" x2="{x(1)}" y1="{head}" y2="{bottom}" class="par"/>')
    for one in found:
        y = head + rows.index((one["attribute"], one["group"])) * _ROW
        drawn.append(_mark(one, x, y))
    return "".join(drawn)


def _mark(one: _Finding, x: Any, top: int) -> str:
    kind = one["verdict"] if decides(one) else "reported"
    at, y = x(one["estimate"]), top + _ROW // 2
    ends = [one["estimate"] if one[name] is None else one[name] for name in ("low", "high")]
    told = (
        f"{group_title(one['group'])}: {one['estimate']:.1%}, {ends[0]:.1%} to {ends[1]:.1%}, n {one['user_count']:,}"
    )
    shape = {
        "FAIL": f'<path d="M{at - 5} {y - 5}L{at + 5} {y + 5}M{at - 5} {y + 5}L{at + 5} {y - 5}"/>',
        "INCONCLUSIVE": f'<path d="M{at} {y - 5.5}L{at + 5.5} {y}L{at} {y + 5.5}L{at - 5.5} {y}Z" class="solid"/>',
    }.get(kind, f'<circle cx="{at}" cy="{y}" r="4" class="solid"/>')
    limit = ""
    if one["limit"] is not None:
        limit = f'<line x1="{x(one["limit"])}" x2="{x(one["limit"])}" y1="{top}" y2="{top + _ROW}" class="limit"/>'
    interval = f'<line x1="{x(ends[0])}" x2="{x(ends[1])}" y1="{y}" y2="{y}"/>'
    return f'{limit}<g class="mark {kind}"><title>{escape(told)}</title>{interval}{shape}</g>'


def _ticks(low: float, high: float, most: int) -> list[tuple[float, int]]:
    """Round shares between two bounds, at most so many, each with the digits it takes as a percentage."""
    span = max(high - low, 1e-6)
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(factor * power for factor in _STEPS if span / (factor * power) <= most)
    digits = max(0, -math.floor(math.log10(step * 100) + 1e-9)) if step < 0.01 else int(round(step * 1000) % 10 > 0)
    first = math.ceil(low / step - 1e-9)
    return [(number * step, digits) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
