"""Is a batch of rows as its table is declared? Vectorised, milliseconds, on every write.

`conform` brings rows into the declared columns and types; `breaches` holds each rule against them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from feature_defs.declarations import Array, Between, Field, Near, NotNull, OneOf, Rule, Severity, Table
from pipelines.arrow_schemas import arrow_schema
from pipelines.errors import DataError


@dataclass(frozen=True)
class Breach:
    """A rule that some rows break: which column, which rule in words, how many rows, and which."""

    column: str
    rule: str
    severity: Severity
    rows: pa.BooleanArray

    @property
    def count(self) -> int:
        """How many rows break the rule."""
        return int(pc.sum(self.rows).as_py() or 0)

    def __str__(self) -> str:
        return f"{self.column} {self.rule} ({self.count:,} row{'' if self.count == 1 else 's'})"


def conform(table: Table, rows: pa.Table, *, beside: Sequence[str] = ()) -> pa.Table:
    """Rows with exactly the declared columns (and those named in `beside`), in order and of the declared types.

    A column that is not declared is dropped. Integers and floats are cast where no value is lost.

    Raises:
        DataError: if a column is missing or its values do not fit the declared type; names the columns.
    """
    schema = arrow_schema(table)
    missing = [name for name in schema.names if name not in rows.schema.names]
    if missing:
        extra = [name for name in rows.schema.names if name not in schema.names and name not in beside]
        hint = f"; columns that are not declared: {', '.join(extra)} (renamed?)" if extra else ""
        raise DataError(f"{table.name} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}{hint}")
    columns = []
    for field in schema:
        column = rows.column(field.name)
        try:
            columns.append(column if column.type == field.type else _cast(column, field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(
                f"{table.name}.{field.name} is of type {column.type} where {field.type} is declared ({_first(error)})"
            ) from None
    return pa.table([*columns, *(rows.column(name) for name in beside)], names=[*schema.names, *beside])


def _cast(column: pa.ChunkedArray, dtype: pa.DataType) -> pa.ChunkedArray:
    textual = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if textual != pa.types.is_string(dtype) and not pa.types.is_null(column.type):
        # Arrow would parse text, and print numbers as text, without a word.
        raise pa.ArrowInvalid("text is not converted")
    if pa.types.is_timestamp(column.type) and column.type.tz is None and pa.types.is_timestamp(dtype):
        column = pc.assume_timezone(column.cast(pa.timestamp("us")), "UTC")
    if pa.types.is_floating(dtype):
        return column.cast(dtype, safe=False)  # a double does not fit a float to the last bit, and need not
    return column.cast(dtype)


def _first(error: Exception) -> str:
    return str(error).splitlines()[0][:120]


def breaches(table: Table, rows: pa.Table) -> list[Breach]:
    """Every rule of the table that some of these conforming rows break, in the order of the declaration."""
    found = []
    for field in table:
        for rule in field.rules:
            broken = _broken(field, rule, rows)
            breach = Breach(field.name, in_words(rule), rule.severity, broken)
            if breach.count:
                found.append(breach)
    return found


def in_words(rule: Rule) -> str:
    """A rule as the end of a sentence that begins with the column's name."""
    match rule:
        case NotNull():
            return "must not be null"
        case Between(low=None, high=high):
            return f"must be at most {high}"
        case Between(low=low, high=None):
            return f"must be at least {low}"
        case Between(low=low, high=high):
            return f"must lie between {low} and {high}"
        case OneOf(values=values):
            return f"must be one of {', '.join(values)}"
        case Near(other=other, before=before, after=after):
            return f"must lie at most {before.days} days before and {after.days} days after {other}"


def _broken(field: Field, rule: Rule, rows: pa.Table) -> pa.BooleanArray:
    column = rows.column(field.name).combine_chunks()
    if isinstance(rule, NotNull):
        return _or_element(field, column, pc.is_null, outer=pc.is_null(column))
    if isinstance(rule, Between):
        return _or_element(field, column, lambda values: _outside(values, rule))
    if isinstance(rule, OneOf):
        allowed = pa.array(rule.values, pa.string())
        return _or_element(
            field, column, lambda values: pc.and_(pc.is_valid(values), pc.invert(pc.is_in(values, value_set=allowed)))
        )
    other = rows.column(rule.other).combine_chunks()
    early = pc.less(column, pc.subtract(other, pa.scalar(rule.before)))
    late = pc.greater(column, pc.add(other, pa.scalar(rule.after)))
    return pc.or_(early, late).fill_null(False)


def _or_element(field, column, test, outer=None) -> pa.BooleanArray:  # type: ignore[no-untyped-def]
    """A test of each value, or for a list of each element: a row breaks a rule when one of its elements does."""
    if not isinstance(field.dtype, Array):
        return test(column).fill_null(False)
    broken_rows = pc.unique(pc.list_parent_indices(column).filter(test(column.flatten()).fill_null(False)))
    in_elements = pc.is_in(pa.array(range(len(column)), pa.int64()), value_set=broken_rows.cast(pa.int64()))
    return in_elements if outer is None else pc.or_(outer, in_elements)


def _outside(values: pa.Array, rule: Between) -> pa.BooleanArray:
    broken = pa.array([], pa.bool_()) if len(values) == 0 else pc.is_null(values, nan_is_null=True)
    broken = pc.and_(broken, pc.is_valid(values))  # NaN, not null
    if rule.low is not None:
        broken = pc.or_(broken, pc.less(values, pa.scalar(rule.low)).fill_null(False))
    if rule.high is not None:
        broken = pc.or_(broken, pc.greater(values, pa.scalar(rule.high)).fill_null(False))
    return broken


def repeated_keys(table: Table, rows: pa.Table) -> Breach | None:
    """The rows whose key an earlier row has too; the rows must be sorted by the key."""
    if rows.num_rows < 2:
        return None
    same = pa.array([True] * (rows.num_rows - 1))
    for name in ("day", *table.key) if "day" in rows.schema.names else table.key:
        column = rows.column(name).combine_chunks()
        equal = pc.equal(column[1:], column[:-1]).fill_null(False)
        both_null = pc.and_(pc.is_null(column[1:]), pc.is_null(column[:-1]))
        same = pc.and_(same, pc.or_(equal, both_null))
    breach = Breach(
        ", ".join(table.key), "must be unique", Severity.CRITICAL, pa.concat_arrays([pa.array([False]), same])
    )
    return breach if breach.count else None
