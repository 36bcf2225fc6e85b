"""Every answer reaches the spool, soon and in the background; a spool that fails does not fail an answer.

What the endpoint hears is on disk before it is acknowledged. All who wait for that at the same time share one flush:
one that began before a record was taken does not count for it.
"""

import asyncio
import sys
import time
from collections.abc import Callable

from pipelines.errors import UnavailableError
from pipelines.serving.metrics import Metrics
from pipelines.spool import Record, Spool

FLUSH_SECONDS = 0.1
_SECONDS_AFTER_ERROR = 2.0
# 100,000 answers of 20 titles are about 100 MB.
_MOST_WAITING = 100_000


class Remembering:
    """The spool of one process, and whether it can be written."""

    def __init__(self, spool: Spool, metrics: Metrics) -> None:
        self._spool = spool
        self._metrics = metrics
        self._next_try = 0.0
        self._writing = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None
        self.trouble: str | None = None

    @property
    def waiting_count(self) -> int:
        """Records that are not on disk yet."""
        return self._spool.waiting_count

    def remember(self, answer: Record) -> None:
        """Take an answer, in memory; it is lost if too many wait already."""
        if self._spool.waiting_count >= _MOST_WAITING:
            self._metrics.counts["spool_lost"] += 1
        else:
            self._spool.append(answer)

    async def keep(self, records: list[Record]) -> None:
        """Take records, and return when they are on disk.

        Raises:
            UnavailableError: if the disk does not take them. Some may reach it later: they are told apart by their ids.
        """
        if not records:
            return
        if self._spool.waiting_count + len(records) > _MOST_WAITING or time.monotonic() < self._next_try:
            raise UnavailableError(self.trouble or "too much waits for the spool")
        for record in records:
            self._spool.append(record)
        if self._next is None:
            self._next = asyncio.create_task(self._flush_for_all())
        await asyncio.shield(self._next)
        if self.trouble is not None:
            raise UnavailableError(self.trouble)

    async def flush(self) -> None:
        """Write what waits, in another thread: the disk may be slow. After an error, not before a pause."""
        async with self._writing:
            if time.monotonic() >= self._next_try:
                await asyncio.to_thread(self._write, self._spool.flush)

    def close(self) -> None:
        """Write what waits, for the last time; what cannot be written is said on standard error."""
        self._write(self._spool.close)
        if self.trouble is not None:
            sys.stderr.write(f"marquee: {self._spool.waiting_count} answers are lost: {self.trouble}\n")

    async def _flush_for_all(self) -> None:
        async with self._writing:
            self._next = None  # who comes from now on may come after the flush has begun
            await asyncio.to_thread(self._write, self._spool.flush)

    def _write(self, write: Callable[[], None]) -> None:
        try:
            write()
            self.trouble = None
        except UnavailableError as error:
            self.trouble = str(error)
            self._metrics.counts["spool_errors"] += 1
            self._next_try = time.monotonic() + _SECONDS_AFTER_ERROR
