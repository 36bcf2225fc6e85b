"""Which lookup do the settings name?"""

import dataclasses
from functools import partial
from pathlib import Path

from pipelines.stores.hop import Hop
from pipelines.stores.interface import ListStore
from pipelines.stores.lookup import Lookup
from pipelines.stores.places import Places, check_addresses
from pipelines.stores.reads import Copies, Reads

_REDIS_SECONDS = 0.03
_CASSANDRA_SECONDS = 0.1
_DRIVER_SECONDS = 1.0  # the deadline of a look at what is live; a request that nobody waits for ends then too
# How often a store is asked what is live.
_LOOK_OFTEN_SECONDS = 1.0
_LOOK_SECONDS = 3.0


async def open_lookup(
    places: Places, *, redis_seconds: float = _REDIS_SECONDS, cassandra_seconds: float = _CASSANDRA_SECONDS
) -> Lookup:
    """The lookup that the endpoint uses, in its event loop; to be closed after.

    The library of each store is imported only where it is named. No store needs to be there yet. In front of an
    embedded store a hot copy is not asked: that would take longer.

    Args:
        places: where lists are kept.
        redis_seconds: the deadline of one read from Redis.
        cassandra_seconds: the deadline of one read from Cassandra.

    Raises:
        UsageError: if a setting is of no known form.
    """
    check_addresses(places)
    if "://" not in places.lists:
        from pipelines.stores.embedded import EmbeddedStore
        from pipelines.stores.embedded_lookup import EmbeddedLookup

        return EmbeddedLookup(partial(EmbeddedStore, Path(places.lists), must_exist=True))
    from pipelines.stores.pair_lookup import PairLookup

    durable: Hop[Reads]
    hot: Hop[Copies] | None = None
    if places.lists.startswith("redis://"):
        from pipelines.stores.redis_lookup import RedisReads

        alone = RedisReads(
            places.lists,
            password=places.redis_password,
            expiry_days=places.retention_days,
            is_hot=False,
            deadline_seconds=redis_seconds,
        )
        durable = Hop(alone, redis_seconds, _LOOK_OFTEN_SECONDS, keeps_time=True)
    else:
        from pipelines.stores.cassandra_lookup import CassandraReads

        reads = CassandraReads(places, request_seconds=max(cassandra_seconds, _DRIVER_SECONDS))
        durable = Hop(reads, cassandra_seconds, _LOOK_SECONDS)
    if places.cache:
        from pipelines.stores.redis_lookup import RedisReads

        copy = RedisReads(
            places.cache,
            password=places.redis_password,
            expiry_days=places.cache_days,
            is_hot=True,
            deadline_seconds=redis_seconds,
        )
        hot = Hop(copy, redis_seconds, _LOOK_OFTEN_SECONDS, keeps_time=True)
    lookup = PairLookup(durable, hot, partial(_open_durable, places))
    await lookup.start()
    return lookup


def _open_durable(places: Places) -> ListStore:
    """The store that is the truth, for writing; its library is imported at the first such moment."""
    from pipelines.stores.open import open_store

    return open_store(dataclasses.replace(places, cache=""))
