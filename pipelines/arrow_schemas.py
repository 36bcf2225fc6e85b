"""Arrow schemas derived from the declarations."""

import pyarrow as pa

from feature_defs.declarations import Array, Dtype, Table

_ARROW_TYPES: dict[Dtype, pa.DataType] = {
    Dtype.BOOL: pa.bool_(),
    Dtype.INT16: pa.int16(),
    Dtype.INT32: pa.int32(),
    Dtype.INT64: pa.int64(),
    Dtype.FLOAT32: pa.float32(),
    Dtype.FLOAT64: pa.float64(),
    Dtype.STRING: pa.string(),
    Dtype.TIMESTAMP: pa.timestamp("us", tz="UTC"),
    Dtype.DATE: pa.date32(),
}


def arrow_type(dtype: Dtype | Array) -> pa.DataType:
    """The Arrow type of a declared one."""
    if isinstance(dtype, Array):
        return pa.list_(_ARROW_TYPES[dtype.element])
    return _ARROW_TYPES[dtype]


def arrow_schema(table: Table) -> pa.Schema:
    """The Arrow schema of a table, its columns in declared order; nulls are for the checks to refuse."""
    return pa.schema([pa.field(field.name, arrow_type(field.dtype)) for field in table])
