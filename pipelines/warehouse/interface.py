"""What a job may ask of the warehouse, whichever it is; DuckDB and Snowflake both keep these promises.

A day is a UTC date of the column that the table's declaration names in `day_of`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from types import TracebackType
from typing import Protocol, Self

import pyarrow as pa

from feature_defs.declarations import Table

# Rows of a batch that is read: a few tens of megabytes of the widest table.
BATCH_ROWS = 100_000


@dataclass(frozen=True)
class TakenUp:
    """What became of one segment of the spool: rows that are new in the warehouse, and repeated ones left out."""

    answer_count: int
    event_count: int
    repeated_event_count: int
    preference_count: int = 0


class Warehouse(Protocol):
    """A warehouse that is read. Every method raises what `pipelines.warehouse.open` says beside what is named here."""

    def columns(self, table: Table) -> tuple[str, ...]:
        """The columns that the table has in the warehouse, in lower case; empty where there is no such table."""

    def days(self, table: Table) -> tuple[date, date] | None:
        """The first and the last day of which there are rows; None where there are none, or the table has no days.

        Raises:
            DataError: if there is no such table.
        """

    def read_day(self, table: Table, day: date) -> Iterator[pa.RecordBatch]:
        """The rows of one day ordered by key; of a table without days all rows.

        Streamed in batches of about `BATCH_ROWS` rows, at least one, in the declared types. A declared column that is
        not there is left out, for `pipelines.checks.conform` to name, and one that is not declared is not read.

        Raises:
            DataError: if there is no such table, or values do not fit the declared type; names the column.
        """

    def read_days(self, table: Table, first_day: date, last_day: date) -> Iterator[pa.RecordBatch]:
        """The rows of the days from first to last, both included, ordered by day and key; else as `read_day`."""

    def close(self) -> None:
        """Let go of the connection."""

    def __enter__(self) -> Self:
        """Return itself, to be closed at the end of the block."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""


class LoadableWarehouse(Warehouse, Protocol):
    """A warehouse that is also written: by `load_warehouse` and `load_events`, and by nothing else."""

    def replace_all(self, rows: Mapping[Table, Iterable[pa.RecordBatch]]) -> dict[str, int]:
        """Put these rows in the place of all rows of their tables, in one transaction; returns rows a table.

        Until it is done, and if it fails or is killed, the tables are as they were.

        Raises:
            DataError: if a key is there twice; whatever an iterator of batches raises is passed on.
        """

    def take_up(self, segment: str, answers: pa.Table, events: pa.Table, preferences: pa.Table) -> TakenUp | None:
        """Add one segment of the spool, exactly once; None if its name was taken up before, and nothing is changed.

        The name of the segment and its rows are one transaction. Run, slot and propensity of an event come from the
        answer of the same request, user and title, whether the answer came before the event or comes later. An event
        id or an answer that the warehouse already holds is left out.

        Args:
            segment: the name of the segment, unique over all machines.
            answers: rows as `feature_defs.events.ANSWERS` declares them.
            events: rows as `feature_defs.events.EVENTS` declares them; their run, slot and propensity are not read.
            preferences: rows as `feature_defs.users.PREFERENCES` declares them.

        Raises:
            DataError: if a table of the warehouse lacks a declared column; names it.
        """
