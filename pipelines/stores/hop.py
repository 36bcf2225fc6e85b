"""One store on the way of a lookup: its deadline, and when it is left alone.

A store that failed several times in a row is not asked for a while, so that one that hangs costs the deadline a few
times and not with every request. Then one request asks it again: what that one hears decides.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from pipelines.errors import UnavailableError
from pipelines.stores.hop_times import HopTimes
from pipelines.stores.reads import Reads

FAILURES_IN_A_ROW = 5
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
        self._rests_until = 0.0

    async def ask(self, asking: Callable[[R_co], Awaitable[T]]) -> T:
        """What the store answers.

        Raises:
            UnavailableError: if it fails, does not answer in time, or is left alone.
        """
        if self._failures >= FAILURES_IN_A_ROW:
            now = time.monotonic()
            if now < self._rests_until:
                raise UnavailableError(f"{self.reads.name} has failed and is left alone for a moment")
            self._rests_until = now + REST_SECONDS  # we are the one that asks again
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
        self._failures += 1
        self.times.failure_count += 1
        self.times.is_resting = self._failures >= FAILURES_IN_A_ROW
        if self._failures == FAILURES_IN_A_ROW:
            self._rests_until = time.monotonic() + REST_SECONDS
