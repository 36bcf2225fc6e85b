"""What is known of titles and people at the end of a day: read from the lake, in the order in which models want it."""

from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_defs.declarations import FeatureView
from feature_defs.features import ITEM_FEATURES, USER_FEATURES
from feature_defs.items import ITEM_TEXT_VECTORS
from feature_defs.users import USERS
from pipelines.catalogue import Catalogue
from pipelines.histories import Popularity
from pipelines.lake import Lake
from pipelines.sorted_ids import positions_among
from pipelines.text_encoder import vectors_of


def aligned(rows: pa.Table, key: str, ids: NDArray[np.int64]) -> pa.Table:
    """The rows of these ids, in their order; null where there is none."""
    column = rows.column(key).combine_chunks()
    if not column.null_count and len(column):
        known = column.to_numpy()
        if (known[1:] > known[:-1]).all():
            # Found by halving: a hash of all ids would cost more than the few that are looked for.
            found = positions_among(known, ids)
            return rows.take(pa.array(found, mask=found < 0))
    at = pc.index_in(pa.array(ids, pa.int64()), rows.column(key).combine_chunks())
    return rows.take(at)


def read_text_vectors(lake: Lake, catalogue: Catalogue, encoder: str, day: date) -> NDArray[np.float32]:
    """Text vectors of a catalogue: float32 [I, D], zeros for titles without one; of a changed text the newest.

    Args:
        lake: where they are.
        catalogue: of I titles.
        encoder: whose vectors.
        day: the last day on which they were made: that of the run, whatever day the catalogue is looked at as of.
    """
    rows = lake.read(ITEM_TEXT_VECTORS, last_day=day, where=pc.field("encoder") == encoder)
    return vectors_of(rows.sort_by([("day", "ascending"), ("item_id", "ascending")]), catalogue.item_ids, encoder)


def read_users(lake: Lake, day: date) -> pa.Table:
    """Rows of USERS of a day, without those who opted out of personalisation, ascending by user."""
    rows = lake.read(USERS, day, day, columns=USERS.names, where=~pc.field("is_opted_out"))
    return rows.sort_by("user_id").combine_chunks()


def read_user_features(lake: Lake, day: date, user_ids: NDArray[np.int64]) -> pa.Table:
    """Rows of USER_FEATURES as known at the end of a day, for these users in their order."""
    return _features(lake, USER_FEATURES, day, "user_id", user_ids)


def read_item_features(lake: Lake, day: date, catalogue: Catalogue) -> pa.Table:
    """Rows of ITEM_FEATURES as known at the end of a day, for the titles of a catalogue in their order."""
    return _features(lake, ITEM_FEATURES, day, "item_id", catalogue.item_ids)


def plays_of(popularity: Popularity, catalogue: Catalogue) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How often the titles of a catalogue were played, ever and lately: int64 [I] each."""
    counts = np.zeros((2, len(catalogue)), np.int64)
    at = catalogue.positions(popularity.item_ids)
    counts[0, at[at >= 0]] = popularity.play_counts[at >= 0]
    counts[1, at[at >= 0]] = popularity.recent_counts[at >= 0]
    return counts[0], counts[1]


def _features(lake: Lake, view: FeatureView, day: date, key: str, ids: NDArray[np.int64]) -> pa.Table:
    # A row is written for each day on which something of the last 28 days is known: that of the day is the newest.
    rows = lake.read(view.table, day, day, columns=view.table.names)
    return aligned(rows, key, ids)
