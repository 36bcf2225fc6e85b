"""A small simulated service and its log, made once for all tests of a process."""

from functools import cache

import numpy as np
import polars as pl
import pyarrow as pa

from pipelines.histories import Histories, histories_from
from pipelines.simulation.configuration import WorldConfiguration
from pipelines.simulation.events import event_days
from pipelines.simulation.world import World, make_world

SMALL = WorldConfiguration(user_count=1200, title_count=400, day_count=14, mean_sessions=1.2, seed=3)


@cache
def small_world() -> World:
    return make_world(SMALL)


@cache
def small_log() -> pl.DataFrame:
    """All events, with the number of the day they happened on."""
    log = pl.from_arrow(pa.Table.from_batches(event_days(small_world())))
    assert isinstance(log, pl.DataFrame)
    return log.with_columns(day=(pl.col("happened_at").dt.date() - SMALL.first_day).dt.total_days())


def histories_of(plays: pl.DataFrame) -> Histories:
    rows = plays.group_by("user_id", "item_id").agg(pl.col("watched_share").max(), pl.col("happened_at").max())
    return histories_from(
        rows.sort("user_id", "happened_at", "item_id").select("user_id", "item_id", "watched_share").to_arrow()
    )


def known_on_last_day() -> tuple[Histories, Histories]:
    """Histories of the days of receipt before the last, and what was finished on the last and is new to the user."""
    plays = small_log().filter(pl.col("kind") == "play").with_columns(received=pl.col("received_at").dt.date())
    before = histories_of(plays.filter(pl.col("received") < SMALL.last_day))
    finished = (pl.col("received") == SMALL.last_day) & (pl.col("watched_share") >= 0.8)
    later = histories_of(plays.filter(finished))
    past = before.of(later.user_ids)
    seen = np.isin(later.owners() << 32 | later.item_ids, past.owners() << 32 | past.item_ids)
    truth = later.where(~seen)
    truth = truth.of(truth.user_ids[np.diff(truth.offsets) > 0])
    return before.of(truth.user_ids), truth
