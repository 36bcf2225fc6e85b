"""A simulated service with real lists: the subjects of an audit, challenger and champion of two nights in a row.

Both are ALS of the default configuration, learned to the day before the last and to the day before that one, and both
read the same histories. What is to be found is what users watched to the end on the last day.
"""

import sys
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "worlds"))
import numpy as np
import polars as pl
import pyarrow as pa
from simulated import histories_of

from feature_defs.audit_policy import AuditPolicy
from feature_defs.interactions import COMPLETE_SHARE
from pipelines.audit.demonstration import learned
from pipelines.audit.groups import groups_of
from pipelines.audit.subjects import Subjects, titles_of
from pipelines.catalogue import Catalogue, as_known, catalogue_from
from pipelines.evaluation.comparison import new_to_each
from pipelines.histories import Histories, Popularity
from pipelines.lists.ranking import rank
from pipelines.models.als import AlsConfiguration
from pipelines.simulation.configuration import WorldConfiguration
from pipelines.simulation.events import event_days
from pipelines.simulation.tables import item_rows, protected_rows, user_rows
from pipelines.simulation.world import make_world


def simulated_subjects(configuration: WorldConfiguration, policy: AuditPolicy, places: int = 200) -> Subjects:
    """Users of the last day who watched something new to the end, with the lists of two nights."""
    world = make_world(configuration)
    log = pl.from_arrow(pa.Table.from_batches(event_days(world)))
    assert isinstance(log, pl.DataFrame)
    plays = log.filter(pl.col("kind") == "play").with_columns(received=pl.col("received_at").dt.date())
    day = configuration.last_day
    known_until = day - timedelta(days=1)
    before = histories_of(plays.filter(pl.col("received") <= known_until))
    truth = new_to_each(histories_of(plays.filter(pl.col("received") == day)), before, COMPLETE_SHARE)
    known = before.of(truth.user_ids)
    catalogue = as_known(catalogue_from(pa.Table.from_batches([item_rows(world)]), day), known_until, day)
    items, counts = np.unique(before.item_ids, return_counts=True)
    popularity = Popularity(items, counts, counts)
    rankings = [
        _lists(histories_of(plays.filter(pl.col("received") <= until)), known, popularity, catalogue, places)
        for until in (known_until, known_until - timedelta(days=1))
    ]
    users, protected = (pa.Table.from_batches([rows(world)]) for rows in (user_rows, protected_rows))
    return Subjects(
        user_ids=truth.user_ids,
        rankings=rankings[0],
        champion_rankings=rankings[1],
        truth=truth,
        histories=known,
        groups=groups_of(policy, truth.user_ids, known, catalogue, users, protected, known_until),
        titles=titles_of(catalogue, popularity, {}, new_title_days=policy.new_title_days),
    )


def _lists(past: Histories, known: Histories, popularity: Popularity, catalogue: Catalogue, places: int) -> np.ndarray:
    model = learned(past, AlsConfiguration())
    ranked = rank(model, model.encode(known), known, popularity, catalogue.eligible, places)
    return ranked.item_ids
