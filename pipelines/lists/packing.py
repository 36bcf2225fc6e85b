"""Rows of `recommendations` into packed lists, many at a time.

Users whose lists are shaped alike are packed together as one matrix of bytes; what is left to do for each user is one
checksum and one slice.
"""

import zlib
from collections.abc import Iterator
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.errors import DataError
from pipelines.lists import codec

_COLUMNS = ("item_ids", "scores", "sources", "reasons", "history", "vector")
_ROWS_AT_ONCE = 4096  # 8 MB of packed lists; what is in memory does not grow with the number of users


def pack_many(rows: pa.Table | pa.RecordBatch, *, generated_at: datetime) -> Iterator[tuple[int, bytes]]:
    """User ids and packed lists, in the order of the rows; columns as `feature_defs.recommendations` declares them.

    Raises:
        DataError: if a value is missing or does not fit a packed list; names the column.
    """
    batches = [rows] if isinstance(rows, pa.RecordBatch) else rows.to_batches()
    for batch in batches:
        for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
            yield from _pack_batch(batch.slice(start, _ROWS_AT_ONCE), codec.microseconds(generated_at))


def _pack_batch(batch: pa.RecordBatch, generated_at: int) -> Iterator[tuple[int, bytes]]:
    if batch.column("user_id").null_count:
        raise DataError("recommendations.user_id must not be null")
    columns = {name: _Lists(batch, name) for name in _COLUMNS}
    counts = columns["item_ids"].lengths
    for name in ("scores", "sources", "reasons"):
        if not np.array_equal(columns[name].lengths, counts):
            raise DataError(f"recommendations.{name} differs in length from item_ids")
    histories, widths = columns["history"].lengths, columns["vector"].lengths
    codec.check_lengths(*(int(lengths.max(initial=0)) for lengths in (counts, histories, widths)))
    flat = {name: column.values for name, column in columns.items()}
    codec.check_values(**flat, history_counts=np.repeat(histories.astype(np.int16), counts))

    packed: list[bytes] = [b""] * batch.num_rows
    shapes = (counts << 16) | (histories << 8) | widths
    for shape in np.unique(shapes):
        members = np.flatnonzero(shapes == shape)
        for member, data in zip(members.tolist(), _pack_alike(columns, members, generated_at), strict=True):
            packed[member] = data
    yield from zip(batch.column("user_id").to_pylist(), packed, strict=True)


def _pack_alike(columns: "dict[str, _Lists]", members: npt.NDArray[np.intp], generated_at: int) -> list[bytes]:
    """Lists that agree in their three lengths, packed."""
    count, history_count, width = (int(columns[name].lengths[members[0]]) for name in ("item_ids", "history", "vector"))
    front = codec.FRONT.pack(codec.MAGIC, codec.VERSION, width, count, history_count)
    records = np.zeros(
        len(members),
        np.dtype(
            [
                ("front", f"S{len(front)}"),
                ("checksum", codec.U32),
                ("generated_at", "<i8"),
                ("item_ids", codec.U32, (count,)),
                ("history", codec.U32, (history_count,)),
                ("vector", codec.F16, (width,)),
                ("scores", codec.F16, (count,)),
                ("sources", codec.U8, (count,)),
                ("reasons", codec.U8, (count,)),
            ]
        ),
    )
    records["front"] = front
    records["generated_at"] = generated_at
    for name in _COLUMNS:
        records[name] = columns[name].gather(members)
    size = records.itemsize
    body, before = memoryview(records.view(codec.U8).data), zlib.crc32(front)
    records["checksum"] = [
        zlib.crc32(body[start + codec.AFTER_CHECKSUM : start + size], before) for start in range(0, len(body), size)
    ]
    whole = records.tobytes()
    return [whole[start : start + size] for start in range(0, len(whole), size)]


class _Lists:
    """A list column of a batch as its numbers end to end, and where each row's begin."""

    def __init__(self, batch: pa.RecordBatch, name: str) -> None:
        column = batch.column(name)
        elements = column.flatten()
        if column.null_count or elements.null_count:
            raise DataError(f"recommendations.{name} must not be null")
        offsets = column.offsets.to_numpy().astype(np.int64)
        self._starts = offsets[:-1] - offsets[0]
        self.lengths = np.diff(offsets)
        # Integers stay as narrow as they are: half the time of every pass over them.
        values = elements.to_numpy()
        self.values = values.astype(np.float32, copy=False) if name in ("scores", "vector") else values

    def gather(self, members: npt.NDArray[np.intp]) -> npt.NDArray[np.generic]:
        """The rows of these members, which are of one length, as a matrix."""
        length = int(self.lengths[members[0]])
        matrix: npt.NDArray[np.generic]
        if len(members) == len(self.lengths):
            matrix = self.values.reshape(len(members), length)
        else:
            matrix = self.values[self._starts[members, None] + np.arange(length)]
        return matrix
