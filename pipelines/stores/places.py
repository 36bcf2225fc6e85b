"""Where lists are kept, and how they are reached: the settings that stores need, in one piece."""

from collections.abc import Mapping
from dataclasses import dataclass, field


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
