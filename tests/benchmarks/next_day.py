"""The last day of a simulated service as protocol A has it: what was known before, and what was newly watched on it.

The service is simulated in memory and nothing is written; plays are those received before the day, by the rules of the
nightly pipeline (each title once, as last played, by its largest share; nobody who opted out), so that models see what
they would see at night. The oracle knows the true expectation of the day (`pipelines.simulation.truth`).
"""

import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "worlds"))
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from plays import Plays
from retrievers import Known, Score
from simulated import histories_of

from feature_defs.interactions import COMPLETE_SHARE
from pipelines.catalogue import as_known, catalogue_from
from pipelines.evaluation.comparison import new_to_each
from pipelines.histories import Histories
from pipelines.simulation.configuration import WorldConfiguration
from pipelines.simulation.events import event_days
from pipelines.simulation.tables import item_rows, user_rows
from pipelines.simulation.truth import expected_watch, state_before
from pipelines.simulation.world import make_world
from pipelines.text_encoder import DEFAULT_ENCODER, embed, vectors_of

_COLUMNS = ["user_id", "item_id", "kind", "happened_at", "received_at", "watched_share"]


@dataclass(frozen=True)
class NextDay:
    """What there was to learn from, and what is to be found.

    `plays`: of all users before the day. `truth`: what users newly watched on the day, U of them; `past`: their
    histories. `known`: titles and people. `oracle`: scores of the titles of the world by what is true of the day.
    """

    plays: Plays
    past: Histories
    truth: Histories
    known: Known
    oracle: Score


def next_day(configuration: WorldConfiguration) -> NextDay:
    """The last day of a world."""
    world, day = make_world(configuration), configuration.last_day
    users = pa.Table.from_batches([user_rows(world)])
    items = pa.Table.from_batches([item_rows(world)]).sort_by("item_id")
    users = users.filter(pc.invert(users.column("is_opted_out")))
    log = pl.from_arrow(pa.Table.from_batches(event_days(world)).select(_COLUMNS))
    log = log.filter((pl.col("kind") == "play") & pl.col("user_id").is_in(users.column("user_id").to_pylist()))
    is_known = pl.col("received_at").dt.date() < day
    before, later = histories_of(log.filter(is_known)), histories_of(log.filter(~is_known))
    truth = new_to_each(later, before, COMPLETE_SHARE)
    catalogue = as_known(catalogue_from(items, day), day - timedelta(days=1), day)
    text = vectors_of(pa.concat_tables(embed(items, DEFAULT_ENCODER)), catalogue.item_ids, DEFAULT_ENCODER)
    state = state_before(world, day)
    return NextDay(
        plays=Plays(np.repeat(before.user_ids, np.diff(before.offsets)), before.item_ids, before.shares),
        past=before.of(truth.user_ids),
        truth=truth,
        known=Known(catalogue, users, text),
        oracle=lambda history: (expected_watch(world, state, day, history.user_ids), catalogue.item_ids),
    )
