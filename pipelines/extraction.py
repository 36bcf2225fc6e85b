"""The warehouse's rows on their way to the lake."""

from collections.abc import Iterable, Iterator
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from feature_defs.declarations import Table
from feature_defs.users import PREFERENCES, USERS
from pipelines.checked_rows import CheckedRows, check_rows
from pipelines.decided import as_decided
from pipelines.warehouse.interface import Warehouse


def extract(warehouse: Warehouse, table: Table, first_day: date, last_day: date) -> CheckedRows:
    """A table's rows of a range of days of receipt, checked; of a table without days all rows, as those of `last_day`.

    An event that was received several times in a day is taken once, as first received. Of users the newest of what they
    said at the endpoint goes before what the table says.

    Raises:
        DataError: if a column is missing or of another type; names it.
    """
    if table.day_of is None:
        rows = warehouse.read_day(table, last_day)
        if table is USERS and warehouse.columns(PREFERENCES):
            rows = as_decided(rows, warehouse.read_day(PREFERENCES, last_day))
        return check_rows(table, _stream(rows), last_day)
    dated = _with_day(table, once_each(warehouse.read_days(table, first_day, last_day), table.key))
    return check_rows(table, _stream(dated), first_day, last_day)


def once_each(batches: Iterable[pa.RecordBatch], key: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    """Rows less those whose key the row before them has; the rows are sorted by day and key."""
    last: tuple[object, ...] | None = None
    for batch in batches:
        if any(name not in batch.schema.names for name in key):
            yield batch  # the missing column is named by whoever checks
            continue
        columns = [batch.column(name) for name in key]
        is_repeated = pa.array([True] * max(batch.num_rows - 1, 0), pa.bool_())
        for column in columns:
            is_repeated = pc.and_(is_repeated, pc.fill_null(pc.equal(column[1:], column[:-1]), False))
        if batch.num_rows:
            first = tuple(column[0].as_py() for column in columns)
            head = pa.array([first == last and None not in first])
            last = tuple(column[-1].as_py() for column in columns)
            yield batch.filter(pc.invert(pa.concat_arrays([head, is_repeated])))
        else:
            yield batch


def _with_day(table: Table, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        received = batch.column(str(table.day_of))
        yield batch.append_column("day", received.cast(pa.timestamp("us", "UTC")).cast(pa.date32()))


def _stream(batches: Iterator[pa.RecordBatch]) -> pa.RecordBatchReader:
    first = next(batches)

    def all_batches() -> Iterator[pa.RecordBatch]:
        yield first
        yield from batches

    return pa.RecordBatchReader.from_batches(first.schema, all_batches())
