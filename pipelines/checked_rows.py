"""Rows on their way into the lake: checked one by one, laid down sorted in a local file, told by their digests."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_defs.declarations import Severity, Table
from pipelines.arrow_schemas import arrow_schema
from pipelines.checks import Breach, breaches, conform, repeated_keys
from pipelines.digests import ContentDigest
from pipelines.errors import DataError

# Enough rejected rows of each batch for a person to see what is wrong; the counts say how many there are.
_KEPT_ROWS = 1000
_BATCH_ROWS = 256 * 1024
# Of rows handed on at once: whoever writes them may hold a hundred such batches.
_BATCH_BYTES = 1024 * 1024
_LEAST_ROWS = 64


@dataclass
class CheckedRows:
    """Rows of a range of days, checked and laid down in `path` (Parquet, sorted by day and key).

    Rows that a rule sets aside are not among them. A context manager: the file goes when it is left.
    """

    table: Table
    first_day: date
    last_day: date
    row_count: int = 0
    digests: dict[str, str] = field(default_factory=dict)
    # (column, rule in words) -> rows that broke it
    critical: dict[tuple[str, str], int] = field(default_factory=dict)
    aside: dict[tuple[str, str], int] = field(default_factory=dict)
    warnings: dict[tuple[str, str], int] = field(default_factory=dict)
    rejected: list[tuple[Breach, pa.Table]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="marquee-")
        self.path = Path(self._folder.name) / "rows.parquet"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    @property
    def what(self) -> str:
        """The table and the days, in words."""
        return f"{self.table.name} of {self.first_day}" + (
            "" if self.last_day == self.first_day else f" to {self.last_day}"
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What was set aside, and what was let pass with a warning, as sentences."""
        return (
            *(f"{in_count(name, count)}, set aside in quarantine" for name, count in self.aside.items()),
            *(in_count(name, count) for name, count in self.warnings.items()),
        )

    def refuse_if_critical(self) -> None:
        """End the write if a critical rule was broken.

        Raises:
            DataError: names each column, rule and count.
        """
        if self.critical:
            faults = "; ".join(in_count(name, count) for name, count in self.critical.items())
            raise DataError(f"{self.what}: {faults}; nothing was written, the rejected rows are kept in quarantine")

    def batches(self) -> pa.RecordBatchReader:
        """The rows, batch by batch, few at a time where each is large."""
        file = pq.ParquetFile(self.path, buffer_size=_BATCH_BYTES, pre_buffer=False)
        rows = file.iter_batches(self.rows_in(_BATCH_BYTES), use_threads=False)
        return pa.RecordBatchReader.from_batches(file.schema_arrow, rows)

    def rows_in(self, size: int) -> int:
        """How many rows take about so many bytes."""
        metadata = pq.read_metadata(self.path)
        row_count: int = metadata.num_rows
        used: int = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
        return min(max(size * row_count // max(used, 1), _LEAST_ROWS), _BATCH_ROWS)


def check_rows(
    table: Table, rows: pa.Table | pa.RecordBatchReader, first_day: date, last_day: date | None = None
) -> CheckedRows:
    """Hold rows against their declaration and lay them down for a write.

    Args:
        table: what is declared of the rows.
        rows: a table in any order, or a stream sorted by (`day`, key). For a range of days they carry a column `day`.
        first_day: the day of the rows, or the first of a range.
        last_day: the last day of a range, included.

    Raises:
        DataError: if a column is missing or of another type; names the column.
    """
    checked = CheckedRows(table, first_day, last_day or first_day)
    schema = arrow_schema(table).append(pa.field("day", pa.date32()))
    digests: dict[date, ContentDigest] = {}
    last_row = schema.empty_table()
    try:
        with pq.ParquetWriter(checked.path, schema, compression="lz4") as writer:
            for part in _parts(rows):
                conforming = _with_day(checked, part)
                if isinstance(rows, pa.Table):
                    order = [(name, "ascending") for name in ("day", *table.key)]
                    conforming = conforming.sort_by(order)
                good = _sift(checked, conforming)
                keyed = pa.concat_tables([last_row, good])
                repeated = repeated_keys(table, keyed)
                if repeated is not None:
                    _count(checked.critical, repeated)
                    checked.rejected.append((repeated, keyed.filter(repeated.rows).slice(0, _KEPT_ROWS)))
                if good.num_rows:
                    last_row = good.slice(good.num_rows - 1)
                _digest(digests, good)
                writer.write_table(good, row_group_size=_BATCH_ROWS)
                checked.row_count += good.num_rows
    except BaseException:
        checked.__exit__(None, None, None)
        raise
    checked.digests = {str(day): digest.hexdigest() for day, digest in sorted(digests.items())}
    return checked


def in_count(name: tuple[str, str], count: int) -> str:
    """A broken rule as a sentence: column, rule and number of rows."""
    column, rule = name
    return f"{column} {rule} ({count:,} row{'' if count == 1 else 's'})"


def _sift(checked: CheckedRows, rows: pa.Table) -> pa.Table:
    """Count what is broken, and take out the rows that a rule sets aside."""
    keep: pa.BooleanArray | None = None
    for breach in breaches(checked.table, rows):
        if breach.severity is Severity.WARNING:
            _count(checked.warnings, breach)
            continue
        checked.rejected.append((breach, rows.filter(breach.rows).slice(0, _KEPT_ROWS)))
        if breach.severity is Severity.CRITICAL:
            _count(checked.critical, breach)
        else:
            _count(checked.aside, breach)
            keep = pc.invert(breach.rows) if keep is None else pc.and_(keep, pc.invert(breach.rows))
    return rows if keep is None else rows.filter(keep)


def _count(counts: dict[tuple[str, str], int], breach: Breach) -> None:
    name = (breach.column, breach.rule)
    counts[name] = counts.get(name, 0) + breach.count


def _digest(digests: dict[date, ContentDigest], rows: pa.Table) -> None:
    days = rows.column("day")
    for day in pc.unique(days).to_pylist():
        if day is None:
            continue
        digest = digests.setdefault(day, ContentDigest(rows.schema))
        for batch in rows.filter(pc.equal(days, pa.scalar(day))).combine_chunks().to_batches():
            digest.update(batch)


def _parts(rows: pa.Table | pa.RecordBatchReader) -> Iterator[pa.Table]:
    if isinstance(rows, pa.Table):
        yield rows
        return
    is_empty = True
    for batch in rows:
        is_empty = False
        yield pa.Table.from_batches([batch])
    if is_empty:  # its columns are still to be checked
        yield rows.schema.empty_table()


def _with_day(checked: CheckedRows, rows: pa.Table) -> pa.Table:
    if "day" not in rows.schema.names:
        if checked.first_day != checked.last_day:
            raise ValueError("rows of several days must carry their day")
        day = pa.scalar(checked.first_day, pa.date32())
        rows = rows.append_column("day", pa.nulls(rows.num_rows, pa.date32()).fill_null(day))
    conforming = conform(checked.table, rows, beside=["day"])
    bounds = pc.min_max(conforming.column("day")).as_py()
    if conforming.num_rows and not (checked.first_day <= bounds["min"] and bounds["max"] <= checked.last_day):
        raise ValueError(f"rows of {bounds['min']} to {bounds['max']} lie outside {checked.what}")
    return conforming
