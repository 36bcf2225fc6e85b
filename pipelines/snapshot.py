"""What serving needs beside lists: titles, neighbours, cohorts, what trends, and the rules, as files of one digest."""

import io
import json
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from feature_defs.recommendations import LIST_LENGTH, NO_REASON, SOURCES
from pipelines.days import end_of
from pipelines.histories import Histories, Popularity
from pipelines.lists.candidates import Retrieval
from pipelines.lists.codec import pack
from pipelines.lists.cohorts import Cohorts, cohort_lists
from pipelines.lists.funnel_configuration import FunnelConfiguration
from pipelines.lists.trending import pack_trending
from pipelines.models.item_item import content_neighbours

_NEIGHBOURS = 20
# What an endpoint must know of a title to filter and to show it.
_TITLE_COLUMNS = (
    "item_id", "title", "genres", "kind", "language", "maturity", "series_id", "season", "episode", "published_at",
    "withdrawn_at", "licence_from", "licence_until", "territories", "moderation_state",
)  # fmt: skip


def snapshot_files(
    items: pa.Table,
    retrieval: Retrieval,
    cohorts: Cohorts,
    users: pa.Table,
    popularity: Popularity,
    model_set: str,
    day: date,
    configuration: FunnelConfiguration,
) -> dict[str, bytes]:
    """The files of a snapshot, by name.

    `titles.parquet`: a row a title. `neighbours.parquet`: `item_id, neighbours` (20 at most, nearest first: those who
    are watched together, then those whose texts are near). `cohorts.parquet`: `age_band, city, genre, list`, a packed
    list for each cohort that there is a user of. `trending.bin`: a packed list. `rules.json`: what a list keeps to.

    Args:
        items: rows of ITEMS of the day.
        retrieval: of the champion, for the catalogue of the day.
        cohorts: of the champion.
        users: rows of USERS of the day.
        popularity: of all titles, through the day.
        model_set: digest of the champion.
        day: the day.
        configuration: how lists are made.
    """
    catalogue = retrieval.catalogue
    rules = {
        "day": str(day),
        "model_set": model_set,
        "generated_at": end_of(day).isoformat(),
        "genre_limit": configuration.diversity.genre_limit,
        "page": configuration.diversity.page,
        "mmr_lambda": configuration.diversity.mmr_lambda,
        "new_until": str(day + timedelta(days=configuration.candidates.new_days)),
        "sources": list(SOURCES),
    }
    return {
        "titles.parquet": _parquet(items.sort_by("item_id").select(list(_TITLE_COLUMNS))),
        "neighbours.parquet": _parquet(_neighbours(retrieval)),
        "cohorts.parquet": _parquet(_cohort_lists(cohorts, users, retrieval, day)),
        "trending.bin": pack_trending(popularity, catalogue.eligible, end_of(day)),
        "rules.json": json.dumps(rules, sort_keys=True, indent=1).encode(),
    }


def _neighbours(retrieval: Retrieval) -> pa.Table:
    """The nearest titles of each: by who watched them, and where that says too little by what their texts say."""
    catalogue = retrieval.catalogue
    by_text = content_neighbours(retrieval.text_items, _NEIGHBOURS)
    both = np.concatenate([retrieval.neighbours.positions[:, :_NEIGHBOURS], by_text.positions], 1).astype(np.int64)
    is_open = (both >= 0) & catalogue.may_be_shown[np.maximum(both, 0)]
    is_open &= ~_is_repeated(both)
    is_open &= np.cumsum(is_open, axis=1) <= _NEIGHBOURS
    offsets = np.concatenate([[0], np.cumsum(is_open.sum(1))])
    return pa.table(
        {
            "item_id": catalogue.item_ids,
            "neighbours": pa.ListArray.from_arrays(
                pa.array(offsets, pa.int32()), pa.array(catalogue.item_ids[both[is_open]])
            ),
        }
    )


def _is_repeated(positions: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where a row holds a title that it held before."""
    order = np.argsort(positions, axis=1, kind="stable")
    ordered = np.take_along_axis(positions, order, 1)
    repeated = np.zeros(positions.shape, np.bool_)
    repeated[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    out = np.zeros(positions.shape, np.bool_)
    np.put_along_axis(out, order, repeated, 1)
    return out


def _cohort_lists(cohorts: Cohorts, users: pa.Table, retrieval: Retrieval, day: date) -> pa.Table:
    seen: dict[tuple[Any, Any, Any], int] = {}
    columns = (users.column(name).to_pylist() for name in ("age_band", "city", "onboarding_genres"))
    for row, (age_band, city, genres) in enumerate(zip(*columns, strict=True)):
        seen.setdefault((age_band, city, genres[0] if genres else None), row)
    keys = sorted(seen, key=lambda key: tuple("" if part is None else str(part) for part in key))
    members = users.take(pa.array([seen[key] for key in keys], pa.int64()))
    nobody = np.arange(len(keys))
    found = cohort_lists(
        cohorts.vectors_of(members),
        retrieval.als_items,
        retrieval.catalogue,
        Histories(nobody, np.zeros(len(keys) + 1, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)),
        None,
        LIST_LENGTH,
    )
    packed = []
    for number in range(len(keys)):
        part = slice(found.offsets[number], found.offsets[number + 1])
        count = part.stop - part.start
        packed.append(
            pack(
                item_ids=retrieval.catalogue.item_ids[found.positions[part]],
                scores=found.scores[part],
                sources=found.sources[part],
                reasons=np.full(count, NO_REASON),
                generated_at=end_of(day),
            )
        )
    names = ("age_band", "city", "genre")
    texts = {name: pa.array([key[at] for key in keys], pa.string()) for at, name in enumerate(names)}
    return pa.table({**texts, "list": pa.array(packed, pa.binary())})


def _parquet(rows: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(rows, out, compression="zstd")
    return out.getvalue()
