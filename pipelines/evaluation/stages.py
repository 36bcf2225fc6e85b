"""What each stage of the funnel, and each retriever by itself, would have recommended to the same users.

Shapes: U users, R places.
"""

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.evaluation.comparison import CANDIDATES
from pipelines.histories import Histories, Popularity
from pipelines.lists import sources
from pipelines.lists.candidates import Retrieval
from pipelines.lists.forbidden import forbidden
from pipelines.lists.funnel import in_blocks, knowledge_of, maturity_limits, recommend
from pipelines.lists.funnel_configuration import FunnelConfiguration
from pipelines.lists.ranking import rank
from pipelines.models.model_set import ModelSet

# The whole funnel first; then what it would be with a stage less, and each retriever alone.
STAGES = ("funnel", "ranked", "retrieved", "towers", "als")


def lists_by_stage(
    model_set: ModelSet,
    retrieval: Retrieval,
    histories: Histories,
    users: pa.Table,
    user_features: pa.Table,
    item_features: pa.Table,
    popularity: Popularity,
    known_until: date,
    configuration: FunnelConfiguration,
) -> dict[str, NDArray[np.int64]]:
    """Item ids by stage: int64 [U, 200] each, -1 where a list is shorter.

    Args:
        model_set: recommends.
        retrieval: of the set, for the catalogue of the day.
        histories: of the users, U, up to `known_until`.
        users: rows of USERS.
        user_features: rows of USER_FEATURES as of `known_until`.
        item_features: rows of ITEM_FEATURES as of then, aligned with the catalogue.
        popularity: of all titles as of then.
        known_until: the last day known; lists are for the day after.
        configuration: how lists are made.
    """
    catalogue = retrieval.catalogue
    weekday = (known_until + timedelta(days=1)).weekday()
    parts: dict[str, list[NDArray[np.int64]]] = {stage: [] for stage in STAGES}
    for block in in_blocks(histories):
        knowledge = knowledge_of(model_set, retrieval, block, users, user_features, item_features)
        found = recommend(model_set, retrieval, knowledge, weekday, configuration)
        blocked = forbidden(catalogue, block, maturity_limits(knowledge.users))
        towers = sources.by_vectors(
            knowledge.tower_users, retrieval.tower_items, retrieval.towers_know, blocked, CANDIDATES
        )
        als = rank(model_set.als, knowledge.als_users, block, popularity, catalogue.eligible, CANDIDATES).item_ids
        positions = {"funnel": found.final, "ranked": found.ranked, "retrieved": found.retrieved, "towers": towers}
        for stage, at in positions.items():
            ids = np.where(at >= 0, catalogue.item_ids[np.maximum(at, 0)], -1)
            parts[stage].append(_of_width(ids, CANDIDATES))
        parts["als"].append(_of_width(als, CANDIDATES))
    return {
        stage: np.concatenate(lists) if lists else np.zeros((0, CANDIDATES), np.int64) for stage, lists in parts.items()
    }


def _of_width(ranking: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    out = np.full((len(ranking), width), -1, np.int64)
    out[:, : ranking.shape[1]] = ranking[:, :width]
    return out
