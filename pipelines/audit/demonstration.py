"""Somebody to audit, for a demonstration: events of any source, the newest of each user held out, lists by our ALS.

Without Spark, a GPU or a night: a minute from a folder of MovieLens to lists that can be audited.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_defs.audit_policy import AuditPolicy
from feature_defs.declarations import Table
from feature_defs.events import EVENTS
from feature_defs.interactions import COMPLETE_SHARE
from feature_defs.items import ITEMS
from feature_defs.users import PROTECTED_ATTRIBUTES, USERS
from pipelines.audit.groups import groups_of
from pipelines.audit.subjects import Subjects, titles_of
from pipelines.catalogue import catalogue_from
from pipelines.configuration import RunConfiguration
from pipelines.digests import ContentDigest, digest_of
from pipelines.evaluation.comparison import CANDIDATES
from pipelines.histories import Histories, Popularity, histories_from
from pipelines.lists.ranking import rank
from pipelines.models.als import AlsConfiguration, AlsModel
from pipelines.models.als_blocks import ItemSums, lay_out, solve_block
from pipelines.models.als_iterations import ItemTotals, learn_items
from pipelines.runs import Pinned, Run

# Of each user's titles, the newest so many are held out.
_HELD_OUT_SHARE = 0.2
_ALS = AlsConfiguration(factors=32, iterations=8)


@dataclass(frozen=True)
class Demonstration:
    """Whom to audit, with the run that made their lists and the files of the model."""

    subjects: Subjects
    run: Run
    files: Mapping[str, bytes]


def demonstration(tables: Mapping[Table, pa.Table], policy: AuditPolicy) -> Demonstration:
    """Users of these tables, EVENTS, ITEMS, USERS and PROTECTED_ATTRIBUTES, with lists by ALS."""
    played = tables[EVENTS].filter(pc.field("kind") == "play")
    last: date = pc.max(played.column("received_at")).as_py().date()
    watched = _watched(played)
    is_later = watched.positions_from_newest() < _HELD_OUT_SHARE * np.diff(watched.offsets)[watched.owners()]
    known, later = watched.where(~is_later), watched.where(is_later & (watched.shares >= COMPLETE_SHARE))
    chosen = (np.diff(later.offsets) > 0) & (np.diff(known.offsets) > 0)
    user_ids = watched.user_ids[chosen]
    model = learned(known)
    item_ids, counts = np.unique(known.item_ids, return_counts=True)
    popularity = Popularity(item_ids, counts.astype(np.int64), counts.astype(np.int64))
    catalogue = catalogue_from(tables[ITEMS], last)
    histories = known.of(user_ids)
    lists = rank(model, model.encode(histories), histories, popularity, catalogue.eligible, CANDIDATES).item_ids
    origins = tables[ITEMS].filter(pc.is_valid(tables[ITEMS].column("origin_country")))
    return Demonstration(
        Subjects(
            user_ids=user_ids,
            rankings=lists,
            champion_rankings=None,
            truth=later.of(user_ids),
            histories=histories,
            groups=groups_of(policy, user_ids, histories, catalogue, tables[USERS], tables[PROTECTED_ATTRIBUTES], last),
            titles=titles_of(
                catalogue,
                popularity,
                dict(
                    zip(origins["item_id"].to_pylist(), origins["origin_country"].to_pylist(), strict=True),
                ),
                new_title_days=policy.new_title_days,
            ),
        ),
        _run(tables, last),
        model.to_files(),
    )


def learned(histories: Histories, configuration: AlsConfiguration = _ALS) -> AlsModel:
    """ALS of these histories, learned in this process."""
    block = lay_out(histories.user_ids[histories.owners()], histories.item_ids, histories.shares)

    def over(factors: NDArray[np.float32], eigenvalues: NDArray[np.float32]) -> ItemSums:
        alpha, regularization = configuration.alpha, configuration.regularization
        return solve_block(block, factors, eigenvalues, alpha=alpha, regularization=regularization)

    totals = ItemTotals(block.item_counts(), block.item_shares())
    factors = learn_items(totals, over, configuration)
    return AlsModel(block.item_ids, factors, configuration.regularization, configuration.alpha)


def _watched(played: pa.Table) -> Histories:
    """What users played, each title once, in the order last played."""
    rows = played.group_by(["user_id", "item_id"]).aggregate([("watched_share", "max"), ("happened_at", "max")])
    rows = rows.rename_columns(["user_id", "item_id", "watched_share", "happened_at"])
    return histories_from(rows.sort_by([(name, "ascending") for name in ("user_id", "happened_at", "item_id")]))


def _run(tables: Mapping[Table, pa.Table], day: date) -> Run:
    """A run of this name was never opened: it only says what was read."""
    inputs = {table.name: Pinned(0, _digest(table, rows)) for table, rows in tables.items()}
    digest = digest_of({name: pin.digest for name, pin in inputs.items()})
    return Run(f"{day:%Y%m%d}-{digest[:12]}", day, "daily", 1, RunConfiguration(als=_ALS), inputs)


def _digest(table: Table, rows: pa.Table) -> str:
    digest = ContentDigest(rows.schema)
    for batch in rows.sort_by([(name, "ascending") for name in table.key]).to_batches():
        digest.update(batch)
    return digest.hexdigest()
