"""The warehouse in Snowflake, for more users than one machine holds.

Timestamps are read as microseconds since 1970, so that neither the offset in which a value was stored, nor a column
without a time zone (taken to be UTC), nor a year beyond the reach of 64-bit nanoseconds changes what arrives.
"""

# Statements are put together from declared names alone; values are bound.
# ruff: noqa: S608

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow as pa
import pyarrow.compute as pc
import snowflake.connector
from snowflake.connector.errors import DatabaseError, Error, OperationalError, ProgrammingError

from feature_defs.declarations import Array, Dtype, Table
from feature_defs.events import ANSWERS, EVENTS
from feature_defs.users import PREFERENCES
from pipelines.arrow_schemas import arrow_schema
from pipelines.errors import DataError, MarqueeError, UnavailableError, UsageError
from pipelines.warehouse import joining
from pipelines.warehouse.arrival import in_declared_types
from pipelines.warehouse.interface import TakenUp

_SQL_TYPES: dict[Dtype, str] = {
    Dtype.BOOL: "BOOLEAN",
    Dtype.INT16: "NUMBER(38,0)",
    Dtype.INT32: "NUMBER(38,0)",
    Dtype.INT64: "NUMBER(38,0)",
    Dtype.FLOAT32: "FLOAT",
    Dtype.FLOAT64: "FLOAT",
    Dtype.STRING: "VARCHAR",
    Dtype.TIMESTAMP: "TIMESTAMP_LTZ",
    Dtype.DATE: "DATE",
}
_DAY_US = 86_400_000_000
_FORM = "snowflake://USER@ACCOUNT/DATABASE/SCHEMA?warehouse=NAME&role=NAME"
# Where the service is reached otherwise than by the name of its account: a private link, a proxy.
_ROUTE = ("host", "port", "protocol")


def connection_parameters(url: str) -> dict[str, str]:
    """The connector's arguments in a URL of the form above; `host`, `port` and `protocol` may be given in the query.

    Raises:
        UsageError: if a part is missing, one is unknown, or the URL holds a password.
    """
    parts = urlsplit(url)
    path = [unquote(part) for part in parts.path.strip("/").split("/")]
    if parts.scheme != "snowflake" or not parts.username or not parts.hostname or len(path) != 2 or not all(path):
        raise UsageError(f"the setting MARQUEE_WAREHOUSE must be of the form {_FORM}")
    if parts.password is not None:
        raise UsageError("the setting MARQUEE_WAREHOUSE holds a password: give it as MARQUEE_SNOWFLAKE_PASSWORD")
    query = dict(parse_qsl(parts.query))
    unknown = sorted(set(query) - {"warehouse", "role", *_ROUTE})
    if unknown:
        raise UsageError(f"the setting MARQUEE_WAREHOUSE has an unknown part {', '.join(unknown)}: the form is {_FORM}")
    account = parts.netloc.rpartition("@")[2]  # as written: urlsplit would lower its case
    return {"user": unquote(parts.username), "account": account, "database": path[0], "schema": path[1], **query}


