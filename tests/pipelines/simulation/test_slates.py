import numpy as np
import polars as pl
from simulated import small_log, small_world

from pipelines.simulation.choices import examination
from pipelines.simulation.slates import SLATE_LENGTH, draw_slates, policy_of
from pipelines.simulation.state import first_state


def test_propensities_are_the_frequencies_at_which_titles_come_up_in_each_slot() -> None:
    world, state, count = small_world(), first_state(small_world()), 60_000
    state.seen = np.array([5 * 400 + title for title in range(0, 120, 3)])
    policy = policy_of(world, state, 6)
    slates, propensities = draw_slates(world, state, policy, np.full(count, 5), np.random.default_rng(2))
    assert (slates >= 0).all()
    assert not np.isin(slates, np.arange(0, 120, 3)).any()
    # In any slot, a title counted by the inverse of its propensity comes up as often as it is not among those above.
    for slot in (0, 1, 4, 9):
        for title in np.bincount(slates[:, 0]).argsort()[-8:]:
            open_to = (slates[:, :slot] != title).all(1)
            here = slates[:, slot] == title
            weighted = np.where(here, 1 / propensities[:, slot], 0)
            error = weighted.std() / np.sqrt(count)
            assert abs(weighted.mean() - open_to.mean()) < 5 * error + 1e-3


def test_slots_hold_distinct_titles() -> None:
    shown = small_log().filter(pl.col("kind") == "impression")
    assert shown.select("request_id", "item_id").n_unique() == shown.height
    assert shown.select("request_id", "slot").n_unique() == shown.height
    assert shown["propensity"].is_between(0, 1, closed="right").all()
    assert shown["run_id"].null_count() == shown.height


def test_position_bias_can_be_estimated_from_the_log_by_inverse_propensities() -> None:
    slots = small_log().filter(pl.col("kind") == "impression").sort("request_id", "slot")
    clicks = small_log().filter(pl.col("kind") == "click").select("request_id", "slot", clicked=pl.lit(1.0))
    slots = slots.join(clicks, on=("request_id", "slot"), how="left").with_columns(
        left=(1 - pl.col("propensity").cast(pl.Float64)).shift(1, fill_value=1.0).cum_prod().over("request_id"),
    )
    slots = slots.filter(pl.col("propensity") * pl.col("left") < 0.03)
    rates = slots.group_by("slot").agg(
        rate=(pl.col("clicked").fill_null(0) * pl.col("left")).sum() / pl.col("left").sum()
    )
    rate = rates.sort("slot")["rate"].to_numpy()
    truth = examination(np.arange(SLATE_LENGTH))
    scale = (rate * truth).sum() / (truth**2).sum()
    assert np.abs(rate / scale - truth).max() < 0.12
    assert rate[9] < 0.4 * rate[0]


def test_users_who_opted_out_are_shown_nothing_personal() -> None:
    world, state = small_world(), first_state(small_world())
    user = int(np.flatnonzero(world.profiles.is_opted_out)[0])
    policy = policy_of(world, state, 6)
    before, _ = draw_slates(world, state, policy, np.full(500, user), np.random.default_rng(2))
    state.genre_plays[user] = np.arange(14)
    after, _ = draw_slates(world, state, policy, np.full(500, user), np.random.default_rng(2))
    assert (before == after).all()
