"""The statements by which a segment of the spool enters the warehouse, in the SQL that DuckDB and Snowflake share.

They run in one transaction, over relations that hold the segment's rows: `new_answers`, `new_events` and, where there
are any, `new_preferences`.
"""

# Statements are put together from declared names alone; values are bound.
# ruff: noqa: S608

from collections.abc import Callable

from feature_defs.events import ANSWERS, EVENTS
from feature_defs.users import PREFERENCES

SEGMENTS = "spool_segments"
# What an event takes from the answer, never from its sender.
_JOINED = ("run_id", "slot", "propensity")


def add_answers(quote: Callable[[str], str]) -> str:
    """Insert the answers that are not there; `quote` makes a name an identifier."""
    columns = ", ".join(map(quote, ANSWERS.names))
    return (
        f"INSERT INTO answers ({columns}) SELECT {columns} FROM new_answers AS n "
        f"WHERE NOT EXISTS (SELECT 1 FROM answers AS a WHERE {_same(quote, 'a', 'n', ANSWERS.key)}) "
        f"QUALIFY ROW_NUMBER() OVER (PARTITION BY {', '.join(map(quote, ANSWERS.key))} "
        f"ORDER BY {quote('answered_at')}) = 1"
    )


def add_preferences(quote: Callable[[str], str]) -> str:
    """Insert what users said, as far as it is not there."""
    columns, keys = ", ".join(map(quote, PREFERENCES.names)), ", ".join(map(quote, PREFERENCES.key))
    return (
        f"INSERT INTO preferences ({columns}) SELECT {columns} FROM new_preferences AS n "
        f"WHERE NOT EXISTS (SELECT 1 FROM preferences AS p WHERE {_same(quote, 'p', 'n', PREFERENCES.key)}) "
        f"QUALIFY ROW_NUMBER() OVER (PARTITION BY {keys} ORDER BY {quote('said_at')}) = 1"
    )


def complete_events(quote: Callable[[str], str]) -> str:
    """Give events that came before their answer its run, slot and propensity."""
    settings = ", ".join(f"{quote(name)} = a.{quote(name)}" for name in _JOINED)
    return (
        f"UPDATE events SET {settings} FROM ({_one_answer(quote, 'new_answers')}) AS a "
        f"WHERE {_same(quote, 'events', 'a', ('request_id', 'user_id', 'item_id'))} AND events.{quote('slot')} IS NULL"
    )


def add_events(quote: Callable[[str], str]) -> str:
    """Insert the events that are not there, each with the run, slot and propensity of its answer."""
    columns = ", ".join(map(quote, EVENTS.names))
    values = ", ".join(f"{'a' if name in _JOINED else 'n'}.{quote(name)}" for name in EVENTS.names)
    request = quote("request_id")
    answered = f"SELECT * FROM answers WHERE {request} IN (SELECT {request} FROM new_events)"
    return (
        f"INSERT INTO events ({columns}) SELECT {values} FROM ("
        f"SELECT * FROM new_events QUALIFY ROW_NUMBER() OVER "
        f"(PARTITION BY {quote('event_id')} ORDER BY {quote('received_at')}) = 1) AS n "
        f"LEFT JOIN ({_one_answer(quote, f'({answered}) AS held')}) AS a "
        f"ON {_same(quote, 'n', 'a', ('request_id', 'user_id', 'item_id'))} "
        f"WHERE NOT EXISTS (SELECT 1 FROM events AS e WHERE e.{quote('event_id')} = n.{quote('event_id')})"
    )


def _one_answer(quote: Callable[[str], str], relation: str) -> str:
    """One slot for each title of an answer: joining must not multiply events."""
    keys = ", ".join(map(quote, ("request_id", "user_id", "item_id")))
    return (
        f"SELECT {keys}, {', '.join(map(quote, _JOINED))} FROM {relation} "
        f"QUALIFY ROW_NUMBER() OVER (PARTITION BY {keys} ORDER BY {quote('slot')}) = 1"
    )


def _same(quote: Callable[[str], str], left: str, right: str, names: tuple[str, ...]) -> str:
    return " AND ".join(f"{left}.{quote(name)} = {right}.{quote(name)}" for name in names)
