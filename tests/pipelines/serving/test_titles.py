"""What may be shown, to the moment, whichever way time goes."""

import random
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from planted_snapshot import NOW, title

from pipelines.serving.rules.availability import why_hidden
from pipelines.serving.titles import Titles


def moment(rng: random.Random) -> object:
    return NOW + timedelta(minutes=rng.randint(-5, 5)) if rng.random() < 0.5 else None


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), minutes=st.lists(st.integers(-6, 6), max_size=8))
def test_the_view_of_any_moment_is_what_the_rule_says_of_each_title(seed: int, minutes: list[int]) -> None:
    rng = random.Random(seed)
    one_by_one = [
        title(
            item,
            published_at=moment(rng) or NOW - timedelta(days=1),
            withdrawn_at=moment(rng),
            licence_from=moment(rng),
            licence_until=moment(rng),
        )
        for item in range(1, 9)
    ]
    titles = Titles(one_by_one, 19)
    for minute in minutes:
        now = NOW + timedelta(minutes=minute)
        view = titles.showable(now)
        assert {one.item_id for one in one_by_one if why_hidden(one, now, 19) is None} == set(view.entries)
        assert {one.item_id: why for one in one_by_one if (why := why_hidden(one, now, 19))} == view.hidden


def test_between_two_changes_the_view_is_the_same_object() -> None:
    titles = Titles([title(1, licence_until=NOW)], 19)
    early = titles.showable(NOW - timedelta(hours=2))
    assert titles.showable(NOW - timedelta(hours=1)) is early
    assert titles.showable(NOW) is not early


def test_codes_tell_genres_creators_and_series_apart_though_their_names_are_alike() -> None:
    entry = Titles([title(1, genres=("x",), creator="x", series_id=5)], 19).showable(NOW).entries[1]
    assert len(set(entry[2:])) == 3
    assert Titles([title(1, genres=(), creator=None)], 19).showable(NOW).entries[1][2:] == (-1, -1, -1)


def test_episodes_follow_each_other_over_seasons() -> None:
    episodes = [(1, 1), (2, 1), (1, 2), (2, 2)]
    titles = Titles(
        [title(10 * season + number, series_id=7, season=season, episode=number) for season, number in episodes], 19
    )
    assert titles.next_episodes == {11: 12, 12: 21, 21: 22}


def test_the_newest_come_first() -> None:
    titles = Titles([title(item, published_at=NOW - timedelta(days=item)) for item in (3, 1, 2)], 19)
    assert titles.newest == (1, 2, 3)
