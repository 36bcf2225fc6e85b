"""The keyspace of lists in Cassandra and its tables: numbered files of CQL under `infra/cassandra/`, each applied once.

A file is applied statement by statement and then named in `schema_versions`. Every statement may be said twice, so that
whoever was interrupted begins again.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cassandra import RequestValidationException, Unauthorized
from cassandra.cluster import Session
from cassandra.protocol import SyntaxException

from pipelines.errors import DataError, UsageError
from pipelines.stores.cassandra_session import connect, in_words, parse_address
from pipelines.stores.places import Places

FOLDER = Path(__file__).resolve().parents[1] / "infra" / "cassandra"
_VERSIONS = "CREATE TABLE IF NOT EXISTS schema_versions (name text PRIMARY KEY, applied_at timestamp)"
_SCHEMA_SECONDS = 60  # all nodes agree on a schema before the next statement
_COMMENT = re.compile(r"^\s*--.*$", re.MULTILINE)
_STATEMENT_END = re.compile(r";\s*$", re.MULTILINE)
_OPTION = re.compile(r"[A-Za-z0-9_./-]+")


@dataclass(frozen=True)
class Migrated:
    """What was done: whether the keyspace was made, and the names of the files that were applied."""

    is_keyspace_new: bool
    applied: tuple[str, ...]


def migrate(places: Places, folder: Path = FOLDER) -> Migrated:
    """Make the keyspace and its tables, as far as they are not there.

    Args:
        places: where lists are kept.
        folder: of the .cql files; statements end with a semicolon at the end of a line.

    Raises:
        UsageError: if the address or the replication is of no known form.
        DataError: if Cassandra understands a statement and refuses it, or does not understand it.
        UnavailableError: if Cassandra does not answer, or refuses the user.
    """
    address = parse_address(places.lists)
    replication = _replication(places.cassandra_replication)
    cluster, session = connect(places, keyspace=False)
    try:
        with in_words(address):
            known = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = %s"
            # A user who may not make keyspaces may still make tables in one that others made.
            is_new = session.execute(known, [address.keyspace]).one() is None
            if is_new:
                _apply(session, f"CREATE KEYSPACE IF NOT EXISTS {address.keyspace} WITH replication = {replication}")
            session.set_keyspace(address.keyspace)
            _apply(session, _VERSIONS)
            before = {row.name for row in session.execute("SELECT name FROM schema_versions")}
            applied = [path for path in sorted(folder.glob("*.cql")) if path.name not in before]
            for path in applied:
                for statement in statements(path.read_text(encoding="utf-8")):
                    _apply(session, statement, path.name)
                said = "INSERT INTO schema_versions (name, applied_at) VALUES (%s, toTimestamp(now()))"
                session.execute(said, [path.name])
    finally:
        cluster.shutdown()
    return Migrated(is_new, tuple(path.name for path in applied))


def statements(text: str) -> list[str]:
    """The statements of a file of CQL, without its comments."""
    parts = (part.strip() for part in _STATEMENT_END.split(_COMMENT.sub("", text)))
    return [part for part in parts if part]


def _apply(session: Session, statement: str, where: str = "the keyspace") -> None:
    try:
        session.execute(statement, timeout=_SCHEMA_SECONDS)
    except Unauthorized:
        raise
    except (RequestValidationException, SyntaxException) as error:
        first_line = str(error).strip().partition("\n")[0]
        raise DataError(f"{where} cannot be applied to Cassandra: {first_line}") from None


def _replication(options: Mapping[str, str]) -> str:
    for text in (*options, *options.values()):
        if not _OPTION.fullmatch(text):
            raise UsageError(f"the setting MARQUEE_CASSANDRA_REPLICATION has {text!r}, which is no option of CQL")
    return "{" + ", ".join(f"'{name}': '{value}'" for name, value in options.items()) + "}"
