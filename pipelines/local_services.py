"""Cassandra and Redis on this machine, and the settings that lead there."""

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from pipelines.cassandra_schema import migrate
from pipelines.command_line import say
from pipelines.errors import UsageError
from pipelines.local_cassandra import start_cassandra
from pipelines.local_redis import start_redis
from pipelines.local_servers import LocalServer, stop_servers
from pipelines.stores.places import Places

_KEYSPACE = "marquee"
_HEAPS = {1: "768m", 3: "512m"}  # three nodes fit in 6 GB, with what Java takes beside its heap
_GRACE_SECONDS = 30


@dataclass(frozen=True)
class LocalServices:
    """What runs, and the variables that let a job use it."""

    settings: dict[str, str]
    servers: tuple[LocalServer, ...]


def start_services(
    folder: Path, *, stores: frozenset[str], nodes: int, port: int, storage_port: int, redis_port: int
) -> LocalServices:
    """Start servers and make the keyspace; returns when all of it answers.

    Args:
        folder: of their data, logs and password.
        stores: `cassandra`, `redis` or both; Redis alone holds lists by itself.
        nodes: of Cassandra: 1 or 3.
        port: of Cassandra for clients.
        storage_port: of Cassandra between nodes.
        redis_port: of Redis.

    Raises:
        UsageError: if a ring of this size is not known.
        UnavailableError: if a server does not come up; names its log.
    """
    if nodes not in _HEAPS:
        raise UsageError(f"--nodes is {nodes}: a ring on this machine has 1 or 3")
    folder.mkdir(parents=True, exist_ok=True)
    servers: list[LocalServer] = []
    settings: dict[str, str] = {}
    try:
        if "redis" in stores:
            redis = start_redis(folder / "redis", port=redis_port)
            servers.append(redis.server)
            settings["MARQUEE_CACHE" if "cassandra" in stores else "MARQUEE_LISTS"] = redis.address
            say(f"Redis answers at {redis.address}")
        if "cassandra" in stores:
            password = _password(folder / "password")
            # A ring of one is another than a ring of three: tokens and replicas differ.
            data = folder / f"cassandra-{nodes}"
            ring = start_cassandra(
                data, port=port, storage_port=storage_port, password=password, nodes=nodes, heap=_HEAPS[nodes]
            )
            servers.extend(ring.servers)
            replication = {"class": "NetworkTopologyStrategy", "datacenter1": str(nodes)}
            address = ring.address(_KEYSPACE)
            migrate(Places(address, cassandra_password=password, cassandra_replication=replication))
            settings |= {
                "MARQUEE_LISTS": address,
                "MARQUEE_CASSANDRA_PASSWORD": password,
                "MARQUEE_CASSANDRA_REPLICATION": json.dumps(replication),
            }
            say(f"Cassandra answers on {', '.join(ring.hosts)}, port {port}")
    except BaseException:
        stop_servers(servers, grace_seconds=_GRACE_SECONDS)
        raise
    return LocalServices(settings, tuple(servers))


def stop_services(services: LocalServices) -> None:
    """End all of it in order."""
    stop_servers(services.servers, grace_seconds=_GRACE_SECONDS)


def write_for_owner(path: Path, text: str) -> None:
    """A file for the eyes of its owner only, whole or not at all."""
    fresh = path.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    fresh.rename(path)


def _password(path: Path) -> str:
    """Of our role; made once for the data that it opens."""
    if not path.exists():
        write_for_owner(path, secrets.token_urlsafe(24))
    return path.read_text(encoding="utf-8")
