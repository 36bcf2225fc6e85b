"""One store on the way of a lookup: its deadline, and when it is left alone.

A store that failed several times in a row, and for longer than one moment of silence in which many requests wait
beside each other, is not asked for a while, so that one that hangs costs the deadline a few times and not with every
request. Then one request asks it again: what that one hears decides. The first rest is short, each next one is longer:
a store that was merely held up is soon back.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from pipelines.errors import UnavailableError
from pipelines.stores.hop_times import HopTimes
from pipelines.stores.reads import Reads

FAILURES_IN_A_ROW = 5
# Failures of one such moment end within one deadline of each other.
_DEADLINES_IN_A_ROW = 2
_FIRST_REST_SECONDS = 0.1
REST_SECONDS = 1.0

R_co = TypeVar("R_co", bound=Reads, covariant=True)
T = TypeVar("T")


class Hop(Generic[R_co]):
    """A store's reads, each within a deadline; its pointers are looked at every `look_seconds`.

    `keeps_time`: what is asked of these reads ends within the deadline by itself.
    """

    def __init__(self, reads: R_co, deadline_seconds: float, look_seconds: float, *, keeps_time: bool = False) -> None:
        self.reads = reads
        self._keeps_time = keeps_time
        self.look_seconds = look_seconds
        self.times = HopTimes()
        self._deadline_seconds = deadline_seconds
        self._failures = 0
        self._failing_since = 0.0
        self._rest_seconds = _FIRST_REST_SECONDS
        self._rests_until = 0.0

    async def ask(self, asking: Callable[[R_co], Awaitable[T]]) -> T:
        """What the store answers.

        Raises:
            UnavailableError: if it fails, does not answer in time, or is left alone.
        """
        if self.times.is_resting:
            now = time.monotonic()
            if now < self._rests_until:
                raise UnavailableError(f"{self.reads.name} has failed and is left alone for a moment")
            self._rest_seconds = min(2 * self._rest_seconds, REST_SECONDS)
            self._rests_until = now + self._rest_seconds  # we are the one that asks again
        began = time.perf_counter()
        try:
            if self._keeps_time:
                answer = await asking(self.reads)
            else:
                async with asyncio.timeout(self._deadline_seconds):
                    answer = await asking(self.reads)
        except TimeoutError:
            self._fail()
            raise UnavailableError(
                f"{self.reads.name} did not answer in {1000 * self._deadline_seconds:.0f} ms"
            ) from None
        except UnavailableError:
            self._fail()
            raise
        self._failures = 0
        self.times.is_resting = False
        self.times.took(time.perf_counter() - began)
        return answer

    def _fail(self) -> None:
        now = time.monotonic()
        if not self._failures:
            self._failing_since = now
        self._failures += 1
        self.times.failure_count += 1
        has_failed_long = now - self._failing_since >= _DEADLINES_IN_A_ROW * self._deadline_seconds
        if self._failures >= FAILURES_IN_A_ROW and has_failed_long and not self.times.is_resting:
            self.times.is_resting = True
            self._rest_seconds = _FIRST_REST_SECONDS
            self._rests_until = now + self._rest_seconds
