"""What every warehouse promises, held against each of them."""

from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest

from feature_defs.events import ANSWERS, EVENTS
from feature_defs.items import ITEMS
from feature_defs.users import PREFERENCES, PROTECTED_ATTRIBUTES, USERS
from pipelines.arrow_schemas import arrow_schema
from pipelines.checks import conform
from pipelines.errors import DataError
from pipelines.warehouse.interface import TakenUp

DAY = date(2026, 1, 31)
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def rows_of(table, rows):
    return pa.Table.from_pylist(rows, schema=arrow_schema(table))


def event(event_id, *, received_at=NOON, **values):
    return {
        "event_id": event_id,
        "user_id": 1,
        "item_id": 2,
        "kind": "play",
        "happened_at": received_at,
        "received_at": received_at,
        **values,
    }


def answered(request_id, *, slots=((0, 2, 0.5),), user_id=1, run_id="run"):
    return [
        {
            "request_id": request_id,
            "slot": slot,
            "user_id": user_id,
            "item_id": item_id,
            "answered_at": NOON,
            "run_id": run_id,
            "source": "embedded",
            "score": 1.5,
            "propensity": propensity,
        }
        for slot, item_id, propensity in slots
    ]


def load(place, table, rows):
    with place.open() as warehouse:
        return warehouse.replace_all({table: rows_of(table, rows).to_batches()})


def read(place, table, first=DAY, last=None):
    with place.open() as warehouse:
        return pa.Table.from_batches(warehouse.read_days(table, first, last or first))


