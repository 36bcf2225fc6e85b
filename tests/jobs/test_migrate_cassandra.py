import json
import os
import subprocess
import sys

import pytest

from pipelines.cassandra_schema import FOLDER, migrate, statements
from pipelines.errors import DataError, UsageError
from pipelines.stores.cassandra import CassandraStore
from pipelines.stores.cassandra_session import connect
from pipelines.stores.places import Places

FILES = sorted(path.name for path in FOLDER.glob("*.cql"))


@pytest.fixture(scope="module")
def places(cassandra_server):
    server = cassandra_server
    name = f"migrated_{os.getpid()}"
    places = Places(f"cassandra://{server.user}@{server.host}:{server.port}/{name}", cassandra_password=server.password)
    yield places
    cluster, session = connect(places, keyspace=False)
    session.execute(f"DROP KEYSPACE IF EXISTS {name}", timeout=60)
    cluster.shutdown()


def run(lists, password=""):
    environment = {
        **{name: text for name, text in os.environ.items() if not name.startswith("MARQUEE_")},
        "MARQUEE_LISTS": lists,
        "MARQUEE_CASSANDRA_PASSWORD": password,
    }
    command = [sys.executable, "-m", "jobs.migrate_cassandra"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_the_keyspace_and_its_tables_are_made_once_and_grow_by_new_files(places, tmp_path):
    first = run(places.lists, places.cassandra_password)
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout.splitlines()[-1]) == {
        "job": "migrate_cassandra",
        "keyspace": places.lists.rpartition("/")[2],
        "is_keyspace_new": True,
        "applied": FILES,
    }
    with CassandraStore(places) as store:
        attempt = store.open_attempt("20260131-bbbbbbbbbbbb")
    second = run(places.lists, places.cassandra_password)
    assert second.returncode == 0
    assert json.loads(second.stdout.splitlines()[-1])["applied"] == []
    assert "is up to date" in second.stdout
    with CassandraStore(places) as store:
        assert store.open_attempt("20260131-bbbbbbbbbbbb") > attempt

    for name in FILES:
        (tmp_path / name).symlink_to(FOLDER / name)
    (tmp_path / "0900_more.cql").write_text(
        "-- One more; a comment.\nCREATE TABLE IF NOT EXISTS more (a int PRIMARY KEY);\n\nSELECT nonsense FROM;\n"
    )
    with pytest.raises(DataError, match=r"0900_more\.cql cannot be applied"):
        migrate(places, tmp_path)
    (tmp_path / "0900_more.cql").write_text("CREATE TABLE IF NOT EXISTS more (a int PRIMARY KEY);\n")
    assert migrate(places, tmp_path).applied == ("0900_more.cql",)
    assert migrate(places, tmp_path).applied == ()


def test_statements_are_told_from_comments():
    text = "-- a; b\nCREATE TABLE a (\n    -- c\n    b int PRIMARY KEY\n) WITH comment = 'd; e';\n\nDROP TABLE f;\n"
    first, second = statements(text)
    assert first.endswith("WITH comment = 'd; e'")
    assert "--" not in first
    assert second == "DROP TABLE f"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.cql")), ids=lambda path: path.name)
def test_every_statement_may_be_said_twice(path):
    assert path.name[:4].isdecimal()
    for statement in statements(path.read_text()):
        assert "IF NOT EXISTS" in statement


def test_a_wrong_replication_is_refused_before_anything_is_asked():
    places = Places("cassandra://u@127.0.0.1:9/k", cassandra_replication={"class": "x'} AND durable_writes = {'"})
    with pytest.raises(UsageError, match="MARQUEE_CASSANDRA_REPLICATION"):
        migrate(places)


@pytest.mark.parametrize(
    ("lists", "exit_code", "said"),
    [
        ("work/lists.lmdb", 64, "names no Cassandra"),
        ("cassandra://h/k", 64, "an address of Cassandra is"),
        ("cassandra://u@127.0.0.1:9/k", 69, "no host of"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(lists, exit_code, said):
    done = run(lists)
    assert done.returncode == exit_code
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
