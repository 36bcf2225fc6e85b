"""A user's list as one packed value: what the nightly run writes and the endpoint reads.

Layout, little-endian, 20 bytes of header and then columns (C candidates, H titles of history, W wide vector):

    magic "MQ", version u8, W u8, C u16, H u8, zero u8, crc32 u32, generated_at i64 (microseconds since 1970, UTC)
    item ids C x u32 | history H x u32 | vector W x f16 | scores C x f16 | sources C x u8 | reasons C x u8

The checksum is over everything but itself. 200 candidates with 40 titles of history and a vector of 96: 1,972 bytes.
"""

import struct
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from feature_defs.recommendations import NO_REASON, SOURCES
from pipelines.errors import DataError

MAGIC = b"MQ"
VERSION = 1
LARGEST_SCORE = 65504.0  # of a 16-bit float
LARGEST_ITEM_ID = 2**32 - 1
LONGEST_LIST = 2**16 - 1
LONGEST_HISTORY = 254  # 255 says that there is no reason
WIDEST_VECTOR = 2**8 - 1

FRONT = struct.Struct("<2sBBHBx")  # what stands before the checksum
_BACK = struct.Struct("<Iq")
HEADER_SIZE = FRONT.size + _BACK.size
AFTER_CHECKSUM = FRONT.size + 4
# Of each length of history, the reasons that point into it or say that there is none.
_REASONS = tuple(bytes([*range(length), NO_REASON]) for length in range(2**8))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

U32, F16, U8 = np.dtype("<u4"), np.dtype("<f2"), np.dtype("u1")


class CorruptListError(DataError):
    """Bytes that are not a packed list, or no longer the one that was written."""


class UserList:
    """A list that was checked: its columns are read-only views into the packed bytes, made when they are asked for."""

    __slots__ = ("_count", "_history_count", "_width", "data", "generated_at")

    def __init__(self, data: bytes, generated_at: datetime, count: int, history_count: int, width: int) -> None:
        """Takes the packed bytes, and what their header says."""
        self.data = data
        self.generated_at = generated_at
        self._count, self._history_count, self._width = count, history_count, width

    def __len__(self) -> int:
        return self._count

    @property
    def item_ids(self) -> npt.NDArray[np.uint32]:
        """Uint32 (C,), best first."""
        return np.frombuffer(self.data, U32, self._count, HEADER_SIZE)

    @property
    def history(self) -> npt.NDArray[np.uint32]:
        """Uint32 (H,), newest first."""
        return np.frombuffer(self.data, U32, self._history_count, HEADER_SIZE + 4 * self._count)

    @property
    def vector(self) -> npt.NDArray[np.float16]:
        """Float16 (W,)."""
        return np.frombuffer(self.data, F16, self._width, HEADER_SIZE + 4 * (self._count + self._history_count))

    @property
    def scores(self) -> npt.NDArray[np.float16]:
        """Float16 (C,)."""
        return np.frombuffer(self.data, F16, self._count, len(self.data) - 4 * self._count)

    @property
    def sources(self) -> npt.NDArray[np.uint8]:
        """Uint8 (C,), codes of `feature_defs.recommendations.SOURCES`."""
        return np.frombuffer(self.data, U8, self._count, len(self.data) - 2 * self._count)

    @property
    def reasons(self) -> npt.NDArray[np.uint8]:
        """Uint8 (C,), index into `history` or 255."""
        return np.frombuffer(self.data, U8, self._count, len(self.data) - self._count)


def packed_size(count: int, history_count: int, width: int) -> int:
    """Bytes of a packed list."""
    return HEADER_SIZE + 8 * count + 4 * history_count + 2 * width


