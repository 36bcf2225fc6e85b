"""The lists of a part of the users, from their histories to rows ready for the lake, a batch of users at a time."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_defs.recommendations import RECOMMENDATIONS
from pipelines.arrow_schemas import arrow_schema
from pipelines.histories import Histories, Popularity
from pipelines.lists.ranking import ListConfiguration, rank, recommendation_rows
from pipelines.models.als import AlsModel

# Users whose lists are held at once: some 50 MB.
_USERS_AT_ONCE = 8192


def recommend(
    run_id: str,
    shard: str,
    als: AlsModel,
    histories: Histories,
    popularity: Popularity,
    eligible: NDArray[np.int64],
    configuration: ListConfiguration,
) -> Iterator[pa.RecordBatch]:
    """Rows of RECOMMENDATIONS for every user of the histories, ascending by user.

    Args:
        run_id: the run that makes the lists.
        shard: the part of the users, as i/n.
        als: the champion's.
        histories: of the users, through the day.
        popularity: of all titles, through the day.
        eligible: titles that may be shown, int64 ascending.
        configuration: how lists are made.
    """
    schema = arrow_schema(RECOMMENDATIONS)
    for start in range(0, len(histories.user_ids), _USERS_AT_ONCE):
        part = histories.of(histories.user_ids[start : start + _USERS_AT_ONCE])
        vectors = als.encode(part)
        ranked = rank(als, vectors, part, popularity, eligible, configuration.length)
        reasons = als.explain(part, als.positions(ranked.item_ids), configuration.history_length)
        rows = recommendation_rows(run_id, shard, part, vectors, ranked, reasons, configuration.history_length)
        yield from rows.select(schema.names).to_batches()
