import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from feature_defs.events import EVENTS
from feature_defs.items import ITEMS
from feature_defs.users import PROTECTED_ATTRIBUTES, USERS
from pipelines.checks import breaches
from pipelines.errors import UsageError
from pipelines.simulation.configuration import WorldConfiguration
from pipelines.simulation.tables import item_rows, protected_rows, simulated_tables, user_rows
from pipelines.simulation.world import make_world
from pipelines.warehouse.admission import admit

LARGE = WorldConfiguration(user_count=20_000, title_count=2000, day_count=30)


def test_all_rows_are_admitted_to_the_warehouse_and_break_no_rule() -> None:
    tables = simulated_tables(WorldConfiguration(100, 200, 5, 1.0))
    assert set(tables) == {EVENTS, ITEMS, USERS, PROTECTED_ATTRIBUTES}
    for table, batches in tables.items():
        rows = pa.Table.from_batches(admit(table, batches))
        assert rows.num_rows > 0
        assert breaches(table, rows) == []


def test_ids_start_at_one_and_fill_shards_evenly() -> None:
    world = make_world(LARGE)
    users, items = user_rows(world)["user_id"].to_numpy(), item_rows(world)["item_id"].to_numpy()
    assert (users == np.arange(1, 20_001)).all()
    assert (items == np.arange(1, 2001)).all()
    heavy = np.bincount(users % 8, world.profiles.activities)
    assert heavy.max() < 1.15 * heavy.min()


def test_users_are_as_described() -> None:
    world = make_world(LARGE)
    users = pl.from_arrow(user_rows(world))
    assert 0.015 < users["is_opted_out"].mean() < 0.025
    under_age = users.filter(pl.col("age_band") == "under_18")
    assert under_age["maturity_limit"].null_count() == 0
    assert users.filter(pl.col("age_band") != "under_18")["maturity_limit"].drop_nulls().is_empty()
    people = pl.from_arrow(protected_rows(world))
    assert (people["age"].to_numpy()[(users["age_band"] == "under_18").to_numpy()] < 18).all()
    assert "gender" not in users.columns


def test_gender_has_a_mild_bearing_on_taste() -> None:
    profiles = make_world(LARGE).profiles
    shares = [
        np.bincount(profiles.archetypes[profiles.genders == gender, 2], minlength=20)
        / (profiles.genders == gender).sum()
        for gender in (0, 1)
    ]
    assert 0.05 < np.abs(shares[0] - shares[1]).sum() / 2 < 0.4


def test_titles_differ_in_name_and_share_the_words_of_their_theme() -> None:
    world = make_world(LARGE)
    items = pl.from_arrow(item_rows(world))
    assert items["title"].n_unique() == items.height
    words = [frozenset(synopsis.lower().replace(".", "").replace(",", "").split()) for synopsis in items["synopsis"]]
    themes, generator = world.titles.themes, np.random.default_rng(1)
    alike, apart = [], []
    for one, other in generator.integers(0, len(words), (20_000, 2)).tolist():
        overlap = len(words[one] & words[other]) / len(words[one] | words[other])
        (alike if themes[one] == themes[other] else apart).append(overlap)
    assert np.mean(alike) > 2 * np.mean(apart)


def test_episodes_link_up_within_their_series() -> None:
    titles = make_world(LARGE).titles
    first = np.flatnonzero(titles.next_episodes >= 0)
    following = titles.next_episodes[first]
    assert (titles.series[first] == titles.series[following]).all()
    assert (titles.previous_episodes[following] == first).all()
    later = titles.seasons[following] * 100 + titles.episodes[following]
    assert (later > titles.seasons[first] * 100 + titles.episodes[first]).all()
    assert 0.25 < (titles.series >= 0).mean() < 0.4


@pytest.mark.parametrize(
    "values", [{"user_count": 1}, {"title_count": 10**9}, {"day_count": 0}, {"seed": -1}, {"mean_sessions": 0.0}]
)
def test_absurd_sizes_are_refused_in_one_sentence(values: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=r"^a simulated [^.]*"):
        WorldConfiguration(**values)
