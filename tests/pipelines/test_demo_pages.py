"""What the demo shows of a night."""

import pytest

from pipelines.demo_pages import models_of, quality_table


def row(role: str, against: str, value: float, difference: float) -> list[dict]:
    numbers = {"value": value, "low": value - 0.01, "high": value + 0.01, "difference": difference}
    numbers |= {"difference_low": difference - 0.005, "difference_high": difference + 0.005}
    return [
        {"role": role, "against": against, "segment": "all", "metric": metric, "user_count": 9, **numbers}
        for metric in ("ndcg_at_20", "recall_at_20")
    ]


ROWS = [
    *row("challenger", "challenger", 0.4, 0.0),
    *row("towers", "challenger", 0.3, 0.1),
    *row("als", "challenger", 0.25, 0.15),
    *row("als", "towers", 0.25, 0.05),
    *row("most_popular", "challenger", 0.1, 0.3),
    *row("most_popular", "als", 0.1, 0.15),
]


def test_models_stand_in_order_each_with_what_the_line_above_adds() -> None:
    lines = quality_table(ROWS).splitlines()
    assert [line.split()[0] for line in lines] == ["model", "funnel", "two-tower", "ALS", "most"]
    assert lines[2].endswith("+0.100 [+0.095, +0.105]")
    assert lines[3].endswith("+0.050 [+0.045, +0.055]")
    assert lines[4].endswith("+0.150 [+0.145, +0.155]")


def test_the_oracle_stands_first_where_there_is_one() -> None:
    lines = quality_table([*row("oracle", "challenger", 0.6, 0.0), *ROWS]).splitlines()
    assert lines[1].split()[:2] == ["oracle", "9"]


def test_the_figures_for_programs_are_the_same() -> None:
    found = models_of(ROWS)
    assert list(found) == ["funnel", "two_tower", "als", "most_popular"]
    assert found["als"]["ndcg_at_20"] == 0.25
    assert found["als"]["next_better_by_low"] == pytest.approx(0.045)
