"""The endpoint's spool: what it answered and what it heard, kept in files until a job takes them up.

A folder of segments, each written by one process: `NAME.open` while it is written, `NAME.sealed` once nothing will be
added. The writer holds a lock (`flock`) on its open segment, which ends with the process however that ends; so whoever
can lock an open segment may seal it. Names are unique over machines and start with the time, so they sort by age.

A segment is eight bytes of signature, then records: length and CRC-32 of the payload (little-endian, 4 bytes each) and
the payload, a `Record` in MessagePack. A process that is killed leaves at most a torn tail: the end of the last record
is missing. A reader stops there and says how much it left.
"""

import fcntl
import os
import secrets
import socket
import struct
import time
import zlib
from collections import Counter, deque
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from pipelines.errors import DataError, UnavailableError

_SIGNATURE = b"MRQSPL01"
_FRAME = struct.Struct("<II")
_OPEN, _SEALED, _KEPT, _REWRITTEN = ".open", ".sealed", ".kept", ".rewritten"
# A rewriting takes seconds: what is older was left by a process that was killed.
_STALE_SECONDS = 3600.0


class AnsweredItem(msgspec.Struct, frozen=True, gc=False):
    """A title in an answer: its place from 0, its score in the list, its probability of being in that place."""

    slot: int
    item_id: int
    score: float | None
    propensity: float | None


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """What the endpoint answered to one request; `run_id` is None where no run is live."""

    request_id: str
    answered_at: datetime
    user_id: int
    run_id: str | None
    source: str
    items: list[AnsweredItem]


class EventRecord(msgspec.Struct, frozen=True, tag="event"):
    """What the endpoint heard. Run, slot and propensity are no part of it: they are joined from the answer."""

    event_id: str
    request_id: str | None
    user_id: int
    item_id: int
    kind: str
    happened_at: datetime
    received_at: datetime
    watched_share: float | None = None
    position: int | None = None
    surface: str | None = None
    device: str | None = None


class Preference(msgspec.Struct, frozen=True, tag="preference"):
    """What a user decided, or answered at sign-up; `None`: nothing was said of it."""

    user_id: int
    said_at: datetime
    is_opted_out: bool | None = None
    maturity_limit: int | None = None
    onboarding_genres: tuple[str, ...] | None = None
    age_band: str | None = None
    city: str | None = None


Record = Answer | EventRecord | Preference


