"""The funnel: from all titles to a user's list. Retrieve 500, rank them, diversify, keep 200.

Shapes: U users, I titles, C candidates at most, R places of a list.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.blas_threads import one_blas_thread
from pipelines.catalogue import Catalogue
from pipelines.histories import Histories, Popularity
from pipelines.knowledge import aligned, plays_of
from pipelines.largest import largest
from pipelines.lists.candidates import Candidates, Retrieval, candidates, explained, padded
from pipelines.lists.diversity import diversify
from pipelines.lists.funnel_configuration import FunnelConfiguration
from pipelines.models.als import AlsModel
from pipelines.models.item_item import Neighbours
from pipelines.models.model_set import ModelSet
from pipelines.models.nearest import build
from pipelines.models.ranker_inputs import Knowledge
from pipelines.models.ranker_scoring import score
from pipelines.sorted_ids import positions_among

# Users whose candidates are held at once: half a million pairs with their features.
USERS_AT_ONCE = 1024
# When most people watch, for whom a list is made before anyone knows when they will.
_USUAL_HOUR = 20

_Number = TypeVar("_Number", bound=np.number)


@dataclass(frozen=True)
class Recommended:
    """Lists of U users after each stage, by position in the catalogue: int64 [U, R], -1 where a list is shorter.

    `retrieved`: in retrieval order. `ranked`: by the ranker. `final`: after the rules of diversity, with `scores`
    float32 [U, R], `sources` int64 [U, R] and `reasons` int64 [U, R]: how far back in the history the reason is, or -1.
    """

    retrieved: NDArray[np.int64]
    ranked: NDArray[np.int64]
    final: NDArray[np.int64]
    scores: NDArray[np.float32]
    sources: NDArray[np.int64]
    reasons: NDArray[np.int64]


def retrieval_for(
    model_set: ModelSet, catalogue: Catalogue, text_items: NDArray[np.float32], popularity: Popularity
) -> Retrieval:
    """What the sources of a model set propose from, for the catalogue of a day.

    Titles that the set knows have the vectors it was judged with; those that came since are placed by their content.
    """
    vectors = model_set.towers.encode_items(catalogue, text_items)
    at = positions_among(model_set.item_ids, catalogue.item_ids)
    vectors[at >= 0] = model_set.item_vectors[at[at >= 0]]
    is_same = np.array_equal(model_set.item_ids, catalogue.item_ids)
    plays, recent = plays_of(popularity, catalogue)
    return Retrieval(
        catalogue=catalogue,
        als_items=als_items(model_set.als, catalogue),
        tower_items=vectors,
        index=model_set.index if is_same else build(vectors),
        text_items=text_items,
        neighbours=_moved(model_set.neighbours, model_set.item_ids, catalogue),
        popularity_recent=recent,
        popularity=plays,
    )


def als_items(als: AlsModel, catalogue: Catalogue) -> NDArray[np.float32]:
    """ALS vectors of a catalogue: float32 [I, K], zeros for titles that it does not know."""
    vectors = np.zeros((len(catalogue), als.item_factors.shape[1]), np.float32)
    at = als.positions(catalogue.item_ids)
    vectors[at >= 0] = als.item_factors[at[at >= 0]]
    return vectors


def knowledge_of(
    model_set: ModelSet,
    retrieval: Retrieval,
    histories: Histories,
    users: pa.Table,
    user_features: pa.Table,
    item_features: pa.Table,
) -> Knowledge:
    """What the ranker may know of these users, encoded by a model set.

    Args:
        model_set: encodes.
        retrieval: of the same set, for the catalogue of the day.
        histories: of the users, U.
        users: rows of USERS in any order.
        user_features: rows of USER_FEATURES in any order.
        item_features: rows of ITEM_FEATURES, aligned with the catalogue.
    """
    return Knowledge(
        catalogue=retrieval.catalogue,
        users=aligned(users, "user_id", histories.user_ids),
        histories=histories,
        user_features=aligned(user_features, "user_id", histories.user_ids),
        item_features=item_features,
        als_users=model_set.als.encode(histories),
        als_items=retrieval.als_items,
        tower_users=model_set.towers.encode_users(histories, users, retrieval.catalogue, retrieval.text_items),
        tower_items=retrieval.tower_items,
        text_items=retrieval.text_items,
        neighbours=retrieval.neighbours,
        interests=model_set.interests,
        tower_temperature=model_set.towers.temperature,
        shared=retrieval.titles(item_features, model_set.interests),
    )


def retrieve(
    model_set: ModelSet, retrieval: Retrieval, knowledge: Knowledge, configuration: FunnelConfiguration
) -> Candidates:
    """The candidates of the users of `knowledge`; for those with too short a history also what suits their cohort."""
    is_cold = np.diff(knowledge.histories.offsets) < configuration.cold_below
    cohorts = np.zeros_like(knowledge.als_users)
    if is_cold.any():
        cohorts[is_cold] = model_set.cohorts.vectors_of(knowledge.users.filter(pa.array(is_cold)))
    return candidates(
        retrieval,
        knowledge.histories,
        knowledge.als_users,
        knowledge.tower_users,
        configuration.candidates,
        maturity_limits(knowledge.users),
        cohorts,
        with_reasons=False,
    )


def recommend(
    model_set: ModelSet, retrieval: Retrieval, knowledge: Knowledge, weekday: int, configuration: FunnelConfiguration
) -> Recommended:
    """The lists of the users of `knowledge`.

    Without a ranker lists stay in retrieval order.

    Args:
        model_set: retrieves and ranks.
        retrieval: what it proposes from.
        knowledge: of the users.
        weekday: of the day that the lists are for, 0 for Monday.
        configuration: how.
    """
    length = configuration.lists.length
    found = retrieve(model_set, retrieval, knowledge, configuration)
    scores = found.scores
    if model_set.ranker is not None and len(found.positions):
        users = len(knowledge.histories.user_ids)
        hours, weekdays = np.full(users, _USUAL_HOUR), np.full(users, weekday)
        with one_blas_thread():
            scores = score(model_set.ranker, knowledge, found.offsets, found.positions, hours, weekdays)
    positions, worth = padded(found, found.positions, -1), padded(found, scores, -np.inf)
    # Best first; among equals in the order they came.
    by_score = largest(worth, worth.shape[1])
    ranked, ranked_scores = _at(positions, by_score, -1), _at(worth, by_score, -np.inf)
    order = diversify(
        ranked_scores,
        ranked,
        retrieval.catalogue.main_genres,
        _looks(retrieval, configuration.diversity.resemblance),
        configuration.diversity,
    )[:, :length]
    final, sources = _at(ranked, order, -1), _at(padded(found, found.sources, 0), _at(by_score, order, -1), 0)
    return Recommended(
        retrieved=positions[:, :length],
        ranked=ranked[:, :length],
        final=final,
        scores=_at(ranked_scores, order, -np.inf),
        sources=sources,
        reasons=explained(retrieval, knowledge.histories, final, sources),
    )


def _at(values: NDArray[_Number], columns: NDArray[np.int64], empty: float) -> NDArray[_Number]:
    """The values in these columns [U, R], `empty` for column -1."""
    taken = np.take_along_axis(values, np.maximum(columns, 0), 1)
    taken[columns < 0] = empty
    return taken


def in_blocks(histories: Histories, size: int = USERS_AT_ONCE) -> Iterator[Histories]:
    """The users, as many at a time as the funnel holds."""
    for start in range(0, len(histories.user_ids), size):
        yield histories.of(histories.user_ids[start : start + size])


def _looks(retrieval: Retrieval, resemblance: float) -> NDArray[np.float32]:
    """By what titles look alike, their genres: [I, G], so that two of the same genres are alike by `resemblance`."""
    has = retrieval.catalogue.has_genre.astype(np.float32)
    if not has.shape[1]:
        return np.zeros((len(retrieval.catalogue), 1), np.float32)
    looks: NDArray[np.float32] = has / np.maximum(np.linalg.norm(has, axis=1, keepdims=True), 1e-9)
    return (looks * np.float32(resemblance**0.5)).astype(np.float32)


def maturity_limits(users: pa.Table) -> NDArray[np.int64]:
    """The age up to which titles may be shown to each user: int64 [U]; no limit where none is known."""
    column = users.column("maturity_limit").cast(pa.int64()).fill_null(2**31)
    limits: NDArray[np.int64] = column.to_numpy()
    return limits


def _moved(neighbours: Neighbours, item_ids: NDArray[np.int64], catalogue: Catalogue) -> Neighbours:
    """Neighbours among the titles of one catalogue as positions in another."""
    if np.array_equal(item_ids, catalogue.item_ids):
        return neighbours
    there = np.append(catalogue.positions(item_ids), -1)
    rows = positions_among(item_ids, catalogue.item_ids)
    positions = np.where((rows >= 0)[:, None], there[neighbours.positions[rows]], -1)
    weights = np.where(positions >= 0, neighbours.weights[rows], 0)
    # Those that are gone leave no gap: what is left stands in the same order.
    order = np.argsort(positions < 0, axis=1, kind="stable")
    return Neighbours(
        np.take_along_axis(positions, order, 1).astype(np.int32),
        np.take_along_axis(weights, order, 1).astype(np.float32),
    )
