"""Interactions, held against a loop over events."""

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from feature_defs.events import EVENTS, KINDS
from feature_defs.interactions import INTERACTIONS
from pipelines.features.interactions import earlier_receipts, first_received, interactions, not_received_before

# Clocks go forward in New York on the 8th and in Berlin on the 29th of March.
FIRST = datetime(2026, 3, 6, tzinfo=UTC)
HOURS = [0, 0.5, 1, 1.5, 2.5, 7, 22, 22.5, 23, 23.999999]
LATENESS = [-0.5, 0, 0, 0, 0.25, 1, 2, 23, 40]


@st.composite
def worlds(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Receipts: a few events, each received once or several times, on time or late, at times with other content."""
    receipts = []
    for number in range(draw(st.integers(3, 10))):
        happened_at = FIRST + timedelta(
            days=draw(st.sampled_from([0, 0, 0, 1, 2, 23, 24])), hours=draw(st.sampled_from(HOURS))
        )
        kind = draw(st.sampled_from((*KINDS, "play", "play", "impression")))
        event = {
            "event_id": f"e{number}",
            "request_id": draw(st.sampled_from([None, "r1", "r1", "r2"])),
            "user_id": draw(st.sampled_from([1, 1, 1, 2])),
            "item_id": draw(st.sampled_from([1, 1, 1, 2])),
            "kind": kind,
            "happened_at": happened_at,
            "watched_share": draw(st.sampled_from([None, 0.0, 0.2, 0.5, 0.8, 1.0])) if kind == "play" else None,
        }
        for _ in range(draw(st.sampled_from([1, 1, 2, 3]))):
            received_at = happened_at + timedelta(days=draw(st.sampled_from(LATENESS)))
            receipt = {
                **event,
                "received_at": received_at,
                "day": received_at.date(),
                "surface": draw(st.sampled_from([None, "home", "search"])),
                "run_id": draw(st.sampled_from([None, "a", "b"])),
                "slot": draw(st.sampled_from([None, 0, 3])),
            }
            receipts.append({**dict.fromkeys(EVENTS.names), **receipt})
    return receipts


def apart(batch: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Many worlds as one: no two share a user, a title, an event or an answer."""
    return [
        {
            **row,
            "event_id": f"{index}-{row['event_id']}",
            "request_id": row["request_id"] and f"{index}-{row['request_id']}",
            "user_id": row["user_id"] + 10 * index,
            "item_id": row["item_id"] + 10 * index,
        }
        for index, world in enumerate(batch)
        for row in world
    ]


def expected(receipts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Interactions of all days, by hand."""
    first: dict[str, dict[str, Any]] = {}
    content = sorted(({*EVENTS.names, "day"}) - {"event_id", "received_at"})
    for row in receipts:
        order = (row["received_at"], [(row[name] is not None, row[name]) for name in content])
        known = first.get(row["event_id"])
        if known is None or order < known["order"]:
            first[row["event_id"]] = {**row, "order": order}
    groups = defaultdict(list)
    for row in first.values():
        occasion = row["request_id"] or row["event_id"]
        groups[row["day"], row["user_id"], row["item_id"], occasion].append(row)
    rows = []
    for (day, user, item, occasion), events in groups.items():
        events.sort(key=lambda row: (row["happened_at"], row["event_id"]))
        answered = [row for row in events if not row["run_id"] is row["slot"] is None]
        shares = [row["watched_share"] for row in events if row["watched_share"] is not None]
        rows.append(
            {
                "user_id": user,
                "item_id": item,
                "occasion_id": occasion,
                "happened_at": events[0]["happened_at"],
                "received_at": max(row["received_at"] for row in events),
                "event_count": len(events),
                "watched_share": pytest.approx(max(shares)) if shares else None,
                **{f"is_{kind}": any(row["kind"] == kind for row in events) for kind in KINDS},
                "surface": next((row["surface"] for row in events if row["surface"]), None),
                "device": None,
                "run_id": answered[0]["run_id"] if answered else None,
                "slot": answered[0]["slot"] if answered else None,
                "propensity": None,
                "day": day,
            }
        )
    return rows


def in_order(rows):
    return sorted(rows, key=lambda row: (row["day"], row["user_id"], row["item_id"], row["occasion_id"]))


# Not shrunk: a world that fails is small as it is, and Spark takes seconds for each try.
@settings(
    max_examples=3,
    deadline=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
@given(batch=st.lists(worlds(), min_size=25, max_size=25))
def test_events_become_interactions_whether_earlier_days_are_built_with_them_or_before(frames, zone, batch):
    receipts = apart(batch)
    found = frames.rows(interactions(first_received(frames.of(EVENTS, receipts))))
    assert in_order(found) == in_order(expected(receipts))

    cut = date(2026, 3, 29)
    since = frames.of(EVENTS, [row for row in receipts if row["day"] >= cut])
    happened = sorted({row["happened_at"].date() for row in receipts if row["day"] >= cut})
    before = frames.of(EVENTS, [row for row in receipts if row["day"] < cut])
    found = frames.rows(interactions(not_received_before(first_received(since), earlier_receipts(before, happened))))
    assert in_order(found) == [row for row in in_order(expected(receipts)) if row["day"] >= cut]


def test_interactions_hold_what_is_declared(frames):
    frame = interactions(first_received(frames.of(EVENTS, [])))
    assert frame.columns == [*INTERACTIONS.names, "day"]
