"""One Spark for all tests of a process, in a place where some days have 23 and some 25 hours; one Cassandra and one
server of the Redis protocol for all tests of a run.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import count

import pytest
import redis
from pyspark.sql import SparkSession
from servers import Server, shared_server

from pipelines.cassandra_schema import migrate
from pipelines.spark_session import spark_session
from pipelines.stores.cassandra_session import connect
from pipelines.stores.places import Places

# PySpark takes a main module without a file, as that of a pytest-xdist worker, for a doctest, and ends the process.
if not hasattr(sys.modules["__main__"], "__file__"):
    sys.modules["__main__"].__file__ = __file__

_numbers = count(1)
# A change of schema is slow where two cores are busy with tests.
_SCHEMA_SECONDS = 60


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, so that no worker is left with a long one when the others are done."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: slow[item.path] == 0)


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    options = {
        # What is UTC must be so by our own doing: machine and session stand in Berlin.
        "spark.driver.extraJavaOptions": "-Duser.timezone=Europe/Berlin -XX:TieredStopAtLevel=1",
        "spark.sql.session.timeZone": "Europe/Berlin",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.adaptive.enabled": "false",
    }
    with spark_session("tests", "local[2]", "1g", options) as session:
        yield session


def _shared(kind: str, tmp_path_factory: pytest.TempPathFactory, **options: object) -> dict:
    is_worker = "PYTEST_XDIST_WORKER" in os.environ
    of_run = tmp_path_factory.getbasetemp().parent if is_worker else tmp_path_factory.getbasetemp()
    return shared_server(kind, of_run / "servers" / kind, os.getppid() if is_worker else os.getpid(), **options)


@pytest.fixture(scope="session")
def cassandra_server(tmp_path_factory) -> Server:
    """One node; `MARQUEE_TEST_CASSANDRA=HOST:PORT` names one that runs already, with its first superuser."""
    if named := os.environ.get("MARQUEE_TEST_CASSANDRA"):
        host, port = named.split(":")
        return Server(host, int(port), "cassandra", "cassandra")
    said = _shared("cassandra", tmp_path_factory)
    return Server(said["host"], said["port"], said["user"], said["password"])


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory) -> Server:
    """With 64 databases; `MARQUEE_TEST_REDIS=HOST:PORT` names one that runs already."""
    if named := os.environ.get("MARQUEE_TEST_REDIS"):
        host, port = named.split(":")
        return Server(host, int(port))
    said = _shared("redis", tmp_path_factory)
    return Server(said["host"], said["port"])


def _worker_number() -> int:
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


@pytest.fixture
def redis_database(redis_server) -> Iterator[int]:
    """The number of an empty database of this worker's own."""
    number = 40 + _worker_number()
    with redis.Redis(host=redis_server.host, port=redis_server.port, db=number) as client:
        client.flushdb()
        yield number
        client.flushdb()


@pytest.fixture
def redis_client(redis_server, redis_database) -> Iterator[redis.Redis]:
    """A connection to that database, to look behind a store."""
    with redis.Redis(redis_server.host, redis_server.port, redis_database) as client:
        yield client


@pytest.fixture(scope="session")
def _worker_keyspace(cassandra_server) -> Iterator[tuple[str, object]]:
    name = f"tests_{os.getpid()}_{next(_numbers)}"
    places = Places(
        f"cassandra://{cassandra_server.user}@{cassandra_server.host}:{cassandra_server.port}/{name}",
        cassandra_password=cassandra_server.password,
    )
    migrate(places)
    cluster, session = connect(places)
    yield name, session
    session.execute(f"DROP KEYSPACE {name}", timeout=_SCHEMA_SECONDS)
    cluster.shutdown()


@pytest.fixture
def keyspace(_worker_keyspace) -> str:
    """The name of a keyspace with our tables, all empty, of this worker's own."""
    name, session = _worker_keyspace
    tables = session.execute("SELECT table_name FROM system_schema.tables WHERE keyspace_name = %s", (name,))
    asked = [
        session.execute_async(f"TRUNCATE {name}.{row.table_name}", timeout=_SCHEMA_SECONDS)
        for row in tables
        if row.table_name != "schema_versions"
    ]
    for answer in asked:
        answer.result()
    return name


@pytest.fixture
def places(cassandra_server, keyspace, redis_server, redis_database) -> Places:
    """A fresh Cassandra with a fresh Redis in front."""
    return Places(
        f"cassandra://{cassandra_server.user}@{cassandra_server.host}:{cassandra_server.port}/{keyspace}",
        cache=f"redis://{redis_server.host}:{redis_server.port}/{redis_database}",
        cassandra_password=cassandra_server.password,
    )
