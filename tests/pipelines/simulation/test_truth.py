from functools import cache

import numpy as np
import polars as pl
from simulated import SMALL, histories_of, known_on_last_day, small_log, small_world

from pipelines.evaluation import metrics
from pipelines.simulation.state import State
from pipelines.simulation.truth import expected_watch, oracle_ranking, state_before, would_watch


@cache
def last_state() -> State:
    return state_before(small_world(), SMALL.last_day)


def eligible() -> np.ndarray:
    return np.flatnonzero(small_world().titles.may_be_shown(SMALL.day_count - 1)) + 1


def lists() -> dict[str, np.ndarray]:
    past, _ = known_on_last_day()
    plays = histories_of(small_log().filter(pl.col("kind") == "play"))
    popular = np.bincount(plays.item_ids, minlength=SMALL.title_count + 1)[eligible()]
    scores = {
        "most_popular": np.tile(popular.astype(float), (len(past.user_ids), 1)),
        "random": np.random.default_rng(5).random((len(past.user_ids), len(eligible()))),
    }
    found = {"oracle": oracle_ranking(small_world(), last_state(), SMALL.last_day, past, eligible(), 20)}
    at = np.searchsorted(eligible(), past.item_ids).clip(max=len(eligible()) - 1)
    is_there = eligible()[at] == past.item_ids
    for name, values in scores.items():
        values[past.owners()[is_there], at[is_there]] = -1
        found[name] = eligible()[np.argsort(-values, 1)[:, :20]]
    return found


def test_the_oracle_finds_what_is_watched_far_better_than_popularity_and_chance() -> None:
    _, truth = known_on_last_day()
    quality = {
        name: metrics.ndcg_at(metrics.hits(one, truth), np.diff(truth.offsets), 20).mean()
        for name, one in lists().items()
    }
    assert quality["oracle"] > 2.5 * quality["most_popular"]
    assert quality["most_popular"] > 1.5 * quality["random"]


def test_the_oracle_lists_only_eligible_titles_that_are_new_to_the_user() -> None:
    past, _ = known_on_last_day()
    chosen = eligible()[::3]
    ranking = oracle_ranking(small_world(), last_state(), SMALL.last_day, past, chosen, 200)
    assert np.isin(ranking[ranking >= 0], chosen).all()
    assert not metrics.hits(ranking, past).any()
    assert ranking.shape == (len(past.user_ids), 200)
    assert (ranking == -1).any()


def test_in_closed_loop_the_oracle_beats_popularity_and_popularity_chance() -> None:
    past, _ = known_on_last_day()
    watched = {
        name: np.nansum(would_watch(small_world(), last_state(), SMALL.last_day, past.user_ids, one, seed=1))
        for name, one in lists().items()
    }
    assert watched["oracle"] > 1.5 * watched["most_popular"]
    assert watched["most_popular"] > 1.5 * watched["random"]


def test_a_title_is_watched_more_in_the_first_place_than_in_the_last() -> None:
    past, _ = known_on_last_day()
    ranking = lists()["most_popular"]
    shuffled = np.random.default_rng(1).permuted(ranking, axis=1)
    shares = would_watch(small_world(), last_state(), SMALL.last_day, past.user_ids, shuffled, seed=2)
    played = ~np.isnan(shares)
    assert played[:, :3].mean() > 1.5 * played[:, -3:].mean()


def test_nothing_is_watched_that_may_not_be_shown_or_was_played_before() -> None:
    past, _ = known_on_last_day()
    gone = np.flatnonzero(~small_world().titles.may_be_shown(SMALL.day_count - 1)) + 1
    hopeless = np.tile(np.append(gone, -1), (len(past.user_ids), 1))
    shares = would_watch(small_world(), last_state(), SMALL.last_day, past.user_ids, hopeless, seed=2)
    assert np.isnan(shares).all()
    newest = past.item_ids[past.offsets[1:] - 1][np.diff(past.offsets) > 0]
    users = past.user_ids[np.diff(past.offsets) > 0]
    again = would_watch(small_world(), last_state(), SMALL.last_day, users, newest[:, None], seed=2)
    assert np.isnan(again).all()


def test_as_much_is_watched_on_the_day_as_is_expected() -> None:
    users = np.arange(1, SMALL.user_count + 1)
    expected = expected_watch(small_world(), last_state(), SMALL.last_day, users).sum()
    finished = (pl.col("day") == SMALL.day_count - 1) & (pl.col("watched_share") >= 0.8)
    found = small_log().filter(finished).height
    assert 0.75 < expected / found < 1.3