def test_what_was_loaded_is_read_back_to_the_microsecond_and_in_the_declared_types(place) -> None:
    moment = datetime(2026, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    loaded = [
        event("a", received_at=moment, watched_share=0.25, position=7, surface="home", request_id="r", slot=3),
        event("b é '\" |", received_at=NOON, user_id=2**40),
    ]
    assert load(place, EVENTS, loaded) == {"events": 2}
    assert read(place, EVENTS).equals(rows_of(EVENTS, loaded))


def test_lists_and_nulls_of_a_catalogue_come_back(place) -> None:
    items = [
        {
            "item_id": 1,
            "title": "Ünder",
            "genres": ["Drama", "Film-Noir"],
            "cast": ["A, B", 'C "D"'],
            "kind": "video",
            "published_at": NOON,
            "moderation_state": "approved",
            "release_year": 1949,
        },
        {
            "item_id": 2,
            "title": "Leer",
            "genres": [],
            "kind": "audio",
            "published_at": NOON,
            "moderation_state": "pending",
        },
    ]
    load(place, ITEMS, items)
    with place.open() as warehouse:
        assert pa.Table.from_batches(warehouse.read_day(ITEMS, DAY)).equals(rows_of(ITEMS, items))


def test_a_day_is_the_utc_date_of_receipt_and_its_rows_are_sorted_by_key(place) -> None:
    midnight = datetime(2026, 1, 31, tzinfo=UTC)
    load(
        place,
        EVENTS,
        [
            event("c", received_at=midnight),
            event("a", received_at=midnight + timedelta(hours=24, microseconds=-1)),
            event("next", received_at=midnight + timedelta(days=1)),
            event("before", received_at=midnight - timedelta(microseconds=1)),
            event("b", received_at=NOON, happened_at=NOON - timedelta(days=3)),
        ],
    )
    assert read(place, EVENTS)["event_id"].to_pylist() == ["a", "b", "c"]


def test_a_range_of_days_is_sorted_by_day_and_then_by_key(place) -> None:
    load(
        place,
        EVENTS,
        [event(f"{9 - number}", received_at=NOON + timedelta(days=number // 2)) for number in range(6)],
    )
    ids = read(place, EVENTS, DAY, DAY + timedelta(days=1))["event_id"].to_pylist()
    assert ids == ["8", "9", "6", "7"]


def test_the_days_of_a_table_are_its_first_and_last(place) -> None:
    load(place, EVENTS, [event("a"), event("b", received_at=NOON + timedelta(days=40))])
    load(place, ANSWERS, [])
    load(place, USERS, [{"user_id": 1, "signup_at": NOON, "is_opted_out": False}])
    with place.open() as warehouse:
        assert warehouse.days(EVENTS) == (DAY, DAY + timedelta(days=40))
        assert warehouse.days(ANSWERS) is None
        assert warehouse.days(USERS) is None


def test_a_day_without_rows_is_one_empty_batch_with_all_columns(place) -> None:
    load(place, EVENTS, [event("a")])
    with place.open() as warehouse:
        batches = list(warehouse.read_day(EVENTS, date(2020, 1, 1)))
    assert [batch.num_rows for batch in batches] == [0]
    assert batches[0].schema.equals(arrow_schema(EVENTS))


def test_two_tables_can_be_read_in_turn(place) -> None:
    load(place, EVENTS, [event("a")])
    load(place, PROTECTED_ATTRIBUTES, [{"user_id": 1, "gender": "female", "age": 30}])
    with place.open() as warehouse:
        events, people = warehouse.read_day(EVENTS, DAY), warehouse.read_day(PROTECTED_ATTRIBUTES, DAY)
        assert next(people).num_rows == next(events).num_rows == 1


def test_a_missing_column_is_left_for_the_check_to_name_and_one_too_many_is_not_read(place) -> None:
    load(place, EVENTS, [event("a")])
    place.run("ALTER TABLE events DROP COLUMN device")
    place.run("ALTER TABLE events ADD COLUMN device_type VARCHAR")
    with place.open() as warehouse:
        assert {"device_type", "event_id"} < set(warehouse.columns(EVENTS))
        rows = pa.Table.from_batches(warehouse.read_day(EVENTS, DAY))
    assert rows.num_rows == 1
    with pytest.raises(DataError, match=r"events lacks the column device$"):
        conform(EVENTS, rows)


@pytest.mark.parametrize("column", ["received_at", "event_id"])
def test_without_its_day_or_its_key_a_table_still_says_what_is_missing(place, column) -> None:
    load(place, EVENTS, [event("a")])
    place.run(f"ALTER TABLE events DROP COLUMN {column}")
    with pytest.raises(DataError, match=f"events lacks the column {column}"):
        conform(EVENTS, read(place, EVENTS, DAY, DAY + timedelta(days=1)))


def test_a_missing_table_is_named(place) -> None:
    load(place, EVENTS, [event("a")])
    with place.open() as warehouse:
        assert warehouse.columns(ITEMS) == ()
        with pytest.raises(DataError, match="has no table items"):
            warehouse.read_day(ITEMS, DAY)
        with pytest.raises(DataError, match="has no table items"):
            warehouse.days(ITEMS)


def test_numbers_of_another_width_and_clocks_without_a_zone_are_read_as_declared(place) -> None:
    load(place, EVENTS, [])
    place.run("DROP TABLE events")
    place.run(
        "CREATE TABLE events (event_id VARCHAR, user_id SMALLINT, item_id DECIMAL(20,0), kind VARCHAR, "
        "received_at TIMESTAMP, watched_share DECIMAL(4,2), position BIGINT)"
    )
    place.run("INSERT INTO events VALUES ('a', 1, 2, 'play', '2026-01-31 23:59:59.5', 0.5, 7)")
    place.run("INSERT INTO events VALUES ('b', 1, 2, 'play', '2026-02-01 00:00:00', 0.5, 7)")
    row = read(place, EVENTS).to_pylist()
    assert row == [
        {
            "event_id": "a",
            "user_id": 1,
            "item_id": 2,
            "kind": "play",
            "received_at": datetime(2026, 1, 31, 23, 59, 59, 500_000, tzinfo=UTC),
            "watched_share": 0.5,
            "position": 7,
        }
    ]


def test_a_column_of_a_wrong_type_is_named(place) -> None:
    load(place, EVENTS, [event("a")])
    place.run("ALTER TABLE events DROP COLUMN user_id")
    place.run("ALTER TABLE events ADD COLUMN user_id VARCHAR")
    with pytest.raises(
        DataError, match=r"events\.user_id is of type .*string in the warehouse where int64 is declared"
    ):
        read(place, EVENTS)


def test_replacing_leaves_nothing_of_what_was_there(place) -> None:
    load(place, EVENTS, [event("old"), event("older")])
    load(place, EVENTS, [event("new")])
    assert read(place, EVENTS)["event_id"].to_pylist() == ["new"]


def test_a_key_that_is_there_twice_changes_nothing(place) -> None:
    load(place, EVENTS, [event("old")])
    with pytest.raises(DataError, match="events: event_id twice is there more than once; nothing was loaded"):
        load(place, EVENTS, [event("twice"), event("twice", item_id=3)])
    assert read(place, EVENTS)["event_id"].to_pylist() == ["old"]


def test_rows_that_fail_on_the_way_change_no_table(place) -> None:
    load(place, EVENTS, [event("old")])

    def failing():
        yield from rows_of(USERS, [{"user_id": 1, "signup_at": NOON, "is_opted_out": False}]).to_batches()
        raise DataError("the second file is torn")

    with place.open() as warehouse, pytest.raises(DataError, match=r"^the second file is torn$"):
        warehouse.replace_all({EVENTS: rows_of(EVENTS, [event("new")]).to_batches(), USERS: failing()})
    assert read(place, EVENTS)["event_id"].to_pylist() == ["old"]


def take_up(place, segment, answers=(), events=()):
    with place.open() as warehouse:
        rows = rows_of(ANSWERS, answers), rows_of(EVENTS, events), rows_of(PREFERENCES, ())
        return warehouse.take_up(segment, *rows)


def joined(place):
    return {
        row["event_id"]: (row["run_id"], row["slot"], row["propensity"])
        for row in read(place, EVENTS, DAY - timedelta(days=9), DAY + timedelta(days=9)).to_pylist()
    }


def test_events_take_run_slot_and_propensity_from_the_answer_of_their_request(place) -> None:
    answers = answered("r", slots=[(0, 2, 0.5), (1, 3, 0.25)])
    events = [
        event("first", request_id="r"),
        event("second", request_id="r", item_id=3),
        event("not shown", request_id="r", item_id=4),
        event("of another user", request_id="r", user_id=9),
        event("of no request"),
    ]
    assert take_up(place, "s1", answers, events) == TakenUp(2, 5, 0)
    nothing = (None, None, None)
    assert joined(place) == {
        "first": ("run", 0, 0.5),
        "second": ("run", 1, 0.25),
        "not shown": nothing,
        "of another user": nothing,
        "of no request": nothing,
    }
    assert read(place, ANSWERS).equals(rows_of(ANSWERS, answers))


def test_what_an_event_says_of_its_own_propensity_is_not_believed(place) -> None:
    take_up(place, "s1", answered("r"), [event("a", request_id="r", slot=9, propensity=1.0, run_id="theirs")])
    assert joined(place) == {"a": ("run", 0, 0.5)}


@pytest.mark.parametrize("is_answer_first", [True, False])
def test_an_answer_and_its_event_meet_whichever_is_taken_up_first(place, is_answer_first) -> None:
    parts = [{"answers": answered("r")}, {"events": [event("a", request_id="r")]}]
    for number, part in enumerate(parts if is_answer_first else parts[::-1]):
        take_up(place, f"s{number}", **part)
    assert joined(place) == {"a": ("run", 0, 0.5)}


def test_a_segment_is_taken_up_once(place) -> None:
    arguments = ("s1", answered("r"), [event("a", request_id="r")])
    assert take_up(place, *arguments) == TakenUp(1, 1, 0)
    assert take_up(place, *arguments) is None
    assert read(place, EVENTS).num_rows == read(place, ANSWERS).num_rows == 1


def test_an_event_that_was_sent_again_is_one_event(place) -> None:
    load(place, EVENTS, [event("loaded")])
    again = [event("twice"), event("twice", received_at=NOON + timedelta(seconds=1)), event("loaded")]
    assert take_up(place, "s1", events=again) == TakenUp(0, 1, 2)
    assert take_up(place, "s2", answered("r") + answered("r"), [event("twice")]) == TakenUp(1, 0, 1)
    assert read(place, EVENTS)["event_id"].to_pylist() == ["loaded", "twice"]


def test_a_title_that_an_answer_holds_twice_does_not_double_its_events(place) -> None:
    take_up(place, "s1", answered("r", slots=[(4, 2, 0.1), (1, 2, 0.3)]), [event("a", request_id="r")])
    assert joined(place) == {"a": ("run", 1, pytest.approx(0.3))}


def test_a_table_that_lacks_a_declared_column_takes_nothing_up(place) -> None:
    load(place, EVENTS, [event("a")])
    place.run("ALTER TABLE events DROP COLUMN device")
    with pytest.raises(DataError, match=r"events in the warehouse .* lacks device"):
        take_up(place, "s1", events=[event("b")])
    place.run("ALTER TABLE events ADD COLUMN device VARCHAR")
    assert take_up(place, "s1", events=[event("b")]) == TakenUp(0, 1, 0)


def test_what_users_said_is_kept_once_and_outlives_a_load_of_everything_else(place) -> None:
    rows = [
        {"user_id": 1, "said_at": NOON, "is_opted_out": True, "maturity_limit": 12},
        {"user_id": 1, "said_at": NOON + timedelta(seconds=1), "onboarding_genres": ["Drama", "Crime"], "city": "Ulm"},
    ]
    said = rows_of(PREFERENCES, [*rows, rows[0]])
    nothing = rows_of(ANSWERS, ()), rows_of(EVENTS, ())
    with place.open() as warehouse:
        assert warehouse.columns(PREFERENCES) == ()
        assert warehouse.take_up("s0", *nothing, said.slice(0, 0)) == TakenUp(0, 0, 0, 0)
        assert warehouse.columns(PREFERENCES) == ()
        assert warehouse.take_up("s1", *nothing, said) == TakenUp(0, 0, 0, 2)
        assert warehouse.take_up("s1", *nothing, said) is None
        assert warehouse.take_up("s2", *nothing, said) == TakenUp(0, 0, 0, 0)
    load(place, EVENTS, [event("new")])
    assert read(place, PREFERENCES).equals(rows_of(PREFERENCES, rows))
