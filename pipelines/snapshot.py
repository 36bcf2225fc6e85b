"""What serving needs beside lists: titles, neighbours, cohorts, what trends, what is new, and the rules.

Files of one digest, read by `pipelines.serving.snapshots`; what is in which is said in `pipelines.snapshot_files`.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import date, datetime, timedelta

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_defs.recommendations import LIST_LENGTH, NO_REASON, SOURCES
from pipelines.days import end_of
from pipelines.exploration import Outcomes, explorable, with_weights
from pipelines.histories import Histories, Popularity
from pipelines.lists.candidates import Retrieval
from pipelines.lists.codec import pack
from pipelines.lists.cohorts import Cohorts, cohort_lists
from pipelines.lists.funnel_configuration import FunnelConfiguration
from pipelines.lists.trending import pack_trending
from pipelines.models.item_item import content_neighbours
from pipelines.serving.rules.limits import Rules
from pipelines.serving.title import Title
from pipelines.snapshot_files import (
    COHORTS,
    EXPLORABLE,
    FRESH,
    NEIGHBOURS,
    RULES,
    TITLES,
    TRENDING,
    CohortColumns,
    ExplorableColumns,
    FreshColumns,
    NeighbourColumns,
    decoded,
    encoded,
)
from pipelines.text_encoder import item_texts, text_digest

_NEIGHBOURS = 20
_F32 = np.dtype("<f4")


def snapshot_files(
    items: pa.Table,
    retrieval: Retrieval,
    cohorts: Cohorts,
    users: pa.Table,
    popularity: Popularity,
    outcomes: Outcomes,
    model_set: str,
    day: date,
    configuration: FunnelConfiguration,
) -> dict[str, bytes]:
    """The files of a snapshot, by name.

    Args:
        items: rows of ITEMS of the day.
        retrieval: of the champion, for the catalogue of the day.
        cohorts: of the champion.
        users: rows of USERS of the day.
        popularity: of all titles, through the day.
        outcomes: of the slots that titles were shown in, through the day.
        model_set: digest of the champion.
        day: the day.
        configuration: how lists are made.
    """
    catalogue = retrieval.catalogue
    rules = replace(Rules(), genre_limit=configuration.diversity.genre_limit, page=configuration.diversity.page)
    described = {
        **asdict(rules),
        "day": str(day),
        "model_set": model_set,
        "generated_at": end_of(day).isoformat(),
        "mmr_lambda": configuration.diversity.mmr_lambda,
        "new_until": str(day + timedelta(days=configuration.candidates.new_days)),
        "sources": list(SOURCES),
    }
    items = items.sort_by("item_id")
    fresh = items.filter(pa.array(is_fresh(items, end_of(day), rules)))
    at = catalogue.positions(fresh.column("item_id").to_numpy())
    return {
        TITLES: encoded(titles_of(items)),
        NEIGHBOURS: encoded(_neighbours(retrieval)),
        COHORTS: encoded(_cohort_lists(cohorts, users, retrieval, day)),
        TRENDING: pack_trending(popularity, catalogue.eligible, end_of(day)),
        EXPLORABLE: encoded(explorable(catalogue, popularity, outcomes)),
        FRESH: encoded(fresh_columns(fresh, retrieval.tower_items[at])),
        RULES: json.dumps(described, sort_keys=True, indent=1).encode(),
    }


def titles_of(items: pa.Table) -> list[Title]:
    """Rows of ITEMS as the endpoint knows them, in their order."""
    names = [name if name != "name" else "title" for name in Title.__struct_fields__]
    columns = {name: items.column(name).to_pylist() for name in names}
    columns["genres"] = [genres or () for genres in columns["genres"]]
    columns["maturity"] = [maturity or 0 for maturity in columns["maturity"]]
    return [Title(*row) for row in zip(*(columns[name] for name in names), strict=True)]


def is_fresh(items: pa.Table, now: datetime, rules: Rules) -> NDArray[np.bool_]:
    """Which rows of ITEMS are fresh at a moment or will be in the days after: bool [I]."""
    since = now - timedelta(hours=rules.fresh_hours)
    return np.array([published > since for published in items.column("published_at").to_pylist()], np.bool_)


def fresh_columns(items: pa.Table, vectors: NDArray[np.float32]) -> FreshColumns:
    """What the endpoint needs to score new titles.

    Args:
        items: rows of ITEMS, F.
        vectors: float32 [F, W], what the towers make of them.
    """
    return FreshColumns(
        item_ids=items.column("item_id").to_pylist(),
        published_at=items.column("published_at").to_pylist(),
        texts=[text_digest(text) for text in item_texts(items)],
        width=vectors.shape[1],
        vectors=np.ascontiguousarray(vectors, _F32).tobytes(),
    )


def known_vectors(files: Mapping[str, bytes]) -> dict[tuple[int, str], NDArray[np.float32]]:
    """The vectors that a snapshot holds of new titles, by title and digest of its text."""
    fresh = decoded(files, FRESH, FreshColumns)
    vectors = np.frombuffer(fresh.vectors, _F32).reshape(len(fresh.item_ids), fresh.width)
    return dict(zip(zip(fresh.item_ids, fresh.texts, strict=True), vectors, strict=True))


def rules_of(files: Mapping[str, bytes]) -> Rules:
    """What answers from a snapshot keep to."""
    return msgspec.json.decode(files[RULES], type=Rules)


def refreshed(
    files: Mapping[str, bytes], titles: bytes, fresh: pa.Table, vectors: NDArray[np.float32]
) -> dict[str, bytes]:
    """A snapshot with the catalogue as it is now; what follows from what people did stays as the night found it.

    New titles become explorable, and the weights are estimated anew.

    Args:
        files: of the snapshot.
        titles: `titles_of` rows of ITEMS as they are now, encoded.
        fresh: those of them that are fresh or will be, F.
        vectors: float32 [F, W], of those, by the towers that made the lists.
    """
    known = decoded(files, EXPLORABLE, ExplorableColumns)
    new = np.setdiff1d(fresh.column("item_id").to_numpy(), np.array(known.item_ids, np.int64))
    item_ids = np.concatenate([np.array(known.item_ids, np.int64), new])
    impressions = np.concatenate([np.array(known.impressions, np.int64), np.zeros(len(new), np.int64)])
    successes = np.concatenate([np.array(known.successes, np.int64), np.zeros(len(new), np.int64)])
    order = np.argsort(item_ids)
    return {
        **files,
        TITLES: titles,
        EXPLORABLE: encoded(with_weights(item_ids[order], impressions[order], successes[order])),
        FRESH: encoded(fresh_columns(fresh, vectors)),
    }


def _neighbours(retrieval: Retrieval) -> NeighbourColumns:
    """The nearest titles of each: by who watched them, and where that says too little by what their texts say."""
    catalogue = retrieval.catalogue
    by_text = content_neighbours(retrieval.text_items, _NEIGHBOURS)
    both = np.concatenate([retrieval.neighbours.positions[:, :_NEIGHBOURS], by_text.positions], 1).astype(np.int64)
    is_open = (both >= 0) & catalogue.may_be_shown[np.maximum(both, 0)]
    is_open &= ~_is_repeated(both)
    is_open &= np.cumsum(is_open, axis=1) <= _NEIGHBOURS
    near = [tuple(catalogue.item_ids[row[is_row]].tolist()) for row, is_row in zip(both, is_open, strict=True)]
    return NeighbourColumns(catalogue.item_ids.tolist(), near)


def _is_repeated(positions: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where a row holds a title that it held before."""
    order = np.argsort(positions, axis=1, kind="stable")
    ordered = np.take_along_axis(positions, order, 1)
    repeated = np.zeros(positions.shape, np.bool_)
    repeated[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    out = np.zeros(positions.shape, np.bool_)
    np.put_along_axis(out, order, repeated, 1)
    return out


def _cohort_lists(cohorts: Cohorts, users: pa.Table, retrieval: Retrieval, day: date) -> CohortColumns:
    """A list for each cohort that there is a user of, and for the wider ones: who signs up may not say all three."""
    columns = [users.column(name).to_pylist() for name in ("age_band", "city", "onboarding_genres")]
    seen = {(age_band, city, genres[0] if genres else None) for age_band, city, genres in zip(*columns, strict=True)}
    wider = {
        (age_band if said & 1 else None, city if said & 2 else None, genre if said & 4 else None)
        for age_band, city, genre in seen
        for said in range(8)
    }
    keys = sorted(wider, key=lambda key: tuple("" if part is None else str(part) for part in key))
    members = pa.table(
        {
            "age_band": pa.array([age_band for age_band, _, _ in keys], pa.string()),
            "city": pa.array([city for _, city, _ in keys], pa.string()),
            "onboarding_genres": pa.array([[genre] if genre else [] for _, _, genre in keys], pa.list_(pa.string())),
        }
    )
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
    age_bands, cities, genres = ([key[part] for key in keys] for part in range(3))
    return CohortColumns(age_bands, cities, genres, packed)
