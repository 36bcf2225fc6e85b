"""How Cassandra is reached: its address in the settings, a session, and what goes wrong in one sentence.

Jobs and the endpoint reach it alike. They differ in what they ask for, which is named by execution profiles: jobs write
and read at the consistency of writes, since they verify; what decides (a pointer before it moves, the newest attempt)
is read at SERIAL, which sees every lightweight transaction that was begun; the endpoint reads at the nearest replica
and within a deadline.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cassandra import (
    AuthenticationFailed,
    ConsistencyLevel,
    DriverException,
    InvalidRequest,
    OperationTimedOut,
    Timeout,
    Unauthorized,
    Unavailable,
    UnresolvableContactPoints,
    WriteType,
)
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, Session
from cassandra.connection import ConnectionBusy, ConnectionException
from cassandra.policies import (
    DCAwareRoundRobinPolicy,
    ExponentialReconnectionPolicy,
    FallthroughRetryPolicy,
    RetryPolicy,
    TokenAwarePolicy,
)
from cassandra.pool import NoConnectionsAvailable
from cassandra.protocol import ErrorMessage

from pipelines.errors import UnavailableError, UsageError
from pipelines.stores.places import Places

# Execution profiles: what jobs write and read, what decides, and what the endpoint reads.
STORING = EXEC_PROFILE_DEFAULT
DECIDING = "deciding"
LOOKUP = "lookup"

PROTOCOL = 5
_CONNECT_SECONDS = 3
_STORING_SECONDS = 10
_LOOKUP_SECONDS = 0.1
_FIRST_RECONNECT_SECONDS, _LAST_RECONNECT_SECONDS = 0.5, 10
_MOST_RETRIES = 2
_FORM = "cassandra://USER@HOST[:PORT][,HOST...]/KEYSPACE"
_HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)"
_ADDRESS = re.compile(
    rf"cassandra://(?P<user>[^@:/]+)@(?P<first>{_HOST})(?::(?P<port>\d{{1,5}}))?(?P<more>(?:,{_HOST})*)"
    r"/(?P<keyspace>[a-z][a-z0-9_]{0,47})"
)
# What a driver's call may raise: not all of it has one root.
DRIVER_ERRORS = (
    DriverException,
    NoHostAvailable,
    NoConnectionsAvailable,
    ConnectionException,
    ConnectionBusy,
    ErrorMessage,
    OSError,
)


@dataclass(frozen=True)
class CassandraAddress:
    """Where a keyspace is. All hosts listen on one port; the first that answers names all others."""

    user: str
    hosts: tuple[str, ...]
    port: int
    keyspace: str

    def __str__(self) -> str:
        hosts = [f"[{host}]" if ":" in host else host for host in self.hosts]
        return f"cassandra://{self.user}@{','.join([f'{hosts[0]}:{self.port}', *hosts[1:]])}/{self.keyspace}"


def parse_address(address: str) -> CassandraAddress:
    """An address as the settings have it.

    Raises:
        UsageError: if it is of another form.
    """
    match = _ADDRESS.fullmatch(address)
    port = int(match["port"] or 9042) if match else 0
    if not match or not 0 < port < 65536:
        raise UsageError(f"an address of Cassandra is {_FORM}, its keyspace in lower case, not {address!r}")
    hosts = tuple(host.strip("[]") for host in (match["first"] + match["more"]).split(","))
    return CassandraAddress(match["user"], hosts, port, match["keyspace"])


def connect(places: Places, *, keyspace: bool = True) -> tuple[Cluster, Session]:
    """A session with the three execution profiles of this module; `cluster.shutdown()` ends it.

    Args:
        places: where lists are kept.
        keyspace: whether the session is in the address's keyspace, which then must exist.

    Raises:
        UsageError: if the address or a consistency level is of no known form.
        UnavailableError: if no host answers in time, or it refuses the user, or there is no such keyspace.
    """
    address = parse_address(places.lists)
    # A host that goes down and comes back is the driver's affair; what we cannot do without it we say ourselves.
    logging.getLogger("cassandra").setLevel(logging.CRITICAL)
    with in_words(address):
        cluster = Cluster(
            list(address.hosts),
            address.port,
            compression=False,  # packed lists do not shrink much, and the driver's compression is slow
            auth_provider=PlainTextAuthProvider(address.user, places.cassandra_password),
            protocol_version=PROTOCOL,
            connect_timeout=_CONNECT_SECONDS,
            control_connection_timeout=_CONNECT_SECONDS,
            reconnection_policy=ExponentialReconnectionPolicy(
                _FIRST_RECONNECT_SECONDS, _LAST_RECONNECT_SECONDS, max_attempts=None
            ),
            execution_profiles=_profiles(places),
            monitor_reporting_enabled=False,
            application_name="marquee",
        )
        try:
            session = cluster.connect()
            if keyspace:
                session.set_keyspace(address.keyspace)  # says so if there is none, which `connect` does not
            return cluster, session
        except BaseException:
            cluster.shutdown()
            raise


@contextmanager
def in_words(address: CassandraAddress) -> Iterator[None]:
    """What the driver raises within, as an `UnavailableError` of one sentence.

    Raises:
        UnavailableError: for whatever the driver raised.
    """
    try:
        yield
    except DRIVER_ERRORS as error:
        raise UnavailableError(sentence(error, address)) from None


def sentence(error: BaseException, address: CassandraAddress) -> str:
    """What a driver's error means to whoever reads a job's last line; it holds no secrets."""
    if isinstance(error, NoHostAvailable) and error.errors:
        causes = list(error.errors.values()) if isinstance(error.errors, dict) else list(error.errors)
        telling = [one for one in causes if isinstance(one, (AuthenticationFailed, DriverException, ErrorMessage))]
        if telling and not isinstance(telling[0], (NoHostAvailable, OperationTimedOut)):
            return sentence(telling[0], address)
    match error:
        case UnresolvableContactPoints():
            said = f"no host of {address} is known: is its name right?"
        case AuthenticationFailed():
            said = f"Cassandra refuses the user {address.user!r} or the password of {address}"
        case Unauthorized():
            said = f"the user {address.user!r} may not do this in the keyspace {address.keyspace} of {address}"
        case InvalidRequest() if "eyspace" in str(error) and "does not exist" in str(error):
            said = f"there is no keyspace {address.keyspace} in {address}: python -m jobs.migrate_cassandra makes it"
        case InvalidRequest():
            said = (
                f"the tables of {address} are not as needed: python -m jobs.migrate_cassandra makes them "
                f"({_first_line(error)})"
            )
        case Unavailable():
            said = (
                f"{address} has too few replicas: {error.alive_replicas} of {error.required_replicas} "
                f"needed for {ConsistencyLevel.value_to_name[error.consistency]} are alive"
            )
        case Timeout() | OperationTimedOut():
            said = f"{address} did not answer in time"
        case NoHostAvailable() | ConnectionException() | NoConnectionsAvailable() | OSError():
            said = f"no host of {address} answers: is Cassandra running there, and its data centre named rightly?"
        case _:
            said = f"{address} cannot be used ({_first_line(error)})"
    return said


class BoundedRetries(RetryPolicy):  # type: ignore[misc]  # the driver ships no types
    """Again where it may help and can do no harm: our statements are idempotent, but for lightweight transactions.

    Whether one of those was applied is not known after a timeout: whoever sent it reads and decides.
    """

    def on_read_timeout(
        self,
        query: object,  # noqa: ARG002
        consistency: int,
        required_responses: int,  # noqa: ARG002
        received_responses: int,  # noqa: ARG002
        data_retrieved: bool,  # noqa: ARG002
        retry_num: int,
    ) -> tuple[int, int | None]:
        """See `RetryPolicy`."""
        return (self.RETRY, consistency) if retry_num < _MOST_RETRIES else (self.RETHROW, None)

    def on_write_timeout(
        self,
        query: object,  # noqa: ARG002
        consistency: int,
        write_type: int,
        required_responses: int,  # noqa: ARG002
        received_responses: int,  # noqa: ARG002
        retry_num: int,
    ) -> tuple[int, int | None]:
        """See `RetryPolicy`."""
        may_help = write_type != WriteType.CAS and retry_num < _MOST_RETRIES
        return (self.RETRY, consistency) if may_help else (self.RETHROW, None)

    def on_request_error(
        self,
        query: object,  # noqa: ARG002
        consistency: int,  # noqa: ARG002
        error: Exception,  # noqa: ARG002
        retry_num: int,
    ) -> tuple[int, int | None]:
        """See `RetryPolicy`."""
        return (self.RETRY_NEXT_HOST, None) if retry_num < _MOST_RETRIES else (self.RETHROW, None)


def _profiles(places: Places) -> dict[object, ExecutionProfile]:
    near = TokenAwarePolicy(DCAwareRoundRobinPolicy(places.cassandra_datacenter))
    writing = _consistency("MARQUEE_CASSANDRA_WRITE_CONSISTENCY", places.cassandra_write_consistency)
    reading = _consistency("MARQUEE_CASSANDRA_READ_CONSISTENCY", places.cassandra_read_consistency)
    return {
        STORING: _profile(near, writing, BoundedRetries(), _STORING_SECONDS),
        DECIDING: _profile(near, ConsistencyLevel.SERIAL, BoundedRetries(), _STORING_SECONDS),
        LOOKUP: _profile(near, reading, FallthroughRetryPolicy(), _LOOKUP_SECONDS),
    }


def _profile(near: TokenAwarePolicy, consistency: int, retries: RetryPolicy, seconds: float) -> ExecutionProfile:
    return ExecutionProfile(
        load_balancing_policy=near,
        retry_policy=retries,
        consistency_level=consistency,
        serial_consistency_level=ConsistencyLevel.SERIAL,
        request_timeout=seconds,
    )


def _consistency(setting: str, name: str) -> int:
    known: dict[str, int] = ConsistencyLevel.name_to_value
    if name not in known:
        raise UsageError(f"the setting {setting} is {name!r}; there are {', '.join(known)}")
    return known[name]


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:200]