def microseconds(moment: datetime) -> int:
    """Microseconds from 1970 to a moment with a time zone."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def pack(
    *,
    item_ids: Sequence[int] | npt.NDArray[np.integer],
    scores: Sequence[float] | npt.NDArray[np.floating],
    sources: Sequence[int] | npt.NDArray[np.integer],
    reasons: Sequence[int] | npt.NDArray[np.integer],
    generated_at: datetime,
    history: Sequence[int] | npt.NDArray[np.integer] = (),
    vector: Sequence[float] | npt.NDArray[np.floating] = (),
) -> bytes:
    """One list, packed; the first four columns are of one length.

    Raises:
        DataError: if a column does not fit: lengths differ, an id or a score is out of bounds, a source is unknown, a
            reason points outside the history.
    """
    columns = (np.asarray(item_ids, np.int64), np.asarray(scores, np.float32))
    codes = (np.asarray(sources, np.int64), np.asarray(reasons, np.int64))
    past, taste = np.asarray(history, np.int64), np.asarray(vector, np.float32)
    count = len(columns[0])
    if {len(column) for column in (*columns, *codes)} != {count}:
        raise DataError("the columns of a list differ in length")
    check_lengths(count, len(past), len(taste))
    check_values(*columns, *codes, past, taste, np.full(count, len(past)))
    front = FRONT.pack(MAGIC, VERSION, len(taste), count, len(past))
    body = struct.pack("<q", microseconds(generated_at)) + b"".join(
        (
            columns[0].astype(U32).tobytes(),
            past.astype(U32).tobytes(),
            taste.astype(F16).tobytes(),
            columns[1].astype(F16).tobytes(),
            codes[0].astype(U8).tobytes(),
            codes[1].astype(U8).tobytes(),
        )
    )
    return front + struct.pack("<I", zlib.crc32(body, zlib.crc32(front))) + body


def check_lengths(count: int, history_count: int, width: int) -> None:
    """Do these lengths fit the header?

    Raises:
        DataError: names the length that does not.
    """
    for what, length, most in (
        ("candidates", count, LONGEST_LIST),
        ("titles of history", history_count, LONGEST_HISTORY),
        ("numbers in the vector", width, WIDEST_VECTOR),
    ):
        if length > most:
            raise DataError(f"a packed list holds at most {most} {what}, not {length}")


def check_values(
    item_ids: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float32],
    sources: npt.NDArray[np.int64],
    reasons: npt.NDArray[np.int64],
    history: npt.NDArray[np.int64],
    vector: npt.NDArray[np.float32],
    history_counts: npt.NDArray[np.int64],
) -> None:
    """Can these values, of one list or of many end to end, be packed? `history_counts` is given for each candidate.

    Raises:
        DataError: names the column that cannot.
    """
    for what, ids in (("item_ids", item_ids), ("history", history)):
        if ids.size and (ids.min() < 1 or ids.max() > LARGEST_ITEM_ID):
            raise DataError(f"{what} must lie between 1 and {LARGEST_ITEM_ID}")
    for what, numbers in (("scores", scores), ("vector", vector)):
        if numbers.size and not np.abs(numbers).max() <= LARGEST_SCORE:  # NaN is not
            raise DataError(f"{what} must lie between -{LARGEST_SCORE:.0f} and {LARGEST_SCORE:.0f}")
    if sources.size and (sources.min() < 0 or sources.max() >= len(SOURCES)):
        raise DataError(f"sources must lie between 0 and {len(SOURCES) - 1}")
    if not ((reasons == NO_REASON) | ((reasons >= 0) & (reasons < history_counts))).all():
        raise DataError(f"reasons must point into the history or be {NO_REASON}")


def unpack(data: bytes) -> UserList:
    """The list in these bytes.

    A source code this version does not know is let through: a newer run may have more of them.

    Raises:
        CorruptListError: if the bytes are anything but a whole packed list of this version.
    """
    if len(data) < HEADER_SIZE or data[:2] != MAGIC:
        raise CorruptListError(f"{len(data)} bytes are not a packed list")
    _, version, width, count, history_count = FRONT.unpack_from(data)
    if version != VERSION:
        raise CorruptListError(f"a packed list of version {version} was read where {VERSION} is known")
    if len(data) != packed_size(count, history_count, width):
        raise CorruptListError(
            f"a packed list has {len(data)} bytes where {packed_size(count, history_count, width)} were written"
        )
    checksum, written_at = _BACK.unpack_from(data, FRONT.size)
    if zlib.crc32(memoryview(data)[AFTER_CHECKSUM:], zlib.crc32(data[: FRONT.size])) != checksum:
        raise CorruptListError("the checksum of a packed list is wrong")
    reasons_at = len(data) - count
    if data[reasons_at:].translate(None, _REASONS[history_count]):  # what is left when those that fit are taken away
        raise CorruptListError("a reason of a packed list points outside its history")
    try:
        generated_at = _EPOCH + timedelta(microseconds=written_at)
    except OverflowError:
        raise CorruptListError("the time of a packed list is out of range") from None
    return UserList(data, generated_at, count, history_count, width)
