"""A lake in which the lists of a day are made and nothing of them is written yet: what publication starts from.

The content of a list is a function of the user and the day.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa

from feature_defs.interactions import ITEM_PLAYS
from feature_defs.items import ITEMS
from feature_defs.recommendations import RECOMMENDATIONS
from feature_defs.users import USERS
from pipelines.arrow_schemas import arrow_schema
from pipelines.configuration import RunConfiguration
from pipelines.lake import Lake
from pipelines.runs import Run, record_run, step
from pipelines.shards import Shard, shards
from pipelines.stores.interface import ListStore

DAY = date(2026, 1, 31)
ITEMS_COUNT, LIST_LENGTH, HISTORY_LENGTH, WIDTH = 8000, 200, 40, 64
_USERS_A_BLOCK = 4096


def planned_run(day: date = DAY, number: int = 1, shard_count: int = 2) -> Run:
    """A run of a day, to be opened."""
    return Run(f"{day:%Y%m%d}-{number:012x}", day, "daily", 0, RunConfiguration(shard_count=shard_count), {})


def open_run(lake: Lake, store: ListStore, planned: Run) -> Run:
    """An attempt at a run, opened and recorded as by `jobs.open_run`."""
    return record_run(lake, planned, store.open_attempt(planned.run_id))


def make_lists(lake: Lake, this_run: Run, users_count: int, model_set: str = "set-1") -> None:
    """The lists of users 1 to `users_count` as `jobs.score_users` leaves them, and what else publication reads."""
    for shard in shards(this_run.configuration.shard_count):
        with step(lake, this_run, "score_users", str(shard)) as work:
            rows = pa.RecordBatchReader.from_batches(
                arrow_schema(RECOMMENDATIONS), list_rows(this_run, shard, users_count)
            )
            lake.replace(RECOMMENDATIONS, rows, this_run.day, where={"shard": str(shard)}, run_id=this_run.run_id)
            work.counts = {"champion": model_set}
    early = datetime(2025, 1, 1, tzinfo=UTC)
    item = {"title": "A title", "kind": "video", "published_at": early, "moderation_state": "approved"}
    plays = {"happened_on": this_run.day - timedelta(1), "play_count": 3, "complete_count": 1, "share_count": 1}
    plays |= {"share_millionths": 500_000, "last_played_at": early}
    people = [{"user_id": user, "signup_at": early, "is_opted_out": False} for user in range(1, users_count + 1)]
    for table, rows in (
        (ITEMS, [{"item_id": number, **item} for number in range(1, 31)]),
        (ITEM_PLAYS, [{"item_id": number, **plays} for number in range(1, 31)]),
        (USERS, people),
    ):
        lake.replace(table, pa.Table.from_pylist(rows, arrow_schema(table)), this_run.day)


def list_rows(this_run: Run, shard: Shard, users_count: int) -> Iterator[pa.RecordBatch]:
    """Rows of `recommendations` for the users of a shard."""
    everybody = np.arange(1, users_count + 1)
    of_shard = everybody[everybody % shard.count == shard.index]
    for start in range(0, len(of_shard), _USERS_A_BLOCK):
        users = of_shard[start : start + _USERS_A_BLOCK]
        # Neither sorted nor alike, as true lists are not.
        seeds = users[:, None] * 2_654_435_761 + this_run.day.toordinal()
        random = np.random.default_rng(int(users[0]))
        lists = {
            "item_ids": (seeds + np.arange(LIST_LENGTH) * 37) % ITEMS_COUNT + 1,
            "scores": -np.sort(-random.random((len(users), LIST_LENGTH)), axis=1),
            "sources": (seeds + np.arange(LIST_LENGTH)) % 9,
            "reasons": (seeds + np.arange(LIST_LENGTH) * 3) % HISTORY_LENGTH,
            "history": (seeds + np.arange(HISTORY_LENGTH) * 41) % ITEMS_COUNT + 1,
            "vector": random.standard_normal((len(users), WIDTH)),
        }
        schema = arrow_schema(RECOMMENDATIONS)
        columns = [_column(values, schema.field(name).type.value_type) for name, values in lists.items()]
        named = [pa.array([this_run.run_id] * len(users)), pa.array([str(shard)] * len(users)), pa.array(users)]
        yield pa.record_batch([*named, *columns], schema=schema)


def _column(values: np.ndarray, kind: pa.DataType) -> pa.ListArray:
    offsets = np.arange(0, values.size + 1, values.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, pa.array(values.ravel()).cast(kind, safe=False))
