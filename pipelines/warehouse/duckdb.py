"""The warehouse in one DuckDB file: the default, for one machine.

One process may write, or any number may read; DuckDB itself keeps them apart by a lock on the file.

Days are counted in microseconds since 1970: DuckDB knows time zones only through an extension (icu) that it would fetch
from the network, and nothing is fetched here.
"""

# Statements are put together from declared names alone; values are bound.
# ruff: noqa: S608

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import duckdb
import pyarrow as pa

from feature_defs.declarations import Array, Dtype, Table
from feature_defs.events import ANSWERS, EVENTS
from feature_defs.users import PREFERENCES
from pipelines.arrow_schemas import arrow_schema
from pipelines.errors import DataError, MarqueeError, UnavailableError
from pipelines.warehouse import joining
from pipelines.warehouse.arrival import in_declared_types
from pipelines.warehouse.interface import BATCH_ROWS, TakenUp

_SQL_TYPES: dict[Dtype, str] = {
    Dtype.BOOL: "BOOLEAN",
    Dtype.INT16: "SMALLINT",
    Dtype.INT32: "INTEGER",
    Dtype.INT64: "BIGINT",
    Dtype.FLOAT32: "FLOAT",
    Dtype.FLOAT64: "DOUBLE",
    Dtype.STRING: "VARCHAR",
    Dtype.TIMESTAMP: "TIMESTAMPTZ",
    Dtype.DATE: "DATE",
}
# Sorting a day of ten million events needs more than this; the rest spills to a folder beside the file.
_MEMORY_LIMIT = "2GB"
_DAY_US = 86_400_000_000


