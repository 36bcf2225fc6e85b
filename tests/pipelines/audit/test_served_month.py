"""The month as served: planted impressions and answers come back as the lists of users."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from feature_defs.audit_policy import DEMO_POLICY
from feature_defs.declarations import Table
from feature_defs.events import ANSWERS, EVENTS
from feature_defs.interactions import INTERACTIONS
from feature_defs.items import ITEMS
from feature_defs.users import USERS
from pipelines.arrow_schemas import arrow_schema
from pipelines.audit.served_month import served_subjects
from pipelines.audit.subjects import Subjects
from pipelines.errors import DataError
from pipelines.lake import Lake

FIRST, LAST = date(2026, 1, 5), date(2026, 1, 18)
EARLY = datetime(2025, 6, 1, tzinfo=UTC)


FLAGS = [name for name in INTERACTIONS.names if name.startswith("is_")]
# User 1 watched title 7 to the end on the last day.
WATCHED = dict.fromkeys(FLAGS, False) | {
    "user_id": 1,
    "item_id": 7,
    "watched_share": 0.9,
    "event_count": 1,
    "is_play": True,
}
WATCHED |= {"occasion_id": "o1"} | dict.fromkeys(("happened_at", "received_at"), datetime(2026, 1, 18, 12, tzinfo=UTC))


class Answered:
    """A warehouse that holds these answers, or has no such table."""

    def __init__(self, answers: list[dict[str, Any]] | None) -> None:
        self.answers = answers

    def columns(self, _: Table) -> tuple[str, ...]:
        return () if self.answers is None else tuple(ANSWERS.names)

    def read_days(self, _: Table, first_day: date, last_day: date) -> Iterator[pa.RecordBatch]:
        kept = [one for one in self.answers or [] if first_day <= one["answered_at"].date() <= last_day]
        yield from pa.Table.from_pylist(kept, arrow_schema(ANSWERS)).to_batches() or [
            pa.RecordBatch.from_pylist([], arrow_schema(ANSWERS))
        ]


def moment(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=UTC)


def impression(user: int, item: int, slot: int, day: date = LAST, request: str = "r1", **more: Any) -> dict[str, Any]:
    at = moment(day)
    name = f"{request}-{user}-{item}-{slot}-{day}-{more.get('kind', '')}"
    made = {"event_id": name, "request_id": request, "user_id": user, "item_id": item, "kind": "impression"}
    return made | {"happened_at": at, "received_at": at, "surface": "home", "slot": slot, "propensity": 1.0} | more


def answer(user: int, item: int, slot: int, request: str, source: str = "embedded", **more: Any) -> dict[str, Any]:
    made = {"request_id": request, "slot": slot, "user_id": user, "item_id": item, "answered_at": moment(LAST)}
    return made | {"run_id": "20260116-0123456789ab", "source": source, "propensity": 1.0} | more


def month(folder: Path, events: list[dict[str, Any]], answers: list[dict[str, Any]] | None = None) -> Subjects:
    lake = Lake(str(folder))
    items = [
        {"item_id": item, "title": "T", "kind": "video", "published_at": EARLY, "moderation_state": "approved"}
        for item in range(1, 31)
    ]
    users = [{"user_id": user, "signup_at": EARLY, "is_opted_out": user == 9} for user in range(1, 10)]
    lake.replace(ITEMS, pa.Table.from_pylist(items, arrow_schema(ITEMS)), LAST)
    lake.replace(USERS, pa.Table.from_pylist(users, arrow_schema(USERS)), LAST)
    for day in sorted({one["received_at"].date() for one in events}):
        rows = [one for one in events if one["received_at"].date() == day]
        lake.replace(EVENTS, pa.Table.from_pylist(rows, arrow_schema(EVENTS)), day)
    lake.replace(INTERACTIONS, pa.Table.from_pylist([WATCHED], arrow_schema(INTERACTIONS)), LAST)
    return served_subjects(lake, Answered(answers), FIRST, LAST, DEMO_POLICY)


def test_a_users_month_is_one_list_by_how_visibly_titles_were_shown(tmp_path: Path) -> None:
    events = [impression(1, 5, 0), impression(1, 7, 1), impression(1, 7, 1, request="r2"), impression(2, 8, 9)]
    found = month(tmp_path, events)
    assert found.user_ids.tolist() == [1, 2]
    # Twice in the second place is more than once in the first.
    assert found.rankings[0, :3].tolist() == [7, 5, -1]
    assert found.rankings[1, :2].tolist() == [8, -1]
    assert found.truth.of(np.array([1])).item_ids.tolist() == [7]
    assert set(found.groups) >= {"activity_tier", "gender", "device"}


def test_what_was_answered_and_not_heard_of_counts_and_what_was_heard_of_counts_once(tmp_path: Path) -> None:
    answers = [
        answer(1, 5, 0, "r1"),
        answer(1, 6, 1, "r1"),
        answer(3, 8, 0, "r3", "cohort"),
        answer(3, 9, 1, "r3", "cohort"),
    ]
    answers += [answer(3, 8, 0, "r4"), answer(2, 4, 0, "r5", "chronological")]
    found = month(tmp_path, [impression(1, 5, 0, run_id="20260117-0123456789ab")], answers)
    assert found.user_ids.tolist() == [1, 3], "the chronological feed is no list of ours"
    assert sorted(found.rankings[0, :2].tolist()) == [5, 6]
    served = found.served
    assert served is not None
    assert served.fallback_shares.tolist() == [0.0, 0.5], "of answers, not of places"
    assert served.list_ages.tolist() == [1.5, 2.0]


def test_explored_places_keep_their_propensity_and_what_came_of_them(tmp_path: Path) -> None:
    play = impression(1, 7, 3, kind="play", watched_share=0.9, propensity=0.2)
    events = [
        impression(1, 5, 0),
        impression(1, 7, 3, propensity=0.2),
        impression(1, 7, 4, propensity=0.4, request="r2"),
        play,
    ]
    found = month(tmp_path, events)
    served = found.served
    assert served is not None
    at = found.rankings[0].tolist().index(7)
    assert served.is_exploration[0].tolist()[:2] == [place == at for place in range(2)]
    assert served.propensities[0, at] == pytest.approx(0.2), "of the place it was watched from"
    assert (served.rewards[0, at], served.rewards[0].sum()) == (1.0, 1.0)


def test_weeks_are_counted_back_from_the_last_day(tmp_path: Path) -> None:
    days = [FIRST + timedelta(days=day) for day in range(14)]
    found = month(tmp_path, [impression(1, 1 + number, 0, day, f"r{number}") for number, day in enumerate(days)])
    served = found.served
    assert served is not None
    assert [week.tolist() for week in served.weeks] == [list(range(1, 8)), list(range(8, 15))]


def test_those_who_opted_out_and_strangers_are_in_no_audit(tmp_path: Path) -> None:
    found = month(tmp_path, [impression(1, 5, 0), impression(9, 5, 0), impression(77, 5, 0)], [answer(9, 4, 0, "r7")])
    assert found.user_ids.tolist() == [1]


@pytest.mark.parametrize("answers", [None, [], [answer(2, 4, 0, "r5", "chronological")]])
def test_a_month_in_which_nothing_was_shown_is_named(tmp_path: Path, answers: list[dict[str, Any]] | None) -> None:
    play = impression(1, 7, 0, kind="play", watched_share=1.0, propensity=None) | {"slot": None}
    with pytest.raises(DataError, match=r"^nothing was shown to anybody from 2026-01-05 to 2026-01-18: "):
        month(tmp_path, [play], answers)
