"""A durable store of lists and a hot copy in front of it, as one store for jobs.

The durable store is the truth: what is asked of the pair is answered by it, and everything is done there first. The
copy follows, and those who serve from it find in the durable store what it lacks. So a copy that is down does not stop
a publication: the trouble is remembered and said once, and a rebuild, or serving itself, fills the copy again.

Only an erasure does not end well before the copy knows of it.
"""

import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain
from queue import Queue
from typing import Any

from pipelines import crash_points
from pipelines.errors import DataError, UnavailableError
from pipelines.stores.interface import HOME, Answered, ListStore, Live, Manifest, Tally
from pipelines.stores.redis import RedisStore
from pipelines.stores.user_state import Stated, UserState

# 2 MB wait for the copy at most, besides what it is writing.
_LISTS_A_BLOCK = 250
_BLOCKS_WAITING = 4
_Block = list[tuple[int, bytes]]


class PairStore:
    """A `pipelines.stores.interface.ListStore` over two; it closes both."""

    def __init__(self, durable: ListStore, hot: RedisStore) -> None:
        """Put a hot copy in front of a durable store."""
        self._durable = durable
        self._hot = hot
        # The first trouble that the copy had, if any: then it may lack something until it is rebuilt.
        self.trouble: str | None = None

    def __enter__(self) -> "PairStore":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of both stores."""
        try:
            self._hot.close()
        finally:
            self._durable.close()

    def open_attempt(self, run_id: str) -> int:
        """See `ListStore`."""
        attempt = self._durable.open_attempt(run_id)
        with self._copying():
            self._hot.adopt_attempt(run_id, attempt, datetime.now(UTC))
        return attempt

    def put_many(self, run_id: str, attempt: int, lists: Iterable[tuple[int, bytes]], *, part: str = "0/1") -> Tally:
        """See `ListStore`. The copy gets no list of anybody who was forgotten."""
        forgotten = self._durable.forgotten()
        waiting: Queue[_Block | None] = Queue(_BLOCKS_WAITING)
        copier = threading.Thread(target=self._copy, args=(attempt, forgotten, waiting), name="marquee-copy")
        copier.start()
        try:
            tally = self._durable.put_many(run_id, attempt, _passing_on(lists, forgotten, waiting), part=part)
        finally:
            waiting.put(None)
            copier.join()
        since = self._durable.forgotten() - forgotten
        with self._copying():
            for user_id in since:
                self._hot.forget_user(user_id)
        return tally

    def put_trending(self, run_id: str, attempt: int, data: bytes) -> None:
        """See `ListStore`."""
        self._durable.put_trending(run_id, attempt, data)
        with self._copying():
            self._hot.copy_trending(attempt, data)

    def tally(self, run_id: str) -> Tally:
        """See `ListStore`."""
        return self._durable.tally(run_id)

    def get(self, run_id: str, user_id: int) -> bytes | None:
        """See `ListStore`."""
        return self._durable.get(run_id, user_id)

    def commit_manifest(self, run_id: str, attempt: int, manifest: Mapping[str, Any]) -> None:
        """See `ListStore`."""
        self._durable.commit_manifest(run_id, attempt, manifest)

    def manifest(self, run_id: str) -> Manifest | None:
        """See `ListStore`."""
        return self._durable.manifest(run_id)

    def go_live(self, run_id: str, attempt: int, *, surface: str = HOME, allow_older: bool = False) -> Live:
        """See `ListStore`. What is live already is copied again."""
        live = self._durable.go_live(run_id, attempt, surface=surface, allow_older=allow_older)
        crash_points.passing("pair.between_pointers")
        with self._copying():
            self._hot.copy_pointer(surface, live)
        return live

    def live(self, surface: str = HOME) -> Live | None:
        """See `ListStore`."""
        return self._durable.live(surface)

    def live_list(self, user_id: int, surface: str = HOME) -> Answered | None:
        """See `ListStore`."""
        return self._durable.live_list(user_id, surface)

    def forget_user(self, user_id: int) -> int:
        """See `ListStore`.

        Raises:
            UnavailableError: also if the copy could not be told, and may still have a list: it is to be said again.
        """
        count = self._durable.forget_user(user_id)
        try:
            self._hot.forget_user(user_id)
        except UnavailableError as error:
            raise UnavailableError(
                f"{error}, so that it may still have what user {user_id} had: forget them again"
            ) from None
        return count

    def forgotten(self) -> frozenset[int]:
        """See `ListStore`."""
        return self._durable.forgotten()

    def state(self, user_id: int) -> Stated:
        """See `ListStore`."""
        return self._durable.state(user_id)

    def put_state(self, user_id: int, state: UserState, version: int) -> bool:
        """See `ListStore`."""
        is_kept = self._durable.put_state(user_id, state, version)
        if is_kept:
            with self._copying():
                self._hot.copy_state(user_id, Stated(state, version + 1))
        return is_kept

    def drop_runs(self, keep: int) -> list[str]:
        """See `ListStore`."""
        dropped = self._durable.drop_runs(keep)
        with self._copying():
            self._hot.drop_runs(keep)
        return dropped

    def repair(self, surface: str = HOME) -> bool:
        """Let the copy's pointer of a surface follow the durable one; whether it had stayed behind.

        Raises:
            UnavailableError: if one of the two does not answer.
        """
        live = self._durable.live(surface)
        return live is not None and self._hot.copy_pointer(surface, live)

    def _copy(self, attempt: int, forgotten: frozenset[int], waiting: "Queue[_Block | None]") -> None:
        """Write blocks of lists into the copy until there are no more; after a trouble they are let go."""
        blocks = iter(waiting.get, None)
        try:
            with self._copying():
                # Should the copy have been lost: marks before lists.
                self._hot.mark_forgotten(forgotten)
                self._hot.copy_lists(attempt, chain.from_iterable(blocks))
        finally:
            for _ in blocks:
                pass

    @contextmanager
    def _copying(self) -> Iterator[None]:
        """Remember a trouble of the copy, and go on."""
        try:
            yield
        except (UnavailableError, DataError) as error:
            if self.trouble is None:
                self.trouble = str(error)
                sys.stderr.write(f"marquee: {error}; the durable store goes on alone, rebuild the copy later\n")


def _passing_on(
    lists: Iterable[tuple[int, bytes]], forgotten: frozenset[int], waiting: "Queue[_Block | None]"
) -> Iterator[tuple[int, bytes]]:
    """The same lists, each of which the copy gets after."""
    block: _Block = []
    for pair in lists:
        yield pair
        if pair[0] not in forgotten:
            block.append(pair)
        if len(block) == _LISTS_A_BLOCK:
            waiting.put(block)
            block = []
    waiting.put(block)
