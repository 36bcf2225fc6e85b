"""What the ranker learns from: what was shown or played on a day, and candidates that were neither.

Impressions say what a user makes of what they are shown; but a list is chosen from candidates most of which would never
have been shown. Some of these are added for each user who was there on the day, as titles that were not watched on it:
that much is known of them (their other heads are masked). Only titles new to the user are examples: no other is
recommended.

Shapes: N examples, H heads.
"""

from dataclasses import dataclass
from datetime import date

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_defs.interactions import INTERACTIONS, LABELS
from feature_defs.ranking import HEADS
from pipelines.catalogue import Catalogue
from pipelines.histories import Histories
from pipelines.lake import Lake
from pipelines.lists.candidates import Candidates
from pipelines.models.ranker_inputs import Context

# Candidates that are added for a user and a day. Drawn evenly: more of the first than of the rest would teach that to
# stand first is a reason not to be watched.
_ADDED = 60
_COLUMN_OF_HEAD = {"watch": "watch", **{head: f"is_{head}" for head in HEADS[1:]}}


@dataclass(frozen=True)
class Examples:
    """Pairs of users and titles of one day: `owners`, `positions`, `slots` int64 [N]; `labels` float32 [N, H].

    `owners` are places among the users of the histories, `positions` places in the catalogue; a slot of -1 is unknown,
    a label of NaN masked.
    """

    owners: NDArray[np.int64]
    positions: NDArray[np.int64]
    slots: NDArray[np.int64]
    labels: NDArray[np.float32]
    context: Context

    def __len__(self) -> int:
        return len(self.owners)


def read_labelled(lake: Lake, day: date) -> pa.Table:
    """Labels of what was received on a day, beside when, where and on what: `user_id, item_id, hour, slot, device`."""
    labels, interactions = lake.dataset(LABELS), lake.dataset(INTERACTIONS)
    names = ["user_id", "item_id", "hour", "slot", "device", *HEADS]
    if labels is None or interactions is None:
        return pa.table({name: [] for name in names})
    heads = ", ".join(f"CAST(l.{column} AS FLOAT) AS {head}" for head, column in _COLUMN_OF_HEAD.items())
    with duckdb.connect() as database:
        # Times are kept in UTC, and hours are read from their microseconds: no time zone of a session has a say.
        database.register("labels", labels)
        database.register("interactions", interactions)
        return database.sql(
            f"""
            SELECT l.user_id, l.item_id, (epoch_us(l.happened_at) // 3600000000) % 24 AS hour, i.slot, i.device, {heads}
            FROM (SELECT * FROM labels WHERE day = $day) l
            JOIN (SELECT * FROM interactions WHERE day = $day) i USING (user_id, item_id, occasion_id)
            ORDER BY l.user_id, l.item_id, occasion_id
            """,  # noqa: S608  (names are declared)
            params={"day": day},
        ).to_arrow_table()


def examples_of(
    labelled: pa.Table, day: date, histories: Histories, catalogue: Catalogue, found: Candidates, seed: int
) -> Examples:
    """The examples of a day.

    Args:
        labelled: as `read_labelled` gives them.
        day: the day.
        histories: of the users of the day, up to the day before.
        catalogue: titles that it does not hold are left out.
        found: candidates of these users, from models that learned before the day.
        seed: of the choice of candidates.
    """
    users = labelled.column("user_id").to_numpy()
    owners = np.searchsorted(histories.user_ids, users).clip(max=max(len(histories.user_ids) - 1, 0))
    positions = catalogue.positions(labelled.column("item_id").to_numpy())
    known = histories.owners() * len(catalogue) + catalogue.positions(histories.item_ids)
    is_known_user = histories.user_ids[owners] == users if len(histories.user_ids) else np.zeros(len(users), np.bool_)
    pairs = owners * len(catalogue) + positions
    keep = np.flatnonzero((positions >= 0) & is_known_user & ~np.isin(pairs, known))
    labelled, owners, positions, pairs = labelled.take(pa.array(keep)), owners[keep], positions[keep], pairs[keep]

    added_owners, added_positions = _added(found, seed)
    is_new = ~np.isin(added_owners * len(catalogue) + added_positions, pairs)
    added_owners, added_positions = added_owners[is_new], added_positions[is_new]
    # When and on what a title that was not shown would have been seen: as one of the day's that were.
    generator = np.random.default_rng([seed, day.toordinal()])
    hours = pc.fill_null(labelled.column("hour"), 20).to_numpy().astype(np.int64)
    devices = labelled.column("device").to_pylist()
    starts = np.searchsorted(owners, np.arange(len(histories.user_ids)))
    counts = np.searchsorted(owners, np.arange(len(histories.user_ids)), side="right") - starts
    has_any = counts[added_owners] > 0
    added_owners, added_positions = added_owners[has_any], added_positions[has_any]
    like = starts[added_owners] + (generator.random(len(added_owners)) * counts[added_owners]).astype(np.int64)

    heads = np.stack([labelled.column(head).to_numpy().astype(np.float32) for head in HEADS], 1)
    added = np.full((len(added_owners), len(HEADS)), np.nan, np.float32)
    added[:, [HEADS.index("watch"), HEADS.index("complete")]] = 0
    slots = pc.fill_null(labelled.column("slot").cast(pa.int64()), -1).to_numpy()
    return Examples(
        owners=np.concatenate([owners, added_owners]),
        positions=np.concatenate([positions, added_positions]),
        slots=np.concatenate([slots, np.full(len(added_owners), -1)]),
        labels=np.concatenate([heads, added]),
        context=Context(
            np.concatenate([hours, hours[like]]),
            np.full(len(owners) + len(added_owners), day.weekday()),
            [*devices, *(devices[number] for number in like)],
        ),
    )


def _added(found: Candidates, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Some candidates of each user: owners and positions, int64."""
    owners = found.owners()
    order = np.lexsort((np.random.default_rng([seed, 2]).random(len(owners)), owners))
    places = np.arange(len(owners)) - found.offsets[:-1][owners]
    chosen = np.sort(order[places < _ADDED])
    return owners[chosen], found.positions[chosen]
