import numpy as np
import polars as pl
from simulated import SMALL, small_log, small_world

from pipelines.simulation import choices
from pipelines.simulation.places import LANGUAGE_SHARES, PROFILES
from pipelines.simulation.state import first_state


def searched() -> pl.DataFrame:
    return small_log().filter((pl.col("kind") == "play") & (pl.col("slot").is_null()))


def test_the_draw_is_exact_where_rejection_is_at_work() -> None:
    world, state = small_world(), first_state(small_world())
    user, mood, device, count = 7, 2, 0, 40_000
    state.seen = np.array([user * len(world.titles) + 3])
    state.fatigue[user, :4] = 2
    weights = choices.group_weights(world, 5)
    users, moods = np.full(count, user), np.full(count, mood)
    drawn = choices.choose(
        world, state, choices.tables_of(5, weights), users, moods, np.full(count, device), np.random.default_rng(1)
    )
    one = np.array([user])
    by_genre = choices.genre_factors(world, state, one)
    everything = np.arange(len(world.titles))[None]
    factors = choices.personal_factors(world, by_genre, one, choices.AUDIO_FACTORS[[mood], [device]], everything)[0]
    factors[3] *= choices.SEEN_FACTOR
    expected = weights[choices.groups_of(world, one, np.array([mood]))[0]] * factors
    expected *= count / expected.sum()
    found = np.bincount(drawn, minlength=len(expected))
    tested = expected >= 5
    chi_square = ((found - expected)[tested] ** 2 / expected[tested]).sum()
    assert abs(chi_square - tested.sum()) < 5 * np.sqrt(2 * tested.sum())
    assert found[expected == 0].sum() == 0


def test_language_comes_first() -> None:
    chosen = searched()
    languages = small_world().titles.languages[chosen["item_id"].to_numpy() - 1]
    spoken = np.array(PROFILES)[small_world().profiles.languages[chosen["user_id"].to_numpy() - 1]]
    is_understood = (languages[:, None] == spoken).any(1)
    by_chance = sum(np.array(LANGUAGE_SHARES)[language] * (language >= 0) for language in spoken.T).mean()
    assert is_understood.mean() > 0.8 > by_chance + 0.2


def test_a_series_in_progress_is_continued_far_above_chance() -> None:
    following = small_world().titles.next_episodes
    ordered = searched().sort("user_id", "happened_at")
    users, items = ordered["user_id"].to_numpy(), ordered["item_id"].to_numpy() - 1
    is_finished = (ordered["watched_share"].to_numpy() >= 0.8)[:-1] & (following[items[:-1]] >= 0)
    same = users[1:] == users[:-1]
    goes_on = (items[1:] == following[items[:-1]])[is_finished & same].mean()
    popularity = np.bincount(items, minlength=len(following)) / len(items)
    by_chance = popularity[following[items[:-1]][is_finished & same]].mean()
    assert goes_on > 0.4
    assert goes_on > 40 * by_chance


def test_recent_plays_of_a_genre_make_it_less_likely() -> None:
    world = small_world()
    users, moods = np.arange(400), np.full(400, 2)
    tables = choices.tables_of(3, choices.group_weights(world, 3))
    shares = []
    for recent in (0.0, 4.0):
        state = first_state(world)
        favourite = world.profiles.affinities[world.profiles.archetypes[:, 2]]
        genre = world.titles.genres[0] * np.ones(400, np.int64)
        assert favourite.shape[0] == SMALL.user_count
        state.fatigue[users, genre] = recent
        drawn = choices.choose(world, state, tables, users, moods, moods * 0, np.random.default_rng(4))
        shares.append((world.titles.genres[drawn] == genre).mean())
    assert shares[1] < 0.5 * shares[0]


def test_tastes_differ_by_mood() -> None:
    archetypes = small_world().profiles.archetypes
    assert 0.3 < (archetypes[:, 0] != archetypes[:, 2]).mean() < 0.8
    kinds = small_world().titles.kinds
    log = searched().filter(pl.col("device") == "phone")
    country = small_world().profiles.utc_offsets[log["user_id"].to_numpy() - 1]
    hour = (log["happened_at"].dt.hour().to_numpy().astype(np.int64) + country) % 24
    audio = kinds[log["item_id"].to_numpy() - 1] == 1
    assert audio[(hour >= 5) & (hour < 10)].mean() > 2 * audio[(hour >= 18) & (hour < 23)].mean()
