"""What may be shown, and what titles are called, as known on a day."""

from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_defs.items import ITEMS
from pipelines.days import end_of
from pipelines.lake import Lake


@dataclass(frozen=True)
class Titles:
    """The catalogue of a day: `eligible` int64 ascending may be shown; genres and names are by item id."""

    eligible: NDArray[np.int64]
    genres: dict[int, frozenset[str]]
    names: dict[int, str]


def read_titles(lake: Lake, day: date) -> Titles:
    """The catalogue as known on a day."""
    rows = lake.read(ITEMS, day, day)
    eligible = rows.filter(may_be_shown(rows, end_of(day))).column("item_id").to_numpy()
    ids = rows.column("item_id").to_pylist()
    genres = rows.column("genres").to_pylist()
    return Titles(
        np.sort(eligible),
        {item: frozenset(names or ()) for item, names in zip(ids, genres, strict=True)},
        dict(zip(ids, rows.column("title").to_pylist(), strict=True)),
    )


def may_be_shown(items: pa.Table, moment: datetime) -> pa.ChunkedArray:
    """Which titles are published, approved, not withdrawn and inside their licence window at a moment: bool [I]."""
    now = pa.scalar(moment, pa.timestamp("us", tz="UTC"))

    def not_yet(column: str) -> pa.ChunkedArray:
        return pc.fill_null(pc.greater(items.column(column), now), False)

    def over(column: str) -> pa.ChunkedArray:
        return pc.fill_null(pc.less_equal(items.column(column), now), False)

    hidden = pc.or_(pc.or_(not_yet("published_at"), not_yet("licence_from")), over("withdrawn_at"))
    hidden = pc.or_(hidden, over("licence_until"))
    return pc.and_not(pc.equal(items.column("moderation_state"), "approved"), hidden)
