"""The layouts of MovieLens in, declared tables out; the lines here are made up."""

import gzip
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_defs.events import EVENTS
from feature_defs.items import ITEMS
from feature_defs.users import PROTECTED_ATTRIBUTES, USERS
from pipelines.errors import DataError, UnavailableError
from pipelines.warehouse.admission import admit
from pipelines.warehouse.movielens import read_movielens, times_from_order

FLAGS = "|".join("1" if place in (5, 8) else "0" for place in range(19))
NONE = "|".join("1" if place == 0 else "0" for place in range(19))


@pytest.fixture
def small(tmp_path):
    """The layout of 100K."""
    (tmp_path / "u.data").write_text("1\t10\t5\t1000000\n1\t11\t1\t1000500\n2\t10\t3\t1090000\n")
    (tmp_path / "u.item").write_bytes(
        f"10|Café, The (1995)|01-Jan-1995||http://x|{FLAGS}\n"
        f"11|Late One (1996) (V)|13-Jan-1970||http://x|{FLAGS}\n"
        f"12|unknown||||{NONE}\n".encode("latin-1")
    )
    (tmp_path / "u.user").write_text("1|24|M|technician|85711\n2|17|F|student|T8H1N\n3|90|F|other|\n")
    return tmp_path


@pytest.fixture
def large(tmp_path):
    """The layout of 1M, with an order and few times."""
    (tmp_path / "users.dat").write_text("1::F::1::10::48067\n2::M::50::16::70072-1234\n")
    (tmp_path / "movies.dat").write_bytes("10::Ombre\x85, L' (1990)::Drama|War\n11::Other::Comedy\n".encode("latin-1"))
    (tmp_path / "movies_extrainfos.dat").write_bytes(
        "10::L'ombre::1990::R::22 Nov 1990::Drama::Ann Director::Bo Writer (book)::Cé One, Di Two::A plot.::N/A\r\n"
        "11::Other::1987::UNRATED::N/A::Comedy::N/A::N/A::N/A::N/A::N/A\r\n".encode()
    )
    with gzip.open(tmp_path / "ratings_ordered.csv.gz", "wt") as file:
        file.write(
            "user_id,movie_id,rating,order_in_user,timestamp_if_known\n1,10,5,0,\n1,11,4,1,1000000\n2,11,2,0,1000060\n"
        )
    return tmp_path


def by_key(tables, table):
    rows = tables[table]
    for batch in admit(table, rows.to_batches()):
        assert batch.num_rows
    return {row[table.key[0]]: row for row in rows.to_pylist()}


def at(seconds):
    return datetime.fromtimestamp(seconds, UTC)


def test_a_rating_becomes_a_play_at_its_own_time(small) -> None:
    events = by_key(read_movielens(small), EVENTS)
    assert {key: round(row["watched_share"], 3) for key, row in events.items()} == {
        "ml-100k:1:10": 1.0,
        "ml-100k:1:11": 0.1,
        "ml-100k:2:10": 0.6,
    }
    first = events["ml-100k:1:10"]
    assert first["happened_at"] == first["received_at"] == at(1_000_000)
    assert first["kind"] == "play"
    assert first["request_id"] is first["device"] is first["propensity"] is None


def test_titles_years_and_genres_are_read_from_latin_1(small) -> None:
    items = by_key(read_movielens(small), ITEMS)
    assert [(row["title"], row["release_year"], row["genres"]) for row in items.values()] == [
        ("Café, The", 1995, ["Comedy", "Drama"]),
        ("Late One (V)", 1996, ["Comedy", "Drama"]),
        ("unknown", None, None),
    ]
    assert {row["duration_seconds"] for row in items.values()} == {None}


def test_a_title_is_published_by_its_release_but_within_the_data_and_before_its_first_rating(small) -> None:
    items = by_key(read_movielens(small), ITEMS)
    first_day = datetime(1970, 1, 12, tzinfo=UTC)
    # Released after the data, before its first rating; released within it, after its first rating; never rated.
    assert [row["published_at"] for row in items.values()] == [at(1_000_000), at(1_000_500), first_day]


def test_age_and_gender_are_kept_apart(small) -> None:
    tables = read_movielens(small)
    users, protected = by_key(tables, USERS), by_key(tables, PROTECTED_ATTRIBUTES)
    assert [(row["age_band"], row["city"], row["country"]) for row in users.values()] == [
        ("18_24", "85711", "US"),
        ("under_18", "T8H1N", None),
        ("55_up", None, None),
    ]
    assert [(row["gender"], row["age"]) for row in protected.values()] == [("male", 24), ("female", 17), ("female", 90)]
    assert [row["signup_at"] for row in users.values()] == [
        at(1_000_000),
        at(1_090_000),
        datetime(1970, 1, 12, tzinfo=UTC),
    ]
    assert not any(row["is_opted_out"] for row in users.values())