class DuckDBWarehouse:
    """The warehouse in a DuckDB file (`pipelines.warehouse.interface`)."""

    def __init__(self, path: Path, *, is_writable: bool = False) -> None:
        """Open the file: for reading it must exist, for writing it is made where it does not.

        Raises:
            UnavailableError: if there is no such file, or another process holds it.
            DataError: if the file is not a DuckDB database.
        """
        self._path = path
        if not is_writable and not path.is_file():
            raise UnavailableError(f"there is no warehouse at {path}: load one with jobs.load_warehouse")
        try:
            if is_writable:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = duckdb.connect(
                path,
                read_only=not is_writable,
                config={"memory_limit": _MEMORY_LIMIT, "autoinstall_known_extensions": False},
            )
        except OSError as error:
            raise UnavailableError(f"the warehouse {path} cannot be opened: {error.strerror or error}") from None
        except duckdb.Error as error:
            raise _sentence(path, error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def columns(self, table: Table) -> tuple[str, ...]:
        """See `Warehouse.columns`."""
        return tuple(self._types(table))

    def days(self, table: Table) -> tuple[date, date] | None:
        """See `Warehouse.days`."""
        types = self._required(table)
        if table.day_of is None or table.day_of not in types:
            return None
        day_of = _quote(table.day_of)
        with self._sentences():
            low, high = self._connection.execute(
                f"SELECT epoch_us(min({day_of})), epoch_us(max({day_of})) FROM {_quote(table.name)}"
            ).fetchall()[0]
        return None if low is None else (_day_of(low), _day_of(high))

    def read_day(self, table: Table, day: date) -> Iterator[pa.RecordBatch]:
        """See `Warehouse.read_day`."""
        return self.read_days(table, day, day)

    def read_days(self, table: Table, first_day: date, last_day: date) -> Iterator[pa.RecordBatch]:
        """See `Warehouse.read_days`."""
        types = self._required(table)
        names = [name for name in table.names if name in types]
        if not names:
            raise DataError(f"{table.name} in the warehouse {self._path} has none of the declared columns")
        # An id that is a UUID or an ENUM there is text here; nothing else is converted by the database.
        chosen = ", ".join(
            f"{_quote(name)}::VARCHAR AS {_quote(name)}" if types[name].startswith(("UUID", "ENUM")) else _quote(name)
            for name in names
        )
        order = [_quote(name) for name in table.key if name in types]
        where = "TRUE"
        if table.day_of is not None and table.day_of in types:
            day_of = _quote(table.day_of)
            # A plain comparison with the column, so that blocks of other days are skipped.
            kind, zone = ("TIMESTAMPTZ", "+00") if "WITH TIME ZONE" in types[table.day_of] else ("TIMESTAMP", "")
            first, after = first_day.isoformat(), (last_day + timedelta(days=1)).isoformat()
            where = " AND ".join(
                f"{day_of} {sign} {kind} '{day} 00:00:00{zone}'" for sign, day in ((">=", first), ("<", after))
            )
            order = [f"epoch_us({day_of}) // {_DAY_US}", *order] if last_day > first_day else order
        elif table.day_of is not None:
            where = "FALSE"  # without its day no row can be chosen; what is missing is named from the columns
        sql = f"SELECT {chosen} FROM {_quote(table.name)} WHERE {where}"
        return self._stream(table, f"{sql} ORDER BY {', '.join(order)}" if order else sql)

    def _stream(self, table: Table, sql: str) -> Iterator[pa.RecordBatch]:
        # A cursor of its own, so that two tables can be read in turn.
        with self._sentences(), self._connection.cursor() as cursor:
            reader = cursor.sql(sql).to_arrow_reader(BATCH_ROWS)
            is_empty = True
            for batch in reader:
                if batch.num_rows:
                    is_empty = False
                    yield in_declared_types(table, batch)
            if is_empty:
                nothing = [pa.array([], field.type) for field in reader.schema]
                yield in_declared_types(table, pa.RecordBatch.from_arrays(nothing, schema=reader.schema))

    def replace_all(self, rows: Mapping[Table, Iterable[pa.RecordBatch]]) -> dict[str, int]:
        """See `LoadableWarehouse.replace_all`."""
        with self._transaction():
            return {table.name: self._replace(table, batches) for table, batches in rows.items()}

    def _replace(self, table: Table, batches: Iterable[pa.RecordBatch]) -> int:
        self._execute(f"CREATE OR REPLACE TABLE {_quote(table.name)} ({_columns_of(table)})")
        names = ", ".join(map(_quote, table.names))
        order = ", ".join(map(_quote, [*([table.day_of] if table.day_of else []), *table.key]))
        source = _Remembering(batches)
        self._connection.register("incoming", pa.RecordBatchReader.from_batches(arrow_schema(table), source))
        try:
            # Sorted by time, so that reading a day skips the blocks of all others.
            count = self._execute(
                f"INSERT INTO {_quote(table.name)} ({names}) SELECT {names} FROM incoming ORDER BY {order}"
            )
        except duckdb.Error:
            # DuckDB puts its own words in the place of what the batches raised.
            if source.error is not None:
                raise source.error from None
            raise
        # Not after a failure: nothing but a rollback is possible then.
        self._connection.unregister("incoming")
        keys = ", ".join(map(_quote, table.key))
        repeated = self._connection.execute(
            f"SELECT {keys} FROM {_quote(table.name)} GROUP BY {keys} HAVING count(*) > 1 ORDER BY {keys} LIMIT 1"
        ).fetchall()
        if repeated:
            named = ", ".join(f"{name} {value}" for name, value in zip(table.key, repeated[0], strict=True))
            raise DataError(f"{table.name}: {named} is there more than once; nothing was loaded")
        return count

    def take_up(self, segment: str, answers: pa.Table, events: pa.Table, preferences: pa.Table) -> TakenUp | None:
        """See `LoadableWarehouse.take_up`."""
        with self._transaction():
            is_said = preferences.num_rows > 0
            for table in (ANSWERS, EVENTS, *([PREFERENCES] if is_said else [])):
                self._execute(f"CREATE TABLE IF NOT EXISTS {_quote(table.name)} ({_columns_of(table)})")
                missing = [name for name in table.names if name not in self._types(table)]
                if missing:
                    raise DataError(f"{table.name} in the warehouse {self._path} lacks {', '.join(missing)}")
            self._execute(
                f"CREATE TABLE IF NOT EXISTS {joining.SEGMENTS} "
                "(segment VARCHAR PRIMARY KEY, taken_up_at TIMESTAMPTZ NOT NULL)"
            )
            if self._connection.execute(
                f"SELECT 1 FROM {joining.SEGMENTS} WHERE segment = ?",
                [segment],
            ).fetchall():
                return None
            self._connection.execute(f"INSERT INTO {joining.SEGMENTS} VALUES (?, now())", [segment]).fetchall()
            self._connection.register("new_answers", answers)
            self._connection.register("new_events", events)
            answer_count = self._execute(joining.add_answers(_quote))
            self._execute(joining.complete_events(_quote))
            event_count = self._execute(joining.add_events(_quote))
            self._connection.unregister("new_answers")
            self._connection.unregister("new_events")
            preference_count = 0
            if is_said:
                self._connection.register("new_preferences", preferences)
                preference_count = self._execute(joining.add_preferences(_quote))
                self._connection.unregister("new_preferences")
            return TakenUp(answer_count, event_count, events.num_rows - event_count, preference_count)

    def _types(self, table: Table) -> dict[str, str]:
        with self._sentences():
            rows = self._connection.execute(
                "SELECT lower(column_name), data_type FROM information_schema.columns "
                "WHERE table_schema = current_schema() AND table_catalog = current_database() "
                "AND lower(table_name) = ? ORDER BY ordinal_position",
                [table.name],
            ).fetchall()
        return dict(rows)

    def _required(self, table: Table) -> dict[str, str]:
        types = self._types(table)
        if not types:
            raise DataError(f"the warehouse {self._path} has no table {table.name}")
        return types

    def _execute(self, sql: str) -> int:
        """Run a statement; returns the count that DuckDB answers an insert or update with."""
        rows = self._connection.execute(sql).fetchall()
        return int(rows[0][0]) if rows else 0

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._sentences():
            self._execute("BEGIN TRANSACTION")
            try:
                yield
            except BaseException:
                self._execute("ROLLBACK")
                raise
            self._execute("COMMIT")

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except duckdb.Error as error:
            raise _sentence(self._path, error) from None


class _Remembering:
    """Batches that remember what ended them."""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self._batches = batches
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._batches
        except BaseException as error:
            self.error = error
            raise


def _quote(name: str) -> str:
    return f'"{name}"'


def _columns_of(table: Table) -> str:
    return ", ".join(f"{_quote(field.name)} {_sql_type(field.dtype)}" for field in table)


def _sql_type(dtype: Dtype | Array) -> str:
    return f"{_SQL_TYPES[dtype.element]}[]" if isinstance(dtype, Array) else _SQL_TYPES[dtype]


def _day_of(microseconds: int) -> date:
    return datetime.fromtimestamp(microseconds // 1_000_000, UTC).date()


def _sentence(path: Path, error: duckdb.Error) -> MarqueeError:
    first = str(error).splitlines()[0]
    if "not a valid DuckDB database" in first:
        return DataError(f"the warehouse {path} is not a DuckDB database")
    if "Could not set lock" in first or "different configuration" in first:
        return UnavailableError(f"the warehouse {path} is held by another process: one writes or many read")
    if isinstance(error, duckdb.OperationalError):
        return UnavailableError(f"the warehouse {path} cannot be used: {first}")
    return DataError(f"the warehouse {path}: {first}")
