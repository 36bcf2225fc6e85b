"""Apache Cassandra on this machine without Docker: one node, or three on 127.0.0.1 to 127.0.0.3."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from cassandra import ConsistencyLevel, DriverException
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, Session
from cassandra.policies import WhiteListRoundRobinPolicy

from pipelines.errors import UnavailableError
from pipelines.local_servers import LocalServer, refuse_a_taken_port, start_server, stop_servers, wait_until_ready

USER = "marquee"
_DEFAULT_ROLE = ("cassandra", "cassandra")
_START_SECONDS = 300
_ROOT = Path(__file__).resolve().parents[1]
_SERVER = _ROOT / "infra" / "cassandra" / "server"
_JARS = _ROOT / ".cassandra" / "lib"
_TOKENS = 2**64


@dataclass(frozen=True)
class LocalCassandra:
    """A running ring: its addresses, who may use it, its processes in the order of their hosts."""

    hosts: tuple[str, ...]
    port: int
    user: str
    password: str
    servers: tuple[LocalServer, ...]

    @property
    def host(self) -> str:
        """Of the first node."""
        return self.hosts[0]

    def address(self, keyspace: str) -> str:
        """For MARQUEE_LISTS."""
        first, *more = self.hosts
        return f"cassandra://{self.user}@{','.join([f'{first}:{self.port}', *more])}/{keyspace}"


def start_cassandra(
    folder: Path, *, port: int, storage_port: int, password: str, nodes: int = 1, heap: str = "512m"
) -> LocalCassandra:
    """Start a ring and wait until every node takes queries; a role of ours may do everything, the default one nothing.

    Args:
        folder: of data and logs, one below it for each node; a ring that lay there goes on.
        port: for clients, on each host.
        storage_port: between nodes, on each host.
        password: of our role, and from now on of the superuser that Cassandra comes with.
        nodes: how many: 1 to 8 on 127.0.0.1 and up.
        heap: of each node's Java.

    Raises:
        UnavailableError: if Cassandra was not fetched, a port is taken, or a node does not come up; names its log.
    """
    if not (_JARS.parent / "installed").exists():
        raise UnavailableError("Cassandra is not on this machine yet: run infra/install-cassandra")
    hosts = tuple(f"127.0.0.{number}" for number in range(1, nodes + 1))
    for host in hosts:
        refuse_a_taken_port("Cassandra", port, host=host)
        refuse_a_taken_port("Cassandra", storage_port, host=host)
    servers: list[LocalServer] = []
    try:
        # One by one: what was started before one fails is in the list, and is ended.
        servers.extend(
            start_node(folder, hosts, number, port=port, storage_port=storage_port, heap=heap)
            for number in range(nodes)
        )
        _await_ring(servers, hosts, port, password)
    except BaseException:
        stop_servers(servers)
        raise
    return LocalCassandra(hosts, port, USER, password, tuple(servers))


def start_node(
    folder: Path, hosts: Sequence[str], number: int, *, port: int, storage_port: int, heap: str
) -> LocalServer:
    """Start one node of a ring and return at once.

    Raises:
        UnavailableError: if Java cannot be started.
    """
    place = (folder / f"node-{number + 1}").absolute()
    configuration = place / "configuration"
    configuration.mkdir(parents=True, exist_ok=True)
    filled = Template((_SERVER / "cassandra.yaml").read_text(encoding="utf-8")).substitute(
        token=number * _TOKENS // len(hosts) - _TOKENS // 2,
        seeds=",".join(f"{host}:{storage_port}" for host in hosts),
        host=hosts[number],
        port=port,
        storage_port=storage_port,
        folder=place,
    )
    (configuration / "cassandra.yaml").write_text(filled, encoding="utf-8")
    command = [
        _java(),
        f"@{_SERVER / 'jvm17-server.options'}",
        f"-Xms{heap}",
        f"-Xmx{heap}",
        f"-Dcassandra.config=file://{configuration / 'cassandra.yaml'}",
        f"-Dlogback.configurationFile={_SERVER / 'logback.xml'}",
        f"-Dcassandra.storagedir={place}",
        "-Dcassandra-foreground=yes",
        "-cp",
        f"{configuration}:{_JARS}/*",
        "org.apache.cassandra.service.CassandraDaemon",
    ]
    return start_server(
        f"Cassandra on {hosts[number]}",
        command,
        log=place / "cassandra.log",
        environment=dict(os.environ),
        folder=place,
    )


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    found = (shutil.which("java", path=f"{home}/bin") if home else None) or shutil.which("java")
    if found is None:
        raise UnavailableError("Cassandra needs a Java 17 runtime: run infra/install-runtime")
    return found


def _await_ring(servers: Sequence[LocalServer], hosts: Sequence[str], port: int, password: str) -> None:
    """Wait until each node takes queries, then make our role, known to all nodes, and lock the default one."""
    for host in hosts:
        wait_until_ready(
            servers,
            lambda host=host: (
                _asks(host, port, (USER, password), len(hosts))  # type: ignore[misc]
                or _asks(host, port, _DEFAULT_ROLE, len(hosts))
            ),
            seconds=_START_SECONDS,
        )
    if _asks(hosts[0], port, (USER, password), len(hosts)):
        return
    # Who may log in must be known while a node is down.
    replication = f"{{'class': 'NetworkTopologyStrategy', 'datacenter1': {len(hosts)}}}"
    _as(
        _DEFAULT_ROLE,
        hosts[0],
        port,
        lambda session: [
            session.execute(f"ALTER KEYSPACE system_auth WITH replication = {replication}"),
            session.execute(
                f"CREATE ROLE {USER} WITH SUPERUSER = true AND LOGIN = true AND PASSWORD = %s", (password,)
            ),
        ],
    )
    _as((USER, password), hosts[0], port, lambda session: session.execute("ALTER ROLE cassandra WITH LOGIN = false"))


def _asks(host: str, port: int, role: tuple[str, str], nodes: int) -> bool:
    """Whether this node takes a query and sees the whole ring."""
    try:
        peers = _as(role, host, port, lambda session: list(session.execute("SELECT peer FROM system.peers")))
    except (DriverException, NoHostAvailable, OSError):
        return False
    return len(peers) == nodes - 1


@contextmanager
def _quiet_driver() -> Iterator[None]:
    """The driver tells of every refusal, which are many until a ring has started."""
    logger = logging.getLogger("cassandra")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _as(role: tuple[str, str], host: str, port: int, ask: Callable[[Session], Any]) -> Any:
    profile = ExecutionProfile(
        WhiteListRoundRobinPolicy([host]), consistency_level=ConsistencyLevel.ALL, request_timeout=30
    )
    cluster = Cluster(
        [host],
        port=port,
        auth_provider=PlainTextAuthProvider(*role),
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        protocol_version=5,
        connect_timeout=10,
    )
    with _quiet_driver():
        try:
            return ask(cluster.connect())
        finally:
            cluster.shutdown()
