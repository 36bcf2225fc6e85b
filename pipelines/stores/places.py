"""Where lists are kept, and how they are reached: the settings that stores need, in one piece."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipelines.errors import UsageError


@dataclass(frozen=True)
class Places:
    """Two addresses and what goes with them.

    `lists` is where lists are durable: the path of an embedded store, `cassandra://USER@HOST[:PORT][,HOST...]/KEYSPACE`
    or `redis://[USER@]HOST[:PORT]/DATABASE`. `cache` is empty or a `redis://` address of a hot copy in front of it.
    Passwords are apart, so that an address can be shown.
    """

    lists: str
    cache: str = ""
    cassandra_password: str = field(default="", repr=False)
    redis_password: str = field(default="", repr=False)
    # Of the keyspace, when it is made: as in CQL.
    cassandra_replication: Mapping[str, str] = field(
        default_factory=lambda: {"class": "NetworkTopologyStrategy", "datacenter1": "1"}
    )
    # The nearest data centre, whose replicas answer.
    cassandra_datacenter: str = "datacenter1"
    cassandra_write_consistency: str = "LOCAL_QUORUM"
    cassandra_read_consistency: str = "LOCAL_ONE"
    # After which lists expire by themselves, in the durable store and in the hot copy.
    retention_days: int = 14
    cache_days: int = 3


def check_addresses(places: Places) -> None:
    """Are these addresses of a form that we know?

    Raises:
        UsageError: names the setting that is wrong.
    """
    for setting, address, known in (
        ("MARQUEE_LISTS", places.lists, ("cassandra", "redis", "")),
        ("MARQUEE_CACHE", places.cache, ("redis", "")),
    ):
        scheme = address.partition("://")[0] if "://" in address else ""
        if scheme not in known or (setting == "MARQUEE_CACHE" and address and not scheme):
            raise UsageError(
                f"the setting {setting} is {address!r}: it is "
                "the path of a folder, cassandra://USER@HOST/KEYSPACE or redis://HOST/DATABASE"
            )
        if scheme == "cassandra":
            from pipelines.stores.cassandra_session import parse_address

            parse_address(address)
        elif scheme == "redis":
            from pipelines.stores.redis_address import parse_redis_address

            parse_redis_address(address)
