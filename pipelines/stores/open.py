"""Which store of lists do the settings name?"""

from pathlib import Path

from pipelines.stores.interface import ListStore
from pipelines.stores.places import Places, check_addresses


def open_store(places: Places, *, is_reader: bool = False) -> ListStore:
    """The store that jobs use, to be closed after; the library of each is imported only where it is named.

    Args:
        places: where lists are kept.
        is_reader: whether it is only read, and must be there.

    Raises:
        UsageError: if a setting is of no known form.
        UnavailableError: if the store cannot be opened.
    """
    check_addresses(places)
    durable = _durable(places, is_reader=is_reader)
    if not places.cache:
        return durable
    try:
        from pipelines.stores.pair import PairStore
        from pipelines.stores.redis import RedisStore

        hot = RedisStore(places.cache, password=places.redis_password, expiry_days=places.cache_days)
        return PairStore(durable, hot)
    except Exception:
        durable.close()
        raise


def _durable(places: Places, *, is_reader: bool) -> ListStore:
    if places.lists.startswith("cassandra://"):
        from pipelines.stores.cassandra import CassandraStore

        return CassandraStore(places)
    if places.lists.startswith("redis://"):
        from pipelines.stores.redis import RedisStore

        return RedisStore(places.lists, password=places.redis_password, expiry_days=places.retention_days)
    from pipelines.stores.embedded import EmbeddedStore

    return EmbeddedStore(Path(places.lists), is_reader=is_reader)
