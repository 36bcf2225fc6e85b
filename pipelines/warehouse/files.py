"""A user's own files as a warehouse: events, items and users, each as Parquet or CSV, in; batches of declared rows out.

A column that may be null may be absent; one that is not declared is not read. In CSV an empty value is null, a list is
written `Drama|Comedy`, a moment `2026-01-31T20:15:00Z` (without a zone it is taken to be UTC); the first line names the
columns. Files are read in pieces, so that they may be larger than memory.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from feature_defs.declarations import Array, Dtype, Field, Table
from feature_defs.events import EVENTS
from feature_defs.items import ITEMS
from feature_defs.users import PROTECTED_ATTRIBUTES, USERS
from pipelines.arrow_schemas import arrow_type
from pipelines.errors import DataError, UnavailableError
from pipelines.warehouse.arrival import is_text
from pipelines.warehouse.interface import BATCH_ROWS

_OPTIONAL = (PROTECTED_ATTRIBUTES,)
_BLOCK_BYTES = 16 << 20
_EXPECTED = {
    Dtype.BOOL: "true or false",
    Dtype.INT16: "an integer",
    Dtype.INT32: "an integer",
    Dtype.INT64: "an integer",
    Dtype.FLOAT32: "a number",
    Dtype.FLOAT64: "a number",
    Dtype.TIMESTAMP: "a moment such as 2026-01-31T20:15:00Z",
    Dtype.DATE: "a date such as 2026-01-31",
}


def read_files(folder: Path) -> Mapping[Table, Iterator[pa.RecordBatch]]:
    """The declared tables of a folder with `events`, `items`, `users` and perhaps `protected_attributes`.

    The batches have exactly the declared columns and types; the rules of the declarations are for their reader to hold
    against them. That a file and its columns are there is checked before anything is read.

    Raises:
        UnavailableError: if the folder or a file is not there or cannot be read.
        DataError: if a file is not what its name says, lacks a required column, or has a value of a wrong type; names
            the file, the row and the column.
    """
    if not folder.is_dir():
        raise UnavailableError(f"there is no folder {folder}")
    return {table: _read(table, _file_of(table, folder)) for table in (EVENTS, ITEMS, USERS, PROTECTED_ATTRIBUTES)}


def _file_of(table: Table, folder: Path) -> Path | None:
    there = [path for path in (folder / f"{table.name}.parquet", folder / f"{table.name}.csv") if path.is_file()]
    if len(there) > 1:
        raise DataError(f"the folder {folder} holds both {there[0].name} and {there[1].name}: leave one")
    if not there and table not in _OPTIONAL:
        raise UnavailableError(f"the folder {folder} holds neither {table.name}.parquet nor {table.name}.csv")
    return there[0] if there else None


def _read(table: Table, path: Path | None) -> Iterator[pa.RecordBatch]:
    if path is None:
        return iter(())
    try:
        if path.suffix == ".csv":
            source = pyarrow.csv.open_csv(
                path,
                pyarrow.csv.ReadOptions(block_size=_BLOCK_BYTES),
                pyarrow.csv.ParseOptions(newlines_in_values=True),
                # All as text: what a column is says its declaration, not a guess at its first rows.
                pyarrow.csv.ConvertOptions(column_types=_as_text(path), strings_can_be_null=False),
            )
            names, batches = source.schema.names, iter(source)
        else:
            file = pyarrow.parquet.ParquetFile(path)
            names = file.schema_arrow.names
            wanted = [name for name in table.names if name in names]
            batches = file.iter_batches(BATCH_ROWS, columns=wanted)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None
    repeated = sorted({name for name in names if name in table.names and names.count(name) > 1})
    if repeated:
        raise DataError(f"{path} has the column {repeated[0]} twice")
    missing = [field.name for field in table if field.is_required and field.name not in names]
    if missing:
        raise DataError(f"{path} lacks {_columns(missing)}, which every row must have")
    return _declared(table, path, batches)


def _columns(names: list[str]) -> str:
    return f"the column{'s' if len(names) > 1 else ''} {', '.join(names)}"


def _as_text(path: Path) -> dict[str, pa.DataType]:
    # The reader takes types by name only, so the names are read first.
    options = pyarrow.csv.ReadOptions(block_size=_BLOCK_BYTES)
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    with pyarrow.csv.open_csv(path, options, parse) as source:
        return dict.fromkeys(source.schema.names, pa.string())


def _declared(table: Table, path: Path, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    row_count = 0
    try:
        for batch in batches:
            columns = [_column(field, batch, path, row_count) for field in table]
            yield pa.RecordBatch.from_arrays(columns, names=list(table.names))
            row_count += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None


def _column(field: Field, batch: pa.RecordBatch, path: Path, rows_before: int) -> pa.Array:
    """One declared column of a batch; null where the file has none."""
    wanted = arrow_type(field.dtype)
    if field.name not in batch.schema.names:
        return pa.nulls(batch.num_rows, wanted)
    column = batch.column(field.name)
    if is_text(column.type) and field.dtype is not Dtype.STRING:
        return _parsed(field, column, path, rows_before)
    if field.dtype is Dtype.STRING and path.suffix == ".csv":
        text = pl.Series(column)
        return text.set(text == "", None).to_arrow().cast(wanted)
    try:
        if pa.types.is_timestamp(wanted) and not pa.types.is_timestamp(column.type):
            raise pa.ArrowInvalid("it is not a timestamp")
        if pa.types.is_timestamp(wanted):
            column = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False)
        return column.cast(wanted, safe=not pa.types.is_floating(wanted))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        reason = str(error).splitlines()[0][:120]
        raise DataError(
            f"{path}: {field.name} is of type {column.type} where {wanted} is declared ({reason})"
        ) from None


def _parsed(field: Field, column: pa.Array, path: Path, rows_before: int) -> pa.Array:
    text = pl.Series("text", column).str.strip_chars()
    text = text.set(text == "", None)
    if isinstance(field.dtype, Array):
        lists = text.str.split("|")
        element = field.dtype.element
        if element is not Dtype.STRING:
            parts = lists.explode()
            _refuse_unparsed(field, element, parts, _values(element, parts), path, None)
            lists = lists.cast(pl.List(pl.Float64 if "float" in element.value else pl.Int64))
        return lists.to_arrow().cast(arrow_type(field.dtype))
    values = _values(field.dtype, text)
    _refuse_unparsed(field, field.dtype, text, values, path, rows_before)
    return values.to_arrow().cast(arrow_type(field.dtype), safe=False)


def _refuse_unparsed(
    field: Field, dtype: Dtype, text: pl.Series, values: pl.Series, path: Path, rows_before: int | None
) -> None:
    wrong = (values.is_null() & text.is_not_null()).arg_true()
    if len(wrong):
        row = "" if rows_before is None else f", row {rows_before + wrong[0] + 1:,}"
        raise DataError(f"{path}{row}: {field.name} is {text[wrong[0]]!r}, and must be {_EXPECTED[dtype]}")


def _values(dtype: Dtype, text: pl.Series) -> pl.Series:
    """The values of text, null where it is not of the type."""
    match dtype:
        case Dtype.BOOL:
            return text.str.to_lowercase().replace_strict(
                {"true": True, "false": False, "1": True, "0": False}, default=None, return_dtype=pl.Boolean
            )
        case Dtype.INT16 | Dtype.INT32 | Dtype.INT64:
            return text.cast({"int16": pl.Int16, "int32": pl.Int32}.get(dtype.value, pl.Int64), strict=False)
        case Dtype.FLOAT32 | Dtype.FLOAT64:
            return text.cast(pl.Float64, strict=False)
        case Dtype.DATE:
            return text.str.to_date(strict=False)
        case Dtype.TIMESTAMP:
            return _moments(text)
        case Dtype.STRING:
            return text


def _moments(text: pl.Series) -> pl.Series:
    """UTC microseconds of ISO 8601 text, with an offset, a Z or nothing, date and time apart by a T or a space."""
    frame = text.to_frame("text").with_columns(
        zone=pl.col("text").str.extract(r"[ T].*?(Z|[+-]\d{2}(?::?\d{2})?)$"),
        clock=pl.col("text").str.replace(r"([ T].*?)\s*(Z|[+-]\d{2}(?::?\d{2})?)$", "${1}").str.replace(" ", "T"),
    )
    clock = pl.coalesce(
        pl.col("clock").str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", strict=False, time_unit="us"),
        pl.col("clock").str.to_datetime("%Y-%m-%dT%H:%M", strict=False, time_unit="us"),
        pl.col("clock").str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us")),
    )
    # PostgreSQL and DuckDB write whole hours without minutes.
    digits = pl.col("zone").str.replace(":", "").str.pad_end(5, "0")
    minutes = digits.str.slice(1, 2).cast(pl.Int64, strict=False) * 60 + digits.str.slice(3, 2).cast(
        pl.Int64, strict=False
    )
    offset = pl.when(digits.str.starts_with("-")).then(-minutes).otherwise(minutes).fill_null(0)
    moments = (clock - pl.duration(minutes=offset)).dt.replace_time_zone("UTC")
    return frame.select(moments.alias("moment")).to_series()


def _unreadable(path: Path, error: Exception) -> DataError | UnavailableError:
    reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
    if isinstance(error, OSError) and not isinstance(error, pa.ArrowException):
        return UnavailableError(f"{path} cannot be read: {error.strerror or reason}")
    return DataError(f"{path} cannot be read as {path.suffix[1:]}: {reason}")