class SnowflakeWarehouse:
    """The warehouse in a schema of Snowflake (`pipelines.warehouse.interface`)."""

    def __init__(self, url: str, password: str) -> None:
        """Connect.

        Raises:
            UsageError: if the URL is not of the form that `connection_parameters` reads.
            UnavailableError: if the account does not answer or does not let us in.
        """
        parameters = connection_parameters(url)
        self._name = f"{parameters['account']}/{parameters['database']}/{parameters['schema']}"
        with self._sentences():
            self._connection = snowflake.connector.connect(
                **parameters,
                password=password,
                paramstyle="qmark",
                login_timeout=30,
                session_parameters={"TIMEZONE": "UTC", "CLIENT_OUT_OF_BAND_TELEMETRY_ENABLED": False},
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()

    def columns(self, table: Table) -> tuple[str, ...]:
        """See `Warehouse.columns`."""
        return tuple(self._names(table))

    def days(self, table: Table) -> tuple[date, date] | None:
        """See `Warehouse.days`."""
        names = self._required(table)
        if table.day_of is None or table.day_of not in names:
            return None
        clock = _microseconds(names[table.day_of])
        low, high = self._rows(f"SELECT MIN({clock}), MAX({clock}) FROM {table.name}")[0]
        return None if low is None else (_day_of(low), _day_of(high))

    def read_day(self, table: Table, day: date) -> Iterator[pa.RecordBatch]:
        """See `Warehouse.read_day`."""
        return self.read_days(table, day, day)

    def read_days(self, table: Table, first_day: date, last_day: date) -> Iterator[pa.RecordBatch]:
        """See `Warehouse.read_days`."""
        there = self._required(table)
        names = [name for name in table.names if name in there]
        if not names:
            raise DataError(f"{table.name} in the warehouse {self._name} has none of the declared columns")
        chosen = ", ".join(f"{_read(table, name, there[name])} AS {_quote(name)}" for name in names)
        order = [there[name] for name in table.key if name in there]
        where = "TRUE"
        if table.day_of is not None and table.day_of in there:
            day_of = there[table.day_of]
            first, after = first_day.isoformat(), (last_day + timedelta(days=1)).isoformat()
            where = " AND ".join(
                f"{day_of} {sign} '{day}T00:00:00+00:00'::TIMESTAMP_TZ" for sign, day in ((">=", first), ("<", after))
            )
            order = [f"FLOOR({_microseconds(day_of)} / {_DAY_US})", *order] if last_day > first_day else order
        elif table.day_of is not None:
            where = "FALSE"  # without its day no row can be chosen; what is missing is named from the columns
        sql = f"SELECT {chosen} FROM {table.name} WHERE {where}"
        return self._stream(table, names, f"{sql} ORDER BY {', '.join(order)}" if order else sql)

    def _stream(self, table: Table, names: list[str], sql: str) -> Iterator[pa.RecordBatch]:
        with self._sentences():
            cursor = self._connection.cursor()
            cursor.execute(sql)
            is_empty = True
            for piece in cursor.fetch_arrow_batches():
                for batch in piece.rename_columns(names).combine_chunks().to_batches():
                    if batch.num_rows:
                        is_empty = False
                        yield in_declared_types(table, _with_timestamps(table, batch))
        if is_empty:
            schema = pa.schema([arrow_schema(table).field(name) for name in names])
            yield pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)

    def replace_all(self, rows: Mapping[Table, Iterable[pa.RecordBatch]]) -> dict[str, int]:
        """See `LoadableWarehouse.replace_all`."""
        with self._staging() as places:
            staged = {table: self._stage(places, table, batches) for table, batches in rows.items()}
            for table, place in staged.items():
                self._refuse_repeated(table, place)
                self._make(table)
            with self._transaction():
                return {table.name: self._replace(table, place) for table, place in staged.items()}

    def _replace(self, table: Table, place: str) -> int:
        columns = ", ".join(map(_quote, table.names))
        self._count(f"DELETE FROM {table.name}")
        return self._count(f"INSERT INTO {table.name} ({columns}) SELECT {columns} FROM {place}")

    def _refuse_repeated(self, table: Table, place: str) -> None:
        keys = ", ".join(map(_quote, table.key))
        repeated = self._rows(f"SELECT {keys} FROM {place} GROUP BY {keys} HAVING COUNT(*) > 1 ORDER BY {keys} LIMIT 1")
        if repeated:
            named = ", ".join(f"{name} {value}" for name, value in zip(table.key, repeated[0], strict=True))
            raise DataError(f"{table.name}: {named} is there more than once; nothing was loaded")

    def take_up(self, segment: str, answers: pa.Table, events: pa.Table, preferences: pa.Table) -> TakenUp | None:
        """See `LoadableWarehouse.take_up`."""
        # Everything that is DDL comes first: Snowflake commits the transaction in which it finds any.
        self._rows(f"CREATE TABLE IF NOT EXISTS {joining.SEGMENTS} (segment VARCHAR, taken_up_at TIMESTAMP_LTZ)")
        self._count(
            f"INSERT INTO {joining.SEGMENTS} SELECT '', CURRENT_TIMESTAMP() "
            f"WHERE NOT EXISTS (SELECT 1 FROM {joining.SEGMENTS} WHERE segment = '')"
        )
        is_said = preferences.num_rows > 0
        for table in (ANSWERS, EVENTS, *([PREFERENCES] if is_said else [])):
            self._make(table)
        with self._staging() as places:
            relations = {
                "new_answers": self._stage(places, ANSWERS, answers.to_batches()),
                "new_events": self._stage(places, EVENTS, events.to_batches()),
            }
            if is_said:
                relations["new_preferences"] = self._stage(places, PREFERENCES, preferences.to_batches())
            with self._transaction():
                # No key is enforced here, but an update locks: of two loads at once, one waits at this line.
                self._count(f"UPDATE {joining.SEGMENTS} SET taken_up_at = CURRENT_TIMESTAMP() WHERE segment = ''")
                if self._rows(f"SELECT 1 FROM {joining.SEGMENTS} WHERE segment = ?", segment):
                    return None
                self._count(f"INSERT INTO {joining.SEGMENTS} SELECT ?, CURRENT_TIMESTAMP()", segment)
                answer_count = self._count(_over(relations, joining.add_answers(_quote)))
                self._count(_over(relations, joining.complete_events(_quote)))
                event_count = self._count(_over(relations, joining.add_events(_quote)))
                said = joining.add_preferences(_quote)
                preference_count = self._count(_over(relations, said)) if is_said else 0
        return TakenUp(answer_count, event_count, events.num_rows - event_count, preference_count)

    def _make(self, table: Table) -> None:
        columns = ", ".join(f"{_quote(field.name)} {_sql_type(field.dtype)}" for field in table)
        self._rows(f"CREATE TABLE IF NOT EXISTS {table.name} ({columns})")
        missing = [name for name in table.names if name not in self._names(table)]
        if missing:
            raise DataError(f"{table.name} in the warehouse {self._name} lacks {', '.join(missing)}")

    @contextmanager
    def _staging(self) -> Iterator[list[str]]:
        """Names of temporary tables of this session, which are dropped at the end of the block."""
        places: list[str] = []
        try:
            yield places
        finally:
            for place in places:
                self._rows(f"DROP TABLE IF EXISTS {place}")

    def _stage(self, places: list[str], table: Table, batches: Iterable[pa.RecordBatch]) -> str:
        """The name of a temporary table that holds these rows in Snowflake's types of the declared ones."""
        place = f"marquee_{table.name}_{uuid.uuid4().hex[:12]}"
        text = f"{place}_text"
        places += [place, text]
        # Values travel as text: a batch of bindings has one type a column, and text holds every value exactly.
        self._rows(f"CREATE TEMPORARY TABLE {text} ({', '.join(f'{_quote(name)} VARCHAR' for name in table.names)})")
        into = f"INSERT INTO {text} VALUES ({', '.join('?' * len(table.names))})"
        for batch in batches:
            values = [_as_text(batch.column(name)) for name in table.names]
            if batch.num_rows:
                with self._sentences():
                    self._connection.cursor().executemany(into, list(zip(*values, strict=True)))
        typed = ", ".join(f"{_from_text(field.name, field.dtype)} AS {_quote(field.name)}" for field in table)
        self._rows(f"CREATE TEMPORARY TABLE {place} AS SELECT {typed} FROM {text}")
        return place

    def _names(self, table: Table) -> dict[str, str]:
        """The identifier of each column by its name in lower case."""
        rows = self._rows(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = CURRENT_SCHEMA() "
            "AND table_name = ? ORDER BY ordinal_position",
            table.name.upper(),
        )
        return {name.lower(): '"' + name + '"' for (name,) in rows}

    def _required(self, table: Table) -> dict[str, str]:
        names = self._names(table)
        if not names:
            raise DataError(f"the warehouse {self._name} has no table {table.name}")
        return names

    def _rows(self, sql: str, *values: str) -> list[tuple[Any, ...]]:
        with self._sentences():
            cursor = self._connection.cursor()
            cursor.execute(sql, values or None)
            return list(cursor.fetchall())

    def _count(self, sql: str, *values: str) -> int:
        """Run a statement that changes rows; returns how many."""
        with self._sentences():
            cursor = self._connection.cursor()
            cursor.execute(sql, values or None)
            return int(cursor.rowcount or 0)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._rows("BEGIN")
        try:
            yield
        except BaseException:
            self._rows("ROLLBACK")
            raise
        self._rows("COMMIT")

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        try:
            yield
        except Error as error:
            raise _sentence(self._name, error) from None


