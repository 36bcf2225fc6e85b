"""May these rows enter the warehouse? Only as declared: what a nightly job would refuse is not let in."""

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from feature_defs.declarations import Severity, Table
from pipelines.checks import breaches, conform
from pipelines.errors import DataError


def admit(table: Table, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches, each in the declared columns and types.

    Raises:
        DataError: at the first batch that breaks a critical rule; names the column, the rule and the count.
    """
    for batch in batches:
        rows = conform(table, pa.Table.from_batches([batch]))
        if rows.num_rows == 0:
            continue
        for breach in breaches(table, rows):
            if breach.severity is Severity.CRITICAL:
                raise DataError(f"{table.name}: {breach}; nothing was loaded")
        yield from rows.combine_chunks().to_batches()


def sound_rows(table: Table, rows: pa.Table) -> pa.Table:
    """The rows that break no critical rule, in the declared columns and types."""
    rows = conform(table, rows)
    if rows.num_rows == 0:
        return rows
    unsound = pa.array([False] * rows.num_rows)
    for breach in breaches(table, rows):
        if breach.severity is Severity.CRITICAL:
            unsound = pc.or_(unsound, breach.rows)
    return rows.filter(pc.invert(unsound))
