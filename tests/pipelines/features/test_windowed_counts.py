"""Features of users and titles, held against a loop over days and plays."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from feature_defs.features import ITEM_FEATURES, USER_FEATURES
from feature_defs.interactions import INTERACTIONS
from pipelines.features.item_features import item_features
from pipelines.features.opted_out import opted_out, standing
from pipelines.features.play_totals import play_totals
from pipelines.features.user_features import user_features

# Clocks go back in Berlin on the 25th of October and in New York on the 1st of November.
FIRST, LAST = date(2026, 10, 1), date(2026, 11, 15)
SHARES = [None, 0.0, 0.1, 0.2, 0.5, 0.8, 1.0]


@st.composite
def worlds(draw: st.DrawFn) -> list[dict[str, Any]]:
    rows = []
    for number in range(draw(st.integers(1, 8))):
        day = date(2026, 9, 1) + timedelta(days=draw(st.integers(0, 75)))
        clock = draw(st.sampled_from([time(0), time(0, 30), time(22, 30), time(23, 59, 59, 999999)]))
        happened_at = datetime.combine(day, clock, UTC)
        late = timedelta(days=draw(st.sampled_from([-1, 0, 0, 0, 1, 6, 7, 8, 27, 28, 29, 60])))
        is_play = draw(st.sampled_from([True, True, True, False]))
        rows.append(
            {
                **{name: False if name.startswith("is_") else None for name in INTERACTIONS.names},
                "user_id": draw(st.integers(1, 2)),
                "item_id": draw(st.integers(1, 2)),
                "occasion_id": f"o{number}",
                "happened_at": happened_at,
                "received_at": happened_at + late,
                "event_count": 1,
                "is_play": is_play,
                "watched_share": draw(st.sampled_from(SHARES)) if is_play else None,
                "day": (happened_at + late).date(),
            }
        )
    return rows


def expected(plays: list[dict[str, Any]], key: str, day: date) -> dict[int, dict[str, Any]]:
    """The rows of one day, by hand."""
    found = {}
    for entity in {row[key] for row in plays}:
        known = [
            row
            for row in plays
            if row[key] == entity and row["is_play"] and row["day"] <= day and row["happened_at"].date() <= day
        ]
        month = [row for row in known if row["happened_at"].date() > day - timedelta(days=28)]
        week = [row for row in known if row["happened_at"].date() > day - timedelta(days=7)]
        shares = [row["watched_share"] for row in month if row["watched_share"] is not None]
        if month:
            midnight = datetime.combine(day + timedelta(days=1), time(0), UTC)
            found[entity] = {
                key: entity,
                "feature_at": midnight,
                "created_at": midnight,
                "play_count_7d": len(week),
                "play_count_28d": len(month),
                "complete_count_28d": sum(share >= 0.8 for share in shares),
                "mean_watched_share_28d": pytest.approx(sum(shares) / len(shares), abs=1e-6) if shares else None,
                "play_count": len(known),
                "last_played_at": max(row["happened_at"] for row in known),
                "day": day,
            }
    return found


def every_day(plays, key, first=FIRST, last=LAST):
    span = (last - first).days + 1
    return {
        (day, entity): row
        for day in (first + timedelta(days=number) for number in range(span))
        for entity, row in expected(plays, key, day).items()
    }


def by_day(rows, key):
    found = {(row["day"], row[key]): row for row in rows}
    assert len(found) == len(rows)
    return found


# Not shrunk: a world that fails is small as it is, and Spark takes seconds for each try.
@settings(
    max_examples=3,
    deadline=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
@given(batch=st.lists(worlds(), min_size=20, max_size=20))
def test_counts_of_every_day_are_those_of_a_loop_over_days(frames, zone, batch):
    plays = [
        {**row, "user_id": row["user_id"] + 10 * index, "item_id": row["item_id"] + 10 * index}
        for index, world in enumerate(batch)
        for row in world
    ]
    frame = frames.of(INTERACTIONS, plays).persist()
    nobody = frames.spark.createDataFrame([], "user_id bigint, from_day date, until_day date")
    of_items = play_totals(frame, "item_id")

    assert by_day(frames.rows(user_features(frame, nobody, FIRST, LAST)), "user_id") == every_day(plays, "user_id")
    assert by_day(frames.rows(item_features(of_items, FIRST, LAST)), "item_id") == every_day(plays, "item_id")
    # One day alone is no special case.
    one = date(2026, 10, 25)
    assert by_day(frames.rows(item_features(of_items, one, one)), "item_id") == every_day(plays, "item_id", one, one)
    frame.unpersist()


def test_a_late_play_changes_the_row_of_its_receipt_and_no_earlier_one(frames):
    def play(happened: date, received: date) -> dict[str, Any]:
        at = datetime.combine(happened, time(12), UTC)
        return {
            **{name: False if name.startswith("is_") else None for name in INTERACTIONS.names},
            "user_id": 1,
            "item_id": 1,
            "occasion_id": str(received),
            "happened_at": at,
            "received_at": at,
            "event_count": 1,
            "is_play": True,
            "watched_share": 1.0,
            "day": received,
        }

    on_time = play(date(2026, 10, 20), date(2026, 10, 20))
    late = play(date(2026, 10, 21), date(2026, 10, 26))

    def counts(plays):
        rows = frames.rows(item_features(play_totals(frames.of(INTERACTIONS, plays), "item_id"), FIRST, LAST))
        return {row["day"]: row["play_count_28d"] for row in rows}

    without, with_late = counts([on_time]), counts([on_time, late])
    assert {day for day in with_late if with_late[day] != without.get(day)} == {
        date(2026, 10, 26) + timedelta(days=number) for number in range((LAST - date(2026, 10, 26)).days + 1)
    }


def test_a_user_who_opted_out_has_no_features_from_that_day_until_opting_in(frames):
    plays = [
        {
            **{name: False if name.startswith("is_") else None for name in INTERACTIONS.names},
            "user_id": user,
            "item_id": 1,
            "occasion_id": "o",
            "event_count": 1,
            "is_play": True,
            "happened_at": datetime(2026, 10, 1, tzinfo=UTC),
            "received_at": datetime(2026, 10, 1, tzinfo=UTC),
            "day": date(2026, 10, 1),
        }
        for user in (1, 2)
    ]
    users = frames.spark.createDataFrame(
        [
            (1, True, date(2026, 10, 5)),
            (2, False, date(2026, 10, 5)),
            (1, False, date(2026, 10, 8)),
            (2, True, date(2026, 10, 8)),
        ],
        "user_id bigint, is_opted_out boolean, day date",
    )
    spans = standing([date(2026, 10, 5), date(2026, 10, 8)], date(2026, 10, 1), date(2026, 10, 10))
    frame = user_features(
        frames.of(INTERACTIONS, plays), opted_out(users, spans), date(2026, 10, 1), date(2026, 10, 10)
    )
    found = {user: {row["day"].day for row in frames.rows(frame) if row["user_id"] == user} for user in (1, 2)}
    assert found == {1: {8, 9, 10}, 2: {1, 2, 3, 4, 5, 6, 7}}


def test_only_the_snapshots_that_say_something_of_the_days_are_read():
    snapshots = [date(2026, 1, day) for day in (1, 3, 9)]
    assert list(standing(snapshots, date(2026, 1, 4), date(2026, 1, 4))) == [date(2026, 1, 3)]
    assert list(standing(snapshots, date(2026, 1, 2), date(2026, 1, 3))) == [date(2026, 1, 1), date(2026, 1, 3)]
    assert list(standing(snapshots, date(2025, 12, 1), date(2025, 12, 2))) == [date(2026, 1, 1)]


def test_both_views_hold_what_is_declared(frames):
    nobody = frames.spark.createDataFrame([], "user_id bigint, from_day date, until_day date")
    frame = frames.of(INTERACTIONS, [])
    assert user_features(frame, nobody, FIRST, LAST).columns == [*USER_FEATURES.table.names, "day"]
    assert item_features(play_totals(frame, "item_id"), FIRST, LAST).columns == [*ITEM_FEATURES.table.names, "day"]
