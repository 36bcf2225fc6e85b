"""Many idempotent requests to Cassandra at once, a bounded number of them on their way, and some of them again.

The driver is quickest when its own thread starts nothing: who asks waits for a permit and sends, answers give it back.
"""

import threading
import time
from collections.abc import Sequence
from typing import Any

from cassandra import InvalidRequest, Unauthorized
from cassandra.cluster import Session
from cassandra.query import PreparedStatement

# A node that dies in mid-write is missed for a moment, until the driver notices and asks another.
_PAUSES = (0.5, 1.0, 2.0, 4.0)


class Requests:
    """One session's requests; asked for by one thread at a time."""

    def __init__(self, session: Session, concurrency: int) -> None:
        self._session = session
        self._concurrency = concurrency

    def all(self, statement: PreparedStatement, rows: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The rows that were answered (of one page) for each of these parameters, in their order.

        After a failure nothing more is sent until what was sent is answered; then what is left is tried anew, a few
        times, with pauses.

        Raises:
            Exception: what the driver raised at last.
        """
        answers: list[Any] = [None] * len(rows)
        left = list(range(len(rows)))
        for pause in (*_PAUSES, None):
            left, error = self._try(statement, rows, left, answers)
            if error is None:
                return answers
            if pause is None or isinstance(error, (InvalidRequest, Unauthorized)):
                raise error
            time.sleep(pause)
        return answers

    def _try(
        self, statement: PreparedStatement, rows: Sequence[tuple[Any, ...]], left: list[int], answers: list[Any]
    ) -> tuple[list[int], BaseException | None]:
        """Send until something fails. Returns the places that are not answered, and the first failure."""
        permits = threading.Semaphore(self._concurrency)
        failed: list[int] = []
        errors: list[BaseException] = []

        def answer(found: Any, place: int) -> None:
            answers[place] = found
            permits.release()

        def fail(error: BaseException, place: int) -> None:
            failed.append(place)
            errors.append(error)
            permits.release()

        sent = 0
        for place in left:
            permits.acquire()
            if errors:
                permits.release()
                break
            sent += 1
            future = self._session.execute_async(statement, rows[place])
            future.add_callbacks(answer, fail, callback_args=(place,), errback_args=(place,))
        for _ in range(self._concurrency):  # until everything is answered, well or ill
            permits.acquire()
        return failed + left[sent:], errors[0] if errors else None
