"""Fill the cache with what is live, from behind it: python -m jobs.rebuild_cache --shard 0/1

After the cache was emptied, replaced, or was away while lists were published, or after a rollback. Lists come packed
anew from the lake, which has the same bytes, or else one by one from the durable store; readers go on meanwhile.
"""

import dataclasses
import random
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_defs.users import USERS
from pipelines.ahead import ahead
from pipelines.command_line import run, say, say_result
from pipelines.days import end_of
from pipelines.errors import RefusedError, UnavailableError
from pipelines.knowledge import read_users
from pipelines.lake import Lake
from pipelines.lists.packing import pack_many
from pipelines.lists.stored import stored_lists
from pipelines.settings import read_settings
from pipelines.shards import Shard, of_shard, parse_shard
from pipelines.stores.interface import HOME, ListStore, Live, run_day
from pipelines.stores.open import open_store
from pipelines.stores.redis import RedisStore

_Answer = TypeVar("_Answer")
_SAMPLE = 100
_AT_ONCE = 16  # questions to the durable store
_USERS_A_TURN = 1024


def main(shard: str = "0/1", surface: str = HOME) -> None:
    """Write the live lists of a part of the users to the cache, with all that goes with them; again is harmless.

    Args:
        shard: which part of the users, as i/n with i from 0.
        surface: of which pointer.
    """
    part = parse_shard(shard)
    settings = read_settings()
    if not settings.cache:
        raise RefusedError("there is no cache to rebuild: the setting MARQUEE_CACHE names none")
    lake, places = Lake(settings.lake, settings.lake_options), settings.list_places
    with (
        open_store(dataclasses.replace(places, cache="")) as durable,
        RedisStore(places.cache, password=places.redis_password, expiry_days=places.cache_days) as hot,
    ):
        live = durable.live(surface)
        if live is None:
            raise RefusedError("there is nothing to fill the cache with: no run was published yet")
        forgotten = durable.forgotten()
        hot.mark_forgotten(forgotten)
        hot.adopt_attempt(live.run_id, live.attempt, live.moved_at)
        copied = _Copied()
        tally = hot.copy_lists(live.attempt, copied.noting(_live_lists(lake, durable, live, surface, part, forgotten)))
        answered = durable.live_list(1, surface)
        if answered is None or answered.live != live:
            raise UnavailableError(f"another run went live while the lists of {live.run_id} were copied: start again")
        hot.copy_trending(live.attempt, answered.trending)
        hot.copy_pointer(surface, live)
        state_count = sum(
            hot.copy_state(user_id, stated)
            for user_id, stated in _asked(lambda user_id: (user_id, durable.state(user_id)), copied.users())
        )
        _compare(durable, hot, copied.sample(), surface, live)
    result = {"job": "rebuild_cache", "run_id": live.run_id, "lists": tally.list_count, "states": state_count}
    say_result({**result, "checksum": f"{tally.checksum:016x}"})


class _Copied:
    """Whose lists were copied: 8 bytes each."""

    def __init__(self) -> None:
        self._ids: list[NDArray[np.int64]] = []

    def noting(self, lists: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
        remaining = iter(lists)
        while turn := list(islice(remaining, _USERS_A_TURN)):
            self._ids.append(np.array([user_id for user_id, _ in turn], np.int64))
            yield from turn

    def users(self) -> Iterator[int]:
        for ids in self._ids:
            yield from ids.tolist()

    def sample(self) -> list[int]:
        everybody = np.concatenate([np.empty(0, np.int64), *self._ids])
        return random.sample(everybody.tolist(), min(_SAMPLE, len(everybody)))


def _live_lists(
    lake: Lake, durable: ListStore, live: Live, surface: str, part: Shard, forgotten: frozenset[int]
) -> Iterator[tuple[int, bytes]]:
    """The packed lists of the live run for a part of the users, without those of the forgotten."""
    from_lake = _of_lake(lake, live.run_id, part)
    # The lake may hold what a later, unpublished try at the run made.
    first = [pair for pair in islice(from_lake, _SAMPLE) if pair[0] not in forgotten]
    asked = _asked(lambda user_id: _live_list(durable, user_id, live, surface), (user_id for user_id, _ in first))
    if first and list(asked) == first:
        say(f"from the lake: the lists of run {live.run_id}")
        yield from first
        yield from (pair for pair in from_lake if pair[0] not in forgotten)
        return
    say(f"the lake has no lists of run {live.run_id} any more as they were published: asking for each user's")
    users = _users_of_lake(lake, part)
    for user_id, data in _asked(lambda user_id: _live_list(durable, user_id, live, surface), users):
        if data is not None and user_id not in forgotten:
            yield user_id, data


def _of_lake(lake: Lake, run_id: str, part: Shard) -> Iterator[tuple[int, bytes]]:
    def packed() -> Iterator[list[tuple[int, bytes]]]:
        for block in stored_lists(lake, run_day(run_id), run_id):
            is_of_part = pa.array(block.column("user_id").to_numpy() % part.count == part.index)
            yield list(pack_many(block.filter(is_of_part), generated_at=end_of(run_day(run_id))))

    for lists in ahead(packed()):
        yield from lists


def _users_of_lake(lake: Lake, part: Shard) -> list[int]:
    days = lake.days(USERS)
    users: list[int] = of_shard(read_users(lake, days[-1]), part).column("user_id").to_pylist() if days else []
    return users


def _live_list(durable: ListStore, user_id: int, live: Live, surface: str) -> tuple[int, bytes | None]:
    answered = durable.live_list(user_id, surface)
    if answered is None or answered.live != live:
        raise UnavailableError(f"another run went live while the lists of {live.run_id} were copied: start again")
    return user_id, answered.user_list


def _asked(question: Callable[[int], _Answer], users: Iterable[int]) -> Iterator[_Answer]:
    """The answers of the durable store about users, some asked at once, in order."""
    remaining = iter(users)
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        while turn := list(islice(remaining, _USERS_A_TURN)):
            yield from threads.map(question, turn)


def _compare(durable: ListStore, hot: ListStore, users: Iterable[int], surface: str, live: Live) -> None:
    """Do both stores answer alike?

    Raises:
        UnavailableError: if they do not.
    """
    for user_id in users:
        if hot.live_list(user_id, surface) != durable.live_list(user_id, surface):
            raise UnavailableError(f"the cache does not answer as the store behind it does for run {live.run_id}")


if __name__ == "__main__":
    run(main, description=__doc__)