class Spool:
    """One process's end of the spool. `append` may run in one thread while `flush` runs in another."""

    def __init__(self, folder: Path, *, segment_bytes: int = 16 << 20, segment_seconds: float = 60.0) -> None:
        """Ready to write below a folder; no file is made before there is something to write.

        Args:
            folder: made where it does not exist.
            segment_bytes: a segment is sealed when it holds as many.
            segment_seconds: or when it is as old, if somebody calls `flush`.
        """
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._segment_seconds = segment_seconds
        self._encoder = msgspec.msgpack.Encoder()
        self._waiting: deque[bytes] = deque()
        self._file: int | None = None
        self._path = folder
        self._size = 0
        self._opened_at = 0.0

    @property
    def waiting_count(self) -> int:
        """Records that are not on disk yet."""
        return len(self._waiting)

    def append(self, record: Record) -> None:
        """Take a record, in memory; microseconds."""
        payload = self._encoder.encode(record)
        self._waiting.append(_FRAME.pack(len(payload), zlib.crc32(payload)) + payload)

    def flush(self) -> None:
        """Put what was appended on disk (fsync), and seal the segment if it is large or old enough.

        Raises:
            UnavailableError: if the disk does not take it. The records wait for the next call; some may then be
                written twice, which is harmless: they are told apart by their ids when they are taken up.
        """
        frames = [self._waiting.popleft() for _ in range(len(self._waiting))]
        try:
            if frames:
                if self._file is None:
                    self._open()
                self._write(b"".join(frames))
            if self._file is not None and self._is_due():
                self._seal()
        except OSError as error:
            self._waiting.extendleft(reversed(frames))
            self._abandon()
            raise UnavailableError(f"the spool {self._folder} cannot be written: {error.strerror}") from None

    def close(self) -> None:
        """Put everything on disk and seal the segment. Raises what `flush` does."""
        self._segment_seconds = 0.0
        self.flush()

    def _is_due(self) -> bool:
        return self._size >= self._segment_bytes or time.monotonic() - self._opened_at >= self._segment_seconds

    def _open(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
        name = f"{now}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        # Locked before it has the name by which others look for it: they must not seal it in between.
        fresh = self._folder / f"{name}.new"
        self._file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._path = fresh.rename(self._folder / f"{name}{_OPEN}")
        self._size, self._opened_at = 0, time.monotonic()
        self._write(_SIGNATURE)
        _sync_folder(self._folder)

    def _write(self, data: bytes) -> None:
        if self._file is None:
            return
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        os.fsync(self._file)
        self._size += len(data)

    def _seal(self) -> None:
        if self._file is None:
            return
        self._path.rename(self._path.with_suffix(_SEALED))
        _sync_folder(self._folder)
        os.close(self._file)
        self._file = None

    def _abandon(self) -> None:
        """Leave the segment as it is, to be sealed by whoever looks for orphans: after a failed write or fsync nobody
        knows what the disk holds.
        """
        if self._file is not None:
            os.close(self._file)
            self._file = None


class Segment:
    """A sealed segment, read once: iterate over its records, then ask how many bytes its torn tail has."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.torn_byte_count = 0

    @property
    def name(self) -> str:
        """The name of the segment, unique over machines."""
        return self.path.stem

    def __iter__(self) -> Iterator[Record]:
        """The records in the order in which they were appended, as far as they are whole.

        Raises:
            DataError: if the file is no segment, or a whole record is of no known kind.
            UnavailableError: if the file cannot be read.
        """
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise UnavailableError(f"the segment {self.path} cannot be read: {error.strerror}") from None
        if not _SIGNATURE.startswith(data[: len(_SIGNATURE)]):
            raise DataError(f"{self.path} is not a segment of the spool")
        decoder = msgspec.msgpack.Decoder(Record)
        start = min(len(_SIGNATURE), len(data))
        while start < len(data):
            payload = _payload(data, start)
            if payload is None:
                break
            try:
                yield decoder.decode(payload)
            except msgspec.MsgspecError as error:
                raise DataError(f"{self.path} has a record at byte {start} that is not known: {error}") from None
            start += _FRAME.size + len(payload)
        self.torn_byte_count = len(data) - start

    def without(self, user_ids: Collection[int]) -> Counter[int]:
        """Write the segment anew without the records of these users, in one step; the others stay byte by byte.

        A torn tail goes with them if it names one of them. A segment that holds none of them is left alone. Should
        somebody take up and delete the segment meanwhile, it is there again, and is known by its name.

        Returns:
            How many records each of them had.

        Raises:
            DataError, UnavailableError: as when it is read.
        """
        users, counts = frozenset(user_ids), Counter[int]()
        data = self.path.read_bytes() if users else b""
        frames, start = [data[: len(_SIGNATURE)]], min(len(_SIGNATURE), len(data))
        for record in self if users else ():
            payload = _payload(data, start) or b""
            end = start + _FRAME.size + len(payload)
            if record.user_id in users:
                counts[record.user_id] += 1
            else:
                frames.append(data[start:end])
            start = end
        tail = data[start:]
        torn = [user for user in users if b"\xa7user_id" + msgspec.msgpack.encode(user) in tail] if tail else []
        if not torn:
            frames.append(tail)
        counts.update(torn)
        if counts:
            _replace(self.path, b"".join(frames))
        return counts

    def remove(self) -> None:
        """Delete the segment: all of it is elsewhere."""
        self.path.unlink()
        _sync_folder(self.path.parent)

    def keep(self) -> Path:
        """Set the segment aside for a person to look at; it will not be read again. Returns where it is now."""
        kept = self.path.rename(self.path.with_suffix(_KEPT))
        _sync_folder(kept.parent)
        return kept


def seal_orphans(folder: Path) -> int:
    """Seal the open segments whose writer is gone; returns how many there were."""
    count = 0
    # A process that died between making its file and naming it left no record in it, but leaves a file.
    for path in sorted([*folder.glob(f"*{_OPEN}"), *folder.glob("*.new")]):
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its writer may have sealed it since we looked; then the name is gone.
            path.rename(path.with_suffix(_SEALED))
            count += 1
        except (BlockingIOError, FileNotFoundError):
            continue
        finally:
            os.close(file)
    if count:
        _sync_folder(folder)
    return count


def sealed_segments(folder: Path) -> list[Segment]:
    """The sealed segments of a folder, oldest first; none if there is no folder."""
    return [Segment(path) for path in sorted(folder.glob(f"*{_SEALED}"))]


def kept_segments(folder: Path) -> list[Segment]:
    """The segments that were set aside for a person, oldest first."""
    return [Segment(path) for path in sorted(folder.glob(f"*{_KEPT}"))]


def records_being_written(folder: Path, user_ids: Collection[int]) -> Counter[int]:
    """How many records of these users lie in segments that living writers have open, and nobody else may change."""
    users, counts = frozenset(user_ids), Counter[int]()
    for path in sorted(folder.glob(f"*{_OPEN}")) if users else ():
        try:
            counts.update(record.user_id for record in Segment(path) if record.user_id in users)
        except UnavailableError:
            if path.exists():  # and was not sealed since we looked
                raise
    return counts


def remove_unfinished(folder: Path) -> int:
    """Delete what a process that was killed while it rewrote a segment left behind. Returns how many files."""
    count = 0
    for path in folder.glob(f"*{_REWRITTEN}"):
        if time.time() - path.stat().st_mtime > _STALE_SECONDS:
            path.unlink(missing_ok=True)
            count += 1
    return count


def _replace(path: Path, data: bytes) -> None:
    """Give a file another content, at once and for good."""
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(4)}{_REWRITTEN}")
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fsync(file)
    finally:
        os.close(file)
    fresh.replace(path)
    _sync_folder(path.parent)


def _payload(data: bytes, start: int) -> bytes | None:
    """The payload of the record that starts here; None if it is not whole."""
    body = start + _FRAME.size
    if body > len(data):
        return None
    length, checksum = _FRAME.unpack_from(data, start)
    payload = data[body : body + length]
    # A file system may leave zeros where a write did not arrive; no record is empty.
    return payload if 0 < length == len(payload) and zlib.crc32(payload) == checksum else None


def _sync_folder(folder: Path) -> None:
    # A new name is on disk only when its folder is.
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
