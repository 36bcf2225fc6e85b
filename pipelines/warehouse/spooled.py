"""Records of the spool as rows of the warehouse's tables."""

from collections.abc import Sequence

import pyarrow as pa

from feature_defs.declarations import Table
from feature_defs.events import ANSWERS, EVENTS
from feature_defs.users import PREFERENCES
from pipelines.arrow_schemas import arrow_schema
from pipelines.spool import Answer, EventRecord, Preference

# What an event record has; the rest of an event is joined from the answer.
_HEARD = tuple(name for name in EVENTS.names if name in EventRecord.__struct_fields__)


def answer_rows(answers: Sequence[Answer]) -> pa.Table:
    """One row a slot of an answer, as `feature_defs.events.ANSWERS` declares."""
    slots = [(answer, item) for answer in answers for item in answer.items]
    columns: dict[str, list[object]] = {
        "request_id": [answer.request_id for answer, _ in slots],
        "slot": [item.slot for _, item in slots],
        "user_id": [answer.user_id for answer, _ in slots],
        "item_id": [item.item_id for _, item in slots],
        "answered_at": [answer.answered_at for answer, _ in slots],
        "run_id": [answer.run_id for answer, _ in slots],
        "source": [answer.source for answer, _ in slots],
        "score": [item.score for _, item in slots],
        "propensity": [item.propensity for _, item in slots],
    }
    return _table(ANSWERS, columns, len(slots))


def event_rows(events: Sequence[EventRecord]) -> pa.Table:
    """One row an event, as `feature_defs.events.EVENTS` declares; run, slot and propensity are null."""
    return _table(EVENTS, {name: [getattr(event, name) for event in events] for name in _HEARD}, len(events))


def preference_rows(said: Sequence[Preference]) -> pa.Table:
    """One row each, as `feature_defs.users.PREFERENCES` declares."""
    return _table(PREFERENCES, {name: [getattr(one, name) for one in said] for name in PREFERENCES.names}, len(said))


def _table(table: Table, columns: dict[str, list[object]], count: int) -> pa.Table:
    schema = arrow_schema(table)
    arrays = [
        pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(count, field.type)
        for field in schema
    ]
    return pa.table(arrays, schema=schema)
