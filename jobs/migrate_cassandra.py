"""Make the keyspace of lists in Cassandra, and its tables: python -m jobs.migrate_cassandra

Applies the files of `infra/cassandra/` that were not applied before; run it before the first night and after each
update. A keyspace that is there keeps its replication.
"""

from pipelines.cassandra_schema import migrate
from pipelines.command_line import run, say, say_result
from pipelines.errors import UsageError
from pipelines.settings import read_settings
from pipelines.stores.cassandra_session import parse_address


def main() -> None:
    """Bring the keyspace that the setting MARQUEE_LISTS names up to date."""
    places = read_settings().list_places
    if not places.lists.startswith("cassandra://"):
        raise UsageError("the setting MARQUEE_LISTS names no Cassandra: there is nothing to migrate")
    address = parse_address(places.lists)
    done = migrate(places)
    if done.is_keyspace_new:
        say(f"made the keyspace {address.keyspace}")
    for name in done.applied:
        say(f"applied {name}")
    if not done.applied:
        say(f"{address} is up to date")
    say_result(
        {
            "job": "migrate_cassandra",
            "keyspace": address.keyspace,
            "is_keyspace_new": done.is_keyspace_new,
            "applied": list(done.applied),
        }
    )


if __name__ == "__main__":
    run(main, description=__doc__)
