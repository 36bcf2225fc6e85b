"""A lake that holds what is known of the users of a seeded night, as the nightly jobs would have left it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
from catalogue_columns import DAY
from seeded_models import SeededNight

from feature_defs.features import USER_FEATURES
from feature_defs.interactions import INTERACTIONS
from feature_defs.users import USERS
from pipelines.arrow_schemas import arrow_schema
from pipelines.lake import Lake

_USERS_AT_ONCE = 4096
_MIDNIGHT = int(datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC).timestamp()) * 1_000_000


def fill(lake: Lake, night: SeededNight) -> None:
    """Write the users, their features and their plays, all of them received on the day of the night."""
    plays = pa.RecordBatchReader.from_batches(arrow_schema(INTERACTIONS), _plays(night))
    lake.replace(INTERACTIONS, plays, DAY)
    lake.replace(USERS, night.users, DAY)
    features = night.user_features
    moment = pa.nulls(features.num_rows, pa.timestamp("us", "UTC")).fill_null(
        datetime.fromtimestamp(_MIDNIGHT / 1e6, UTC) + timedelta(hours=23)
    )
    for name in ("feature_at", "created_at"):
        features = features.set_column(features.schema.get_field_index(name), features.schema.field(name), moment)
    lake.replace(USER_FEATURES.table, features, DAY)


def _plays(night: SeededNight) -> Iterator[pa.RecordBatch]:
    schema = arrow_schema(INTERACTIONS)
    ids = night.histories.user_ids
    for start in range(0, len(ids), _USERS_AT_ONCE):
        past = night.histories.of(ids[start : start + _USERS_AT_ONCE])
        owners, count = past.owners(), len(past.item_ids)
        # As the table is sorted: by user and title; when each was played is in its time.
        order = np.lexsort((past.item_ids, owners))
        place = np.arange(count) - past.offsets[:-1][owners]
        at = pa.array((_MIDNIGHT + place * 60_000_000)[order]).cast(pa.timestamp("us", "UTC"))
        said = {
            "user_id": pa.array(past.user_ids[owners][order]),
            "item_id": pa.array(past.item_ids[order]),
            "occasion_id": pa.array(np.arange(count)).cast(pa.string()),
            "happened_at": at,
            "received_at": at,
            "event_count": pa.array(np.ones(count, np.int32)),
            "watched_share": pa.array(past.shares[order]),
            **{name: pa.array(np.full(count, name == "is_play")) for name in schema.names if name.startswith("is_")},
        }
        columns = [said.get(field.name, pa.nulls(count, field.type)) for field in schema]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)
