"""Every answer reaches the spool, soon and in the background; a spool that fails does not fail an answer."""

import asyncio
import sys
import time
from collections.abc import Callable

from pipelines.errors import UnavailableError
from pipelines.serving.metrics import Metrics
from pipelines.spool import Answer, Spool

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
        self.trouble: str | None = None

    @property
    def waiting_count(self) -> int:
        """Answers that are not on disk yet."""
        return self._spool.waiting_count

    def remember(self, answer: Answer) -> None:
        """Take an answer, in memory; it is lost if too many wait already."""
        if self._spool.waiting_count >= _MOST_WAITING:
            self._metrics.spool_lost.inc()
        else:
            self._spool.append(answer)

    async def flush(self) -> None:
        """Write what waits, in another thread: the disk may be slow. After an error, not before a pause."""
        if time.monotonic() >= self._next_try:
            await asyncio.to_thread(self._write, self._spool.flush)

    def close(self) -> None:
        """Write what waits, for the last time; what cannot be written is said on standard error."""
        self._write(self._spool.close)
        if self.trouble is not None:
            sys.stderr.write(f"marquee: {self._spool.waiting_count} answers are lost: {self.trouble}\n")

    def _write(self, write: Callable[[], None]) -> None:
        try:
            write()
            self.trouble = None
        except UnavailableError as error:
            self.trouble = str(error)
            self._metrics.spool_errors.inc()
            self._next_try = time.monotonic() + _SECONDS_AFTER_ERROR
