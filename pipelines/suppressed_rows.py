"""Rows of users whose erasure was asked for: where they are, and how they are left out.

Users are given as an Arrow array of int64, which may be empty; `pipelines.lake` asks for it at every read and write.
"""

import dataclasses
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from feature_defs.declarations import Table
from feature_defs.record import ERASURES, QUARANTINE
from pipelines.checked_rows import CheckedRows, check_rows

NOBODY = pa.array([], pa.int64())
_IN_JSON = r'(?:^\{|, )"user_id": (?P<user_id>\d{1,19})'
_BATCH_ROWS = 256 * 1024


def is_of_users(table: Table) -> bool:
    """Whether the rows of a table are of a user each, and go with the user; the erasures themselves stay."""
    return "user_id" in table.names and table.name != ERASURES.name


def holds_users(table: Table) -> bool:
    """Whether anything in a table may be of a user: also rows that were set aside, which are kept as text."""
    return is_of_users(table) or table.name == QUARANTINE.name


def user_column(table: Table) -> str:
    """The column of a table that says whose a row is."""
    return "row" if table.name == QUARANTINE.name else "user_id"


def owners(table: Table, batch: pa.RecordBatch) -> pa.Array:
    """Whose each row is: int64, null where it is nobody's."""
    column = batch.column(user_column(table))
    if table.name != QUARANTINE.name:
        return column
    return pc.struct_field(pc.extract_regex(column, _IN_JSON), "user_id").cast(pa.int64())


def without_users(table: Table, batch: pa.RecordBatch, users: pa.Array) -> pa.RecordBatch:
    """The rows of a batch that are of none of the users; all of them where it does not say whose they are."""
    if not len(users) or user_column(table) not in batch.schema.names:
        return batch
    return batch.filter(pc.invert(pc.is_in(owners(table, batch), users)))


def drop_users(checked: CheckedRows, users: pa.Array) -> None:
    """Take rows of these users out of checked rows: out of what is to be written, and out of what was rejected.

    A rule that nobody else broke is then no longer broken: what a warehouse makes of an erased user stops no night.
    """
    if not len(users) or not is_of_users(checked.table):
        return
    kept = []
    for breach, broken in checked.rejected:
        rows = broken.filter(pc.invert(pc.is_in(broken.column("user_id"), users)))
        name = (breach.column, breach.rule)
        for counts in (checked.critical, checked.aside):
            if name in counts:
                counts[name] -= broken.num_rows - rows.num_rows
                if counts[name] <= 0:
                    del counts[name]
        if rows.num_rows:
            kept.append((breach, rows))
    checked.rejected[:] = kept
    with pq.ParquetFile(checked.path) as file:
        batches = file.iter_batches(_BATCH_ROWS, columns=["user_id"])
        is_any = any(pc.any(pc.is_in(batch.column(0), users)).as_py() for batch in batches)
    if is_any:
        with pq.ParquetFile(checked.path) as file:
            left = (without_users(checked.table, batch, users) for batch in file.iter_batches(_BATCH_ROWS))
            rows = pa.RecordBatchReader.from_batches(file.schema_arrow, left)
            again = check_rows(_without_rules(checked.table), rows, checked.first_day, checked.last_day)
        with again:
            shutil.move(again.path, checked.path)
            checked.row_count, checked.digests = again.row_count, again.digests


def found_rows(table: Table, dataset: ds.Dataset, users: pa.Array) -> tuple[list[date], Counter[int]]:
    """The days that hold rows of these users, in order, and how many rows each user has."""
    days: set[date] = set()
    counts: Counter[int] = Counter()
    for batch in dataset.to_batches(columns=[user_column(table), "day"]):
        whose = owners(table, batch)
        is_theirs = pc.is_in(whose, users)
        days.update(pc.unique(batch.column("day").filter(is_theirs)).to_pylist())
        counts.update(whose.filter(is_theirs).to_pylist())
    return sorted(days), counts


@contextmanager
def rows_without(table: Table, dataset: ds.Dataset, days: list[date], users: pa.Array) -> Iterator[CheckedRows]:
    """The rows of these days less those of the users, laid down in the order in which the lake keeps rows.

    They are not held against the rules again: a rule that came later must not stand in the way of an erasure.
    """
    order = ", ".join(f'"{name}" ASC NULLS LAST' for name in ("day", *table.key))
    columns = ", ".join(f'"{name}"' for name in (*table.names, "day"))
    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'")
        engine.execute("SET memory_limit = '1GB'")
        engine.register("rows", dataset.filter(pc.field("day").isin(pa.array(days, pa.date32()))))
        stream = engine.sql(f"SELECT {columns} FROM rows ORDER BY {order}").to_arrow_reader(_BATCH_ROWS)  # noqa: S608
        left = (without_users(table, batch, users) for batch in stream)
        rows = pa.RecordBatchReader.from_batches(stream.schema, left)
        with check_rows(_without_rules(table), rows, days[0], days[-1]) as checked:
            yield checked


def part_digests(checked: CheckedRows, parts: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """For each part of a day (a shard, a run: values of columns) the digest of its rows, a day each."""
    found = []
    for part in parts:
        if not part:
            found.append(checked.digests)
            continue
        with pq.ParquetFile(checked.path) as file:
            rows = pa.RecordBatchReader.from_batches(
                file.schema_arrow, (_only(batch, part) for batch in file.iter_batches(_BATCH_ROWS))
            )
            with check_rows(_without_rules(checked.table), rows, checked.first_day, checked.last_day) as alone:
                found.append(alone.digests)
    return found


def _only(batch: pa.RecordBatch, part: dict[str, str]) -> pa.RecordBatch:
    for name, value in part.items():
        batch = batch.filter(pc.equal(batch.column(name).cast(pa.string()), value))
    return batch


def _without_rules(table: Table) -> Table:
    return dataclasses.replace(table, fields=tuple(dataclasses.replace(field, rules=()) for field in table))
