"""Models side by side: equal histories, truth that is new, differences of the same users."""

from datetime import date

import numpy as np
import pytest
from catalogue_columns import catalogue_columns

from pipelines.evaluation.comparison import Judged, Measures, compare, held_against, new_to_each
from pipelines.histories import Histories, Popularity

# Titles 41 to 50 were never played.
POPULARITY = Popularity(np.arange(1, 51), np.repeat([3, 0], [40, 10]), np.zeros(50, np.int64))
MEASURES = Measures(POPULARITY, 30, catalogue_columns(50, main_genres=np.arange(50) % 7))


def histories(rows: dict[int, list[tuple[int, float]]]) -> Histories:
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows.values()])]).astype(np.int64)
    pairs = [pair for row in rows.values() for pair in row]
    items, shares = np.array([item for item, _ in pairs], np.int64), np.array([share for _, share in pairs], np.float32)
    return Histories(np.array(list(rows), np.int64), offsets, items, shares)


def test_the_truth_is_what_was_watched_to_the_end_and_is_new_to_the_user() -> None:
    before = histories({1: [(10, 1.0)], 2: [(20, 0.1)]})
    later = histories({1: [(10, 1.0), (11, 0.9), (12, 0.5)], 2: [(20, 1.0)], 3: [(30, 0.8)]})
    truth = new_to_each(later, before, 0.8)
    assert truth.user_ids.tolist() == [1, 3]
    assert truth.item_ids.tolist() == [11, 30]


def test_a_perfect_challenger_is_shown_beside_a_blind_reference() -> None:
    users = range(1, 41)
    truth = histories({user: [(user, 1.0)] for user in users})
    before = histories({user: [(50, 1.0)] * (user % 30) for user in users if user % 30})
    perfect = np.array([[user] + [-1] * 199 for user in users])
    blind = np.full((40, 200), 49)
    rows = compare(
        {"challenger": Judged(perfect, "a" * 32), "most_popular": Judged(blind)},
        truth, before, MEASURES, run_id="r", day=date(2026, 1, 31), resamples=200, seed=1,
    ).to_pylist()  # fmt: skip
    found = {(row["role"], row["metric"], row["segment"]): row for row in rows}
    assert found["challenger", "ndcg_at_20", "all"]["value"] == 1.0
    popular = found["most_popular", "ndcg_at_20", "all"]
    assert (popular["value"], popular["difference"], popular["difference_low"]) == (0.0, 1.0, 1.0)
    segments = ("under_5_events", "5_to_20_events", "over_20_events")
    counts = [found["challenger", "recall_at_20", segment]["user_count"] for segment in segments]
    assert sum(counts) == 40
    assert counts[0] == sum(user % 30 < 5 for user in users)
    assert found["challenger", "coverage_at_20", "all"]["value"] == pytest.approx(40 / 50)
    assert found["challenger", "genres_at_20", "all"]["value"] == 1
    assert found["challenger", "recall_at_20", "new_titles"]["user_count"] == 0


def test_new_titles_are_looked_for_by_those_who_watched_one() -> None:
    truth = histories({1: [(3, 1.0), (45, 1.0)], 2: [(4, 1.0)], 3: [(46, 1.0)]})
    lists = np.full((3, 200), -1)
    lists[0, :2], lists[2, 0] = (45, 9), 4
    rows = compare(
        {"challenger": Judged(lists, "a" * 32)},
        truth, histories({1: [(1, 1.0)]}), MEASURES, run_id="r", day=date(2026, 1, 31), resamples=200, seed=1,
    ).to_pylist()  # fmt: skip
    (new,) = [row for row in rows if (row["metric"], row["segment"]) == ("recall_at_20", "new_titles")]
    assert (new["user_count"], new["value"]) == (2, 0.5)


def test_the_gate_is_given_the_champion_and_without_one_most_popular() -> None:
    figures = dict.fromkeys(["value", "low", "high", "difference", "difference_low", "difference_high"], 0.1)
    row = {"metric": "ndcg_at_20", "segment": "all", "against": "challenger", "user_count": 30, **figures}
    rows = [{**row, "role": role} for role in ("challenger", "most_popular")]
    assert [held.reference for held in held_against(rows, "ndcg_at_20")] == ["most_popular"]
    assert [held.reference for held in held_against([*rows, {**row, "role": "champion"}], "ndcg_at_20")] == ["champion"]
    assert held_against(rows[:1], "ndcg_at_20") == []
