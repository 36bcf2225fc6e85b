"""Who gets lists and what is known of them, a block of users at a time, in order of id.

What is held of a shard of any size is the ids of its users, and all else of some thousand of them: tables are sorted by
user within a file, so that a range of users is read without the rest.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import NDArray

from feature_defs.declarations import Table
from feature_defs.features import USER_FEATURES
from feature_defs.interactions import INTERACTIONS
from feature_defs.users import USERS
from pipelines.arrow_schemas import arrow_schema
from pipelines.histories import Histories, histories_in, read_opted_out
from pipelines.lake import Lake
from pipelines.lists.funnel import USERS_AT_ONCE, in_blocks
from pipelines.shards import Shard

# Blocks that are read at once: each reading opens every file.
_BLOCKS = 16

_IDS = """
    SELECT DISTINCT user_id FROM (
        SELECT user_id FROM interactions WHERE day <= $day AND watched_share IS NOT NULL
        UNION ALL SELECT user_id FROM users WHERE day = $day
    ) ANTI JOIN opted_out USING (user_id)
    WHERE user_id % $count = $index ORDER BY user_id
"""
_THEIRS = "user_id BETWEEN $first AND $last AND user_id % $count = $index"
_OF_THE_DAY = f"SELECT * FROM {{table}} WHERE {_THEIRS} AND day = $day ORDER BY user_id"  # noqa: S608


@dataclass(frozen=True)
class People:
    """Some users: `histories` of U of them, ascending by id; `users` and `user_features`, rows of USERS and
    USER_FEATURES of these and maybe of others, ascending by user.
    """

    histories: Histories
    users: pa.Table
    user_features: pa.Table


def in_memory(
    histories: Histories, users: pa.Table, user_features: pa.Table, size: int = USERS_AT_ONCE
) -> Iterator[People]:
    """Users of whom all is known already, in blocks of so many."""
    for block in in_blocks(histories, size):
        yield People(block, users, user_features)


def read_people(lake: Lake, day: date, shard: Shard, size: int = USERS_AT_ONCE) -> Iterator[People]:
    """The users of a shard as known at the end of a day, in blocks of so many.

    Those who opted out of personalisation are left out. Histories are those of `pipelines.histories.read_histories`;
    users of the day who watched nothing have empty ones.

    Args:
        lake: where they are.
        day: the day; plays received on it are known.
        shard: the part of the users.
        size: users of a block.
    """
    tables = {
        "interactions": _dataset(lake, INTERACTIONS),
        "users": _dataset(lake, USERS),
        "user_features": _dataset(lake, USER_FEATURES.table),
        "opted_out": pa.table({"user_id": pa.array(read_opted_out(lake, day), pa.int64())}),
    }
    part = {"day": day, "count": shard.count, "index": shard.index}
    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        for name, rows in tables.items():
            database.register(name, rows)
        ids: NDArray[np.int64] = database.sql(_IDS, params=part).fetchnumpy()["user_id"].astype(np.int64)
        for start in range(0, len(ids), size * _BLOCKS):
            chosen = ids[start : start + size * _BLOCKS]
            theirs = part | {"first": int(chosen[0]), "last": int(chosen[-1])}
            histories = histories_in(database, f"{_THEIRS} AND day <= $day", theirs).of(chosen)
            users, features = (
                database.sql(_OF_THE_DAY.format(table=table.name), params=theirs)
                .to_arrow_table()
                .select(table.names)
                .cast(arrow_schema(table))
                .combine_chunks()
                for table in (USERS, USER_FEATURES.table)
            )
            yield from in_memory(histories, users, features, size)


def _dataset(lake: Lake, table: Table) -> ds.Dataset | pa.Table:
    schema = arrow_schema(table).append(pa.field("day", pa.date32()))
    return lake.dataset(table) or schema.empty_table()
