"""The lists of a part of the users, from what is known of them to rows ready for the lake, a block of users at a time.

A block is worked on by one thread from its vectors to its rows, as many blocks beside each other as there are cores;
so a list does not depend on how many there are.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from feature_defs.recommendations import RECOMMENDATIONS
from pipelines.arrow_schemas import arrow_schema
from pipelines.blas_threads import one_blas_thread
from pipelines.lists.candidates import Retrieval
from pipelines.lists.funnel import knowledge_of, recommend
from pipelines.lists.funnel_configuration import FunnelConfiguration
from pipelines.lists.people import People
from pipelines.lists.ranking import Ranked, recommendation_rows
from pipelines.models.model_set import ModelSet
from pipelines.models.torch_threads import one_torch_thread


def list_rows(
    run_id: str,
    shard: str,
    model_set: ModelSet,
    retrieval: Retrieval,
    people: Iterable[People],
    item_features: pa.Table,
    known_until: date,
    configuration: FunnelConfiguration,
    threads: int | None = None,
) -> Iterator[pa.RecordBatch]:
    """Rows of RECOMMENDATIONS for every user, in their order.

    No more than a few blocks of users are held at once, however many there are.

    Args:
        run_id: the run that makes the lists.
        shard: the part of the users, as i/n.
        model_set: the champion.
        retrieval: of the champion, for the catalogue of the day.
        people: the users block by block, ascending by id, as known at the end of the day.
        item_features: rows of ITEM_FEATURES as of the day, aligned with the catalogue.
        known_until: the day.
        configuration: how lists are made.
        threads: blocks worked on beside each other; None: as many as there are cores.
    """
    schema = arrow_schema(RECOMMENDATIONS)
    history_length = configuration.lists.history_length
    weekday = (known_until + timedelta(days=1)).weekday()
    item_ids = retrieval.catalogue.item_ids

    def rows_of(block: People) -> list[pa.RecordBatch]:
        histories = block.histories
        knowledge = knowledge_of(model_set, retrieval, histories, block.users, block.user_features, item_features)
        found = recommend(model_set, retrieval, knowledge, weekday, configuration)
        ids = np.where(found.final >= 0, item_ids[np.maximum(found.final, 0)], -1)
        ranked = Ranked(ids, np.where(ids >= 0, found.scores, 0).astype(np.float32), found.sources)
        reasons = np.where(found.reasons < history_length, found.reasons, -1)
        rows = recommendation_rows(run_id, shard, histories, knowledge.tower_users, ranked, reasons, history_length)
        return rows.select(schema.names).to_batches()  # type: ignore[no-any-return]

    threads = threads or len(os.sched_getaffinity(0))
    with ExitStack() as stack:
        for limit in (one_blas_thread(), one_torch_thread()):
            stack.enter_context(limit)
        pool = stack.enter_context(ThreadPoolExecutor(threads))
        coming: deque[Future[list[pa.RecordBatch]]] = deque()
        for block in people:
            coming.append(pool.submit(rows_of, block))
            if len(coming) > threads:
                yield from coming.popleft().result()
        while coming:
            yield from coming.popleft().result()
