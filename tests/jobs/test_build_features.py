"""The job, over real lakes: late and repeated events, opted-out users, one day after another and all in one go."""

import json
import os
import random
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from feature_defs.events import EVENTS
from feature_defs.features import ITEM_FEATURES, USER_FEATURES
from feature_defs.interactions import INTERACTIONS, ITEM_PLAYS, LABELS
from feature_defs.users import USERS
from jobs.build_features import build
from pipelines.arrow_schemas import arrow_schema
from pipelines.lake import Lake

# The night between the first two is the one in which Berlin loses an hour.
DAYS = [date(2026, 3, 28), date(2026, 3, 29), date(2026, 3, 30)]
TABLES = (INTERACTIONS, ITEM_PLAYS, USER_FEATURES.table, ITEM_FEATURES.table, LABELS)
NOON = timedelta(hours=12)
OPTED_OUT = 7


def event(name, user, item, received, happened=None, **others):
    received_at = datetime.combine(received, datetime.min.time(), UTC) + NOON
    happened_at = datetime.combine(happened or received, datetime.min.time(), UTC) + NOON
    return {
        "event_id": name,
        "user_id": user,
        "item_id": item,
        "kind": "play",
        "watched_share": 0.9,
        "happened_at": happened_at,
        "received_at": received_at,
        "day": received,
        **others,
    }


def events():
    """A small crowd, and what is planted among it."""
    chance = random.Random(5)
    rows = []
    for number in range(120):
        received = chance.choice(DAYS)
        late = timedelta(days=chance.choice([0, 0, 0, 1, 2, 9]), minutes=chance.randrange(700))
        row = event(f"crowd-{number}", chance.randint(1, 9), chance.randint(1, 9), received)
        row["happened_at"] -= late
        row["watched_share"] = chance.choice([0.1, 0.5, 1.0, None])
        if number % 3 == 0:
            row.update(kind=chance.choice(["impression", "click", "skip"]), watched_share=None, request_id="r1")
        rows.append(row)
    return [
        *rows,
        # Known on the second day, though it happened on the first.
        event("late", 100, 200, DAYS[1], DAYS[0]),
        # Sent again two days after it was received.
        event("again", 101, 201, DAYS[0]),
        event("again", 101, 201, DAYS[2], DAYS[0]),
        # Of a user who opted out on the second day.
        event("before", OPTED_OUT, 202, DAYS[0]),
        event("after", OPTED_OUT, 202, DAYS[1]),
        # Follows the late event by a day.
        event("label", 100, 200, DAYS[2]),
    ]


def fill(lake):
    schema = pa.field("day", pa.date32())
    lake.replace(EVENTS, pa.Table.from_pylist(events(), arrow_schema(EVENTS).append(schema)), DAYS[0], DAYS[-1])
    for day in DAYS[:2]:
        users = [
            {
                "user_id": user,
                "signup_at": datetime(2026, 1, 1, tzinfo=UTC),
                "is_opted_out": user == OPTED_OUT and day == DAYS[1],
            }
            for user in (*range(1, 10), 100, 101)
        ]
        lake.replace(USERS, pa.Table.from_pylist(users, arrow_schema(USERS)), day)


@pytest.fixture(scope="module")
def lakes(spark, tmp_path_factory):
    """The same events, built in one go, and a day at a time; with what the tables held after each day."""
    at_once = Lake(str(tmp_path_factory.mktemp("at-once") / "lake"))
    by_day = Lake(str(tmp_path_factory.mktemp("by-day") / "lake"))
    pinned = {EVENTS.name: None, USERS.name: None}
    fill(at_once)
    fill(by_day)
    build(spark, at_once, DAYS[0], DAYS[-1], pinned, None, lambda _: None)
    after = []
    for day in DAYS:
        build(spark, by_day, day, day, pinned, "a run", lambda _: None)
        after.append({table.name: by_day.digests(table) for table in TABLES})
    return at_once, by_day, after


