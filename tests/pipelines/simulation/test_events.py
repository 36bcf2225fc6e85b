from datetime import timedelta

import numpy as np
import polars as pl
import pyarrow as pa
from simulated import SMALL, small_log, small_world

from pipelines.simulation.configuration import WorldConfiguration
from pipelines.simulation.events import event_days
from pipelines.simulation.world import make_world


def plays() -> pl.DataFrame:
    return small_log().filter(pl.col("kind") == "play")


def test_the_same_configuration_gives_the_same_log_and_another_seed_another() -> None:
    def log(seed: int) -> pa.Table:
        return pa.Table.from_batches(event_days(make_world(WorldConfiguration(60, 120, 4, 1.0, seed))))

    assert log(1).equals(log(1))
    assert not log(1).equals(log(2))


def test_event_ids_are_unique() -> None:
    assert small_log()["event_id"].n_unique() == small_log().height


def test_every_day_has_plays_new_users_and_new_titles() -> None:
    assert plays()["day"].n_unique() == SMALL.day_count
    assert set(range(SMALL.day_count)) <= set(small_world().profiles.signup_days.tolist())
    assert set(range(SMALL.day_count)) <= set(small_world().titles.published_days.tolist())


def test_nothing_happens_before_a_user_signed_up() -> None:
    signup = small_world().profiles.signup_days
    log = small_log()
    assert (log["day"].to_numpy() >= signup[log["user_id"].to_numpy() - 1]).all()


def test_no_title_is_shown_or_played_while_it_is_not_in_the_catalogue() -> None:
    titles, log = small_world().titles, small_log()
    items, day = log["item_id"].to_numpy() - 1, log["day"].to_numpy()
    assert (day >= titles.published_days[items]).all()
    assert (day < titles.withdrawn_days[items]).all()
    assert (titles.withdrawn_days < SMALL.day_count).any()


def test_nobody_plays_or_is_shown_what_age_or_country_forbids() -> None:
    titles, profiles, log = small_world().titles, small_world().profiles, small_log()
    items, users = log["item_id"].to_numpy() - 1, log["user_id"].to_numpy() - 1
    limit = np.array([7, 13, 16, 21])[profiles.limits[users]]
    assert (titles.maturities[items] <= limit).all()
    home = titles.home_countries[items]
    assert ((home < 0) | (home == profiles.countries[users])).all()


def test_about_one_event_in_a_hundred_is_late_and_none_is_received_after_the_last_day() -> None:
    log = small_log().filter(pl.col("day") < SMALL.day_count - 7)
    late = (log["received_at"] - log["happened_at"]) > timedelta(minutes=10)
    assert 0.006 < late.mean() < 0.014
    assert ((log["received_at"] - log["happened_at"]) > timedelta(days=1)).any()
    assert small_log()["received_at"].dt.date().max() == SMALL.last_day
    assert (small_log()["received_at"] >= small_log()["happened_at"]).all()


def test_most_episodes_are_played_before_the_one_that_follows() -> None:
    following = small_world().titles.next_episodes
    first = plays().group_by("user_id", "item_id").agg(pl.col("happened_at").min())
    first = first.with_columns(following=pl.Series(following[first["item_id"].to_numpy() - 1] + 1))
    pairs = first.join(first, left_on=("user_id", "following"), right_on=("user_id", "item_id"))
    assert pairs.height > 100
    # Some begin a series in its middle and go back later.
    assert (pairs["happened_at"] <= pairs["happened_at_right"]).mean() > 0.9


def test_watched_shares_are_bimodal_and_only_plays_have_them() -> None:
    assert (
        small_log().filter(pl.col("kind") != "play")["watched_share"].null_count()
        == small_log().height - plays().height
    )
    shares = plays()["watched_share"].to_numpy()
    assert (shares < 0.3).mean() > 0.2
    assert (shares > 0.9).mean() > 0.3
    assert ((shares > 0.5) & (shares < 0.8)).mean() < 0.15


def test_played_titles_are_rarely_played_again() -> None:
    repeats = 1 - plays().select("user_id", "item_id").n_unique() / plays().height
    assert repeats < 0.05