def test_the_larger_layout_adds_what_is_known_of_a_film(large) -> None:
    items = by_key(read_movielens(large), ITEMS)
    film, other = items[10], items[11]
    assert (film["title"], film["release_year"], film["genres"]) == ("Ombre\x85, L'", 1990, ["Drama", "War"])
    assert (film["creator"], film["cast"], film["synopsis"], film["maturity"]) == (
        "Ann Director",
        ["Cé One", "Di Two"],
        "A plot.",
        17,
    )
    assert (other["release_year"], other["creator"], other["cast"], other["maturity"]) == (1987, None, None, None)
    assert [row["age_band"] for row in by_key(read_movielens(large), USERS).values()] == ["under_18", "45_54"]


def test_the_larger_layout_may_come_with_all_its_times(large) -> None:
    (large / "ratings.dat").write_text("1::10::5::1000000\n2::11::2::1000060\n")
    (large / "movies_extrainfos.dat").unlink()
    tables = read_movielens(large)
    assert [row["happened_at"] for row in by_key(tables, EVENTS).values()] == [at(1_000_000), at(1_000_060)]
    assert by_key(tables, ITEMS)[10]["creator"] is None


def test_missing_times_are_interpolated_between_known_ones_and_spaced_before_and_after() -> None:
    known = [None, 1000, None, None, 1300, None]
    ratings = pl.DataFrame({"user_id": 1, "order": range(6), "known_seconds": known})
    times = times_from_order(ratings)["happened_at"].dt.epoch("us").to_list()
    assert times == [s * 1_000_000 + order for order, s in enumerate([970, 1000, 1100, 1200, 1300, 1330])]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 500), st.booleans()), min_size=1, max_size=12), min_size=1, max_size=4)
)
def test_made_up_times_keep_every_users_order_and_every_known_second(users) -> None:
    rows = []
    for user, gaps in enumerate(users, start=1):
        seconds = 10**9
        for order, (gap, is_known) in enumerate(gaps):
            seconds += gap
            rows.append((user, order, seconds if is_known else None))
    ratings = pl.DataFrame(
        rows, schema={"user_id": pl.Int64, "order": pl.Int64, "known_seconds": pl.Int64}, orient="row"
    )
    timed = times_from_order(ratings.sample(fraction=1, shuffle=True, seed=1))
    steps = timed.select(pl.col("happened_at").dt.epoch("us").diff().over("user_id")).to_series().drop_nulls()
    assert (steps > 0).all()
    known = timed.drop_nulls("known_seconds")
    assert (known["happened_at"].dt.epoch("s") == known["known_seconds"]).all()


@pytest.mark.parametrize(
    ("file", "line", "sentence"),
    [
        ("u.data", "1\t10\t5", r"u\.data, line 4: 3 fields between '\\t', and there must be 4"),
        ("u.data", "1\t10\t6\t1000000", r"u\.data, line 4: the rating is 6, and must be from 1 to 5"),
        ("u.data", "x\t10\t5\t1000000", r"u\.data, line 4: user id is 'x', and must be an integer"),
        ("u.data", "1\t10\t5\t9", r"u\.data, line 1: user 1 rates item 10 more than once"),
        ("u.user", "4|24|X|other|1", r"u\.user, line 4: the gender is 'X', not M or F"),
        ("u.item", "13|half a line", r"u\.item, line 4: 2 fields between '\|', and there must be 24"),
    ],
)
def test_a_malformed_line_is_named(small, file, line, sentence) -> None:
    with (small / file).open("a", encoding="latin-1") as stream:
        stream.write(line + "\n")
    with pytest.raises(DataError, match=sentence):
        read_movielens(small)


def test_a_time_that_runs_against_the_order_is_named(large) -> None:
    with gzip.open(large / "ratings_ordered.csv.gz", "at") as file:
        file.write("1,12,4,2,999999\n")
    with pytest.raises(DataError, match=r"ratings_ordered\.csv\.gz, line 5: user 1 has a time before"):
        read_movielens(large)


def test_what_is_not_there_is_named(small, tmp_path) -> None:
    with pytest.raises(UnavailableError, match="there is no folder"):
        read_movielens(tmp_path / "nowhere")
    (small / "u.item").unlink()
    with pytest.raises(UnavailableError, match=r"u\.item cannot be read: No such file"):
        read_movielens(small)
    (small / "u.data").unlink()
    with pytest.raises(DataError, match=r"neither u\.data \(MovieLens 100K\) nor users\.dat"):
        read_movielens(small)


def test_a_torn_archive_is_named(large) -> None:
    path = large / "ratings_ordered.csv.gz"
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(UnavailableError, match=r"ratings_ordered\.csv\.gz cannot be read"):
        read_movielens(large)