def test_days_built_one_after_the_other_hold_what_a_range_built_in_one_go_holds(lakes):
    at_once, by_day, _ = lakes
    for table in TABLES:
        assert at_once.digests(table) == by_day.digests(table)
        assert set(by_day.digests(table)) == {str(day) for day in DAYS}


def test_no_day_changes_what_an_earlier_day_holds(lakes):
    *_, after = lakes
    for earlier, later in pairwise(after):
        for table in TABLES:
            assert earlier[table.name].items() < later[table.name].items()


def test_a_late_event_lands_in_the_day_of_its_receipt(lakes):
    lake, *_ = lakes
    (row,) = lake.read(INTERACTIONS, where=pc.field("occasion_id") == "late").to_pylist()
    assert (row["day"], row["happened_at"].date()) == (DAYS[1], DAYS[0])
    rows = lake.read(USER_FEATURES.table, where=pc.field("user_id") == 100).to_pylist()
    assert {row["day"]: row["play_count_28d"] for row in rows} == {DAYS[1]: 1, DAYS[2]: 2}
    labels = lake.read(LABELS, where=pc.field("user_id") == 100).to_pylist()
    # At its own time nothing was known of the late event; a day after its receipt it was.
    assert {row["occasion_id"]: row["user_play_count"] for row in labels} == {"late": None, "label": 1}


def test_an_event_that_was_sent_twice_counts_once_on_the_day_of_its_first_receipt(lakes):
    lake, *_ = lakes
    rows = lake.read(INTERACTIONS, where=pc.field("occasion_id") == "again").to_pylist()
    assert [(row["day"], row["event_count"]) for row in rows] == [(DAYS[0], 1)]
    plays = lake.read(ITEM_PLAYS, where=pc.field("item_id") == 201).to_pylist()
    assert [(row["day"], row["play_count"]) for row in plays] == [(DAYS[0], 1)]


def test_a_user_who_opted_out_is_in_totals_only(lakes):
    lake, *_ = lakes
    for table in (INTERACTIONS, USER_FEATURES.table, LABELS):
        days = lake.read(table, where=pc.field("user_id") == OPTED_OUT).column("day").to_pylist()
        assert set(days) == {DAYS[0]}
    rows = lake.read(ITEM_FEATURES.table, where=pc.field("item_id") == 202).to_pylist()
    assert {row["day"]: row["play_count"] for row in rows} == {DAYS[0]: 1, DAYS[1]: 2, DAYS[2]: 2}


def test_nothing_is_left_beside_the_lake(lakes):
    for lake in lakes[:2]:
        folder = os.path.dirname(lake.root)  # noqa: PTH120
        assert os.listdir(folder) == ["lake"]  # noqa: PTH208


def run(lake, *arguments, zone="America/New_York"):
    return subprocess.run(
        [sys.executable, "-m", "jobs.build_features", *arguments],
        env={**os.environ, "MARQUEE_HOME": os.path.dirname(lake.root), "TZ": zone},  # noqa: PTH120
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_command_does_the_same_in_another_time_zone_and_a_second_time_changes_nothing(lakes):
    lake, *_ = lakes
    versions = {table.name: lake.version(table) for table in TABLES}
    done = run(lake, "--from-day", str(DAYS[0]), "--day", str(DAYS[-1]))
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["interactions"] == told["labels"] == lake.read(LABELS).num_rows
    assert {table.name: lake.version(table) for table in TABLES} == versions


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--day", "2026-04-01"], 65, "no events were extracted for 2026-04-01"),
        (["--day", "2026-03-28", "--from-day", "2026-03-29"], 64, "--from-day 2026-03-29 lies after --day 2026-03-28"),
        (["--day", "2026-03-30"], 65, "no run was opened for 2026-03-30"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_sentence(lakes, arguments, code, sentence):
    done = run(lakes[0], *arguments)
    assert done.returncode == code
    assert done.stderr.startswith(f"marquee: {sentence}")
    assert len(done.stderr.splitlines()) == 1
