"""A small catalogue, users and histories made in memory, for tests of models."""

from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa

from feature_defs.items import ITEMS
from feature_defs.users import USERS
from pipelines.arrow_schemas import arrow_schema
from pipelines.catalogue import Catalogue, catalogue_from
from pipelines.histories import Histories

DAY = date(2026, 1, 31)
_EARLY = datetime(2025, 1, 1, tzinfo=UTC)


def items(count: int, **columns: list) -> pa.Table:
    """Titles 1 to `count`; `columns` override what is said of them."""
    rows = [
        {
            "item_id": item + 1,
            "title": f"Title {item + 1}",
            "genres": ["Drama" if item % 2 else "Comedy"],
            "language": "en",
            "kind": "video",
            "release_year": 2000 + item % 20,
            "published_at": _EARLY,
            "moderation_state": "approved",
        }
        | {name: values[item] for name, values in columns.items()}
        for item in range(count)
    ]
    return pa.Table.from_pylist(rows, arrow_schema(ITEMS))


def catalogue(count: int, **columns: list) -> Catalogue:
    return catalogue_from(items(count, **columns), DAY)


def users(count: int, **columns: list) -> pa.Table:
    rows = [
        {"user_id": user + 1, "signup_at": _EARLY, "is_opted_out": False}
        | {name: values[user] for name, values in columns.items()}
        for user in range(count)
    ]
    return pa.Table.from_pylist(rows, arrow_schema(USERS))


def histories(*rows: list[int], shares: list[list[float]] | None = None) -> Histories:
    """The item ids of users 1, 2, ..., oldest first; all watched to the end unless `shares` says otherwise."""
    watched = shares or [[1.0] * len(row) for row in rows]
    return Histories(
        np.arange(1, len(rows) + 1),
        np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64),
        np.array([item for row in rows for item in row], np.int64),
        np.array([share for row in watched for share in row], np.float32),
    )
