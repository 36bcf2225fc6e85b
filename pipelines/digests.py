"""What a table's content is, in one word: a digest that says whether two tables hold the same rows.

It is taken over the rows in their declared sort order, column by column, so that it depends neither on how the rows
were cut into batches or files nor on when or by whom they were written.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc


class ContentDigest:
    """The digest of rows that arrive batch by batch, in their declared order."""

    def __init__(self, schema: pa.Schema) -> None:
        self._names = schema.names
        # Lengths, validity and values of a column are hashed apart: in one hash they would interleave batch by batch.
        self._parts: dict[str, hashlib._Hash] = {}
        self.row_count = 0

    def update(self, batch: pa.RecordBatch) -> None:
        """Take in the next rows; the columns must be those of the schema, in its order."""
        self.row_count += batch.num_rows
        for name, column in zip(self._names, batch.columns, strict=True):
            self._feed(name, column)

    def hexdigest(self) -> str:
        """32 hexadecimal digits."""
        whole = hashlib.sha256()
        for name in sorted(self._parts):
            whole.update(name.encode() + b"\0" + self._parts[name].digest())
        return whole.hexdigest()[:32]

    def _feed(self, name: str, array: pa.Array) -> None:
        self._add(f"{name}.valid", array.is_valid())
        if pa.types.is_list(array.type):
            self._add(f"{name}.length", pc.list_value_length(array).fill_null(0))
            self._feed(f"{name}.element", array.flatten())
        elif pa.types.is_string(array.type):
            self._add(f"{name}.length", pc.binary_length(array).fill_null(0))
            self._part(f"{name}.value").update("".join(array.fill_null("").to_pylist()).encode())
        else:
            self._add(f"{name}.value", array if array.null_count == 0 else array.fill_null(_zero(array.type)))

    def _add(self, name: str, array: pa.Array) -> None:
        self._part(name).update(array.to_numpy(zero_copy_only=False).tobytes())

    def _part(self, name: str) -> "hashlib._Hash":
        return self._parts.setdefault(name, hashlib.sha256())


def _zero(dtype: pa.DataType) -> pa.Scalar:
    if pa.types.is_boolean(dtype):
        return pa.scalar(value=False)
    return pa.scalar(0, pa.int64() if pa.types.is_temporal(dtype) and dtype.bit_width == 64 else pa.int32()).cast(dtype)


def digest_of(value: Mapping[str, object]) -> str:
    """The digest of a JSON-like value, whatever the order of its keys: 32 hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:32]


def code_digest(root: Path) -> str:
    """The digest of the Python source of our packages below a folder: 32 hexadecimal digits."""
    whole = hashlib.sha256()
    for package in ("feature_defs", "jobs", "pipelines"):
        for file in sorted((root / package).rglob("*.py")):
            whole.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return whole.hexdigest()[:32]
