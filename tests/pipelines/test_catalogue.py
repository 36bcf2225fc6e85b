"""A catalogue as columns says what its rows say."""

from datetime import UTC, date, datetime

import numpy as np
import small_catalogue as small

from pipelines.catalogue import as_known, catalogue_from


def test_columns_are_by_position_and_codes_index_names() -> None:
    found = small.catalogue(
        3, genres=[["War", "Drama"], None, ["Drama"]], language=["no", None, "en"], creator=[None, "B", "A"]
    )
    assert found.genre_names == ("Drama", "War")
    assert found.main_genres.tolist() == [1, -1, 0]
    assert found.has_genre.tolist() == [[True, True], [False, False], [True, False]]
    assert (found.language_names, found.languages.tolist()) == (("en", "no"), [1, -1, 0])
    assert (found.creator_names, found.creators.tolist()) == (("A", "B"), [-1, 1, 0])
    assert found.positions(np.array([3, 9, 1])).tolist() == [2, -1, 0]


def test_rows_in_any_order_make_the_same_columns() -> None:
    items = small.items(6)
    mixed = items.take([4, 2, 0, 5, 1, 3])
    one, other = catalogue_from(items, small.DAY), catalogue_from(mixed, small.DAY)
    assert one.item_ids.tolist() == other.item_ids.tolist()
    assert one.main_genres.tolist() == other.main_genres.tolist()


def test_an_episode_is_followed_by_the_next_of_its_series_over_seasons_and_never_by_another_series() -> None:
    found = small.catalogue(
        6, series_id=[7, 7, 7, 8, 8, None], season=[1, 2, 1, 1, 1, None], episode=[1, 1, 2, 1, 3, None]
    )
    assert found.next_episodes.tolist() == [2, -1, 1, 4, -1, -1]
    assert found.previous_episodes.tolist() == [-1, 2, 0, -1, 3, -1]
    assert found.series.tolist() == [0, 0, 0, 1, 1, -1]
    alone = small.catalogue(2, series_id=[7, 7], season=[1, 1], episode=[1, 2])
    assert alone.series.tolist() == [0, 0]


def test_as_known_before_what_was_published_later_may_not_be_shown() -> None:
    published = [datetime(2026, 1, day, 12, tzinfo=UTC) for day in (1, 20, 25)]
    then = as_known(small.catalogue(3, published_at=published), date(2026, 1, 19), date(2026, 1, 20))
    assert then.day == date(2026, 1, 19)
    assert then.may_be_shown.tolist() == [True, True, False]