def _quote(name: str) -> str:
    # Quoted because `cast` is reserved; in capitals because that is how Snowflake keeps a name that is not.
    return f'"{name.upper()}"'


def _sql_type(dtype: Dtype | Array) -> str:
    return "ARRAY" if isinstance(dtype, Array) else _SQL_TYPES[dtype]


def _microseconds(identifier: str) -> str:
    return f"DATE_PART(EPOCH_MICROSECOND, {identifier})"


def _read(table: Table, name: str, identifier: str) -> str:
    return _microseconds(identifier) if table[name].dtype is Dtype.TIMESTAMP else identifier


def _with_timestamps(table: Table, batch: pa.RecordBatch) -> pa.RecordBatch:
    columns = [
        batch.column(name).cast(pa.int64()).cast(pa.timestamp("us", tz="UTC"))
        if table[name].dtype is Dtype.TIMESTAMP
        else batch.column(name)
        for name in batch.schema.names
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _as_text(column: pa.Array) -> list[str | None]:
    if pa.types.is_list(column.type):
        return [None if value is None else json.dumps(value, ensure_ascii=False) for value in column.to_pylist()]
    if pa.types.is_timestamp(column.type):
        return [
            None if text is None else f"{text}+00:00" for text in pc.strftime(column, "%Y-%m-%dT%H:%M:%S").to_pylist()
        ]
    if pa.types.is_floating(column.type):
        return [None if value is None else repr(value) for value in column.to_pylist()]
    texts: list[str | None] = column.cast(pa.string()).to_pylist()
    return texts


def _from_text(name: str, dtype: Dtype | Array) -> str:
    identifier = _quote(name)
    if isinstance(dtype, Array):
        return f"PARSE_JSON({identifier})::ARRAY"
    return f"{identifier}::{_SQL_TYPES[dtype]}"


def _over(relations: Mapping[str, str], sql: str) -> str:
    for name, place in relations.items():
        sql = sql.replace(name, place)
    return sql


def _day_of(microseconds: int) -> date:
    return datetime.fromtimestamp(int(microseconds) // 1_000_000, UTC).date()


def _sentence(name: str, error: Error) -> MarqueeError:
    first = (str(error).splitlines() or [""])[0]
    # Only what a statement itself got wrong is about the data; an account that refuses us may do so for a while.
    if isinstance(error, ProgrammingError):
        return DataError(f"the warehouse {name}: {first}")
    if isinstance(error, OperationalError | DatabaseError):
        return UnavailableError(f"the warehouse {name} does not answer: {first}")
    return UnavailableError(f"the warehouse {name} cannot be used: {first}")
