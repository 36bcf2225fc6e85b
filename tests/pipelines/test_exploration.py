"""Which titles are explored, and how much."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import small_catalogue as small

from feature_defs.events import EVENTS
from pipelines.arrow_schemas import arrow_schema
from pipelines.exploration import Outcomes, draw_shares, explorable, read_outcomes
from pipelines.histories import Popularity
from pipelines.lake import Lake

DAY = date(2026, 1, 31)


def events(day: date, *rows: tuple[str | None, int, str]) -> pa.Table:
    at = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    return pa.Table.from_pylist(
        [
            {
                "event_id": f"{day}-{number}",
                "request_id": request,
                "user_id": 1,
                "item_id": item,
                "kind": kind,
                "happened_at": at,
                "received_at": at,
            }
            for number, (request, item, kind) in enumerate(rows)
        ],
        arrow_schema(EVENTS),
    )


def test_a_slot_counts_once_it_was_shown_and_as_a_success_if_anything_came_of_it(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    assert len(read_outcomes(lake, DAY).item_ids) == 0
    lake.replace(
        EVENTS,
        events(
            DAY,
            ("a", 1, "impression"), ("a", 1, "click"), ("a", 1, "play"),
            ("b", 1, "impression"),
            ("b", 2, "impression"), ("b", 2, "skip"),
            ("c", 3, "play"),  # never seen to be shown
            (None, 4, "impression"),  # in no answer
        ),
        DAY,
    )  # fmt: skip
    lake.replace(EVENTS, events(DAY - timedelta(28), ("z", 2, "impression")), DAY - timedelta(28))
    found = read_outcomes(lake, DAY)
    assert [found.item_ids.tolist(), found.impressions.tolist(), found.successes.tolist()] == [[1, 2], [2, 1], [1, 0]]
    shown, taken = found.of(np.array([2, 9, 1]))
    assert (shown.tolist(), taken.tolist()) == ([1, 0, 2], [0, 0, 1])


def test_shares_follow_what_came_of_showing_and_none_is_nothing() -> None:
    impressions = np.array([1000, 1000, 0, 10])
    shares = draw_shares(impressions, np.array([200, 20, 0, 0]))
    assert shares.sum() == pytest.approx(1)
    assert shares.min() >= 0.1 / 4
    assert shares[0] > shares[2] > shares[1], "the good, then the unknown, then the known to be poor"
    assert draw_shares(impressions, np.array([200, 20, 0, 0])).tolist() == shares.tolist()


def test_among_equals_the_draws_are_even() -> None:
    shares = draw_shares(np.zeros(20, np.int64), np.zeros(20, np.int64))
    assert shares == pytest.approx(np.full(20, 0.05), abs=0.015)


def test_the_probability_to_be_the_best_is_that_of_a_beta_distribution() -> None:
    # Of two, by hand: the usual rate is (30 + 1) / (200 + 20), and counts as 20 impressions.
    shares = draw_shares(np.array([100, 100]), np.array([20, 10]))
    rate = 31 / 220
    generator = np.random.default_rng(99)
    one = generator.beta(20 + 20 * rate, 80 + 20 * (1 - rate), 200_000)
    two = generator.beta(10 + 20 * rate, 90 + 20 * (1 - rate), 200_000)
    assert shares[0] == pytest.approx(0.9 * (one > two).mean() + 0.05, abs=0.02)


def test_new_titles_and_the_long_tail_are_explored_and_what_is_known_or_hidden_is_not() -> None:
    early, late = datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 1, 30, tzinfo=UTC)
    catalogue = small.catalogue(
        6,
        published_at=[early, early, early, late, late, datetime(2026, 2, 1, 6, tzinfo=UTC)],
        moderation_state=["approved"] * 4 + ["pending", "approved"],
    )
    plays = Popularity(np.array([1, 2, 4]), np.array([90, 5, 80]), np.zeros(3, np.int64))
    outcomes = Outcomes(np.array([2]), np.array([7]), np.array([3]))
    found = explorable(catalogue, plays, outcomes)
    assert found.item_ids == [2, 3, 4, 6]
    assert (found.impressions, found.successes) == ([7, 0, 0, 0], [3, 0, 0, 0])
    assert sum(found.weights) == pytest.approx(1)


def test_no_more_are_explored_than_can_be_learned_of_and_the_least_shown_come_first() -> None:
    catalogue = small.catalogue(1500)
    shown = Outcomes(catalogue.item_ids, np.where(catalogue.item_ids <= 500, 50, 0), np.zeros(1500, np.int64))
    none = np.zeros(0, np.int64)
    found = explorable(catalogue, Popularity(none, none, none), shown)
    assert found.item_ids == list(range(501, 1501))
