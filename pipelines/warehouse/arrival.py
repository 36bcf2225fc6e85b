"""From the types in which columns arrive from a warehouse to the declared ones."""

import json

import pyarrow as pa
import pyarrow.compute as pc

from feature_defs.declarations import Table
from pipelines.arrow_schemas import arrow_type
from pipelines.errors import DataError


def in_declared_types(table: Table, batch: pa.RecordBatch) -> pa.RecordBatch:
    """The declared columns that are there, in declared order and of the declared types.

    Integers of any width and decimals without a fraction become the declared integer, timestamps become UTC
    microseconds (those without a time zone are taken to be UTC), and lists may arrive as JSON text.

    Raises:
        DataError: if values do not fit; names the column, its type and the declared one.
    """
    columns, names = [], []
    for field in table:
        if field.name not in batch.schema.names:
            continue
        column, wanted = batch.column(field.name), arrow_type(field.dtype)
        try:
            columns.append(_cast(column, wanted))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError, TypeError) as error:
            reason = str(error).splitlines()[0][:120]
            raise DataError(
                f"{table.name}.{field.name} is of type {column.type} in the warehouse where {wanted} is declared"
                f" ({reason})"
            ) from None
        names.append(field.name)
    return pa.RecordBatch.from_arrays(columns, names=names)


def _cast(column: pa.Array, wanted: pa.DataType) -> pa.Array:
    if column.type == wanted:
        return column
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_null(column.type):
        return column.cast(wanted)
    if pa.types.is_list(wanted) and is_text(column.type):
        return _lists_from_json(column, wanted)
    if is_text(column.type) != is_text(wanted):
        # Arrow would parse text, and print numbers as text, without a word.
        raise pa.ArrowInvalid("text is not converted")
    if pa.types.is_timestamp(wanted) and pa.types.is_timestamp(column.type):
        # Nanoseconds are cut: nothing here is told apart by them.
        in_microseconds = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False)
        return in_microseconds.cast(wanted) if column.type.tz else pc.assume_timezone(in_microseconds, "UTC")
    if pa.types.is_floating(wanted):
        return column.cast(wanted, safe=False)  # a double does not fit a float to the last bit, and need not
    return column.cast(wanted)


def is_text(dtype: pa.DataType) -> bool:
    """Whether the type is text of any kind."""
    return bool(pa.types.is_string(dtype) or pa.types.is_large_string(dtype) or pa.types.is_string_view(dtype))


def _lists_from_json(column: pa.Array, wanted: pa.DataType) -> pa.Array:
    # A catalogue has tens of thousands of such values, not millions: the parser of the standard library will do.
    lists = [None if text is None else json.loads(text) for text in column.to_pylist()]
    if not all(value is None or isinstance(value, list) for value in lists):
        raise pa.ArrowInvalid("the text is not a JSON list")
    return pa.array(lists, wanted)
