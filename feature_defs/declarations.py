"""The words in which tables and features are declared.

Names and argument order follow Feast (`Entity`, `FeatureView`, `Field`, `ttl`, `timestamp_field`,
`created_timestamp_column`), so that its users feel at home; Feast itself is not a dependency. Schemas for Arrow and
Spark, expectations and the data dictionary are all derived from these declarations and written nowhere else.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class Dtype(StrEnum):
    """The type of a scalar value, by its Arrow name. A timestamp is in UTC, to the microsecond."""

    BOOL = "bool"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    STRING = "string"
    TIMESTAMP = "timestamp"
    DATE = "date"


@dataclass(frozen=True)
class Array:
    """A list of scalars; rules on the field hold for each element."""

    element: Dtype


class Severity(StrEnum):
    """What a breach of a rule does to the write in which it is found."""

    CRITICAL = "critical"  # nothing is written, the rejected rows are kept in quarantine
    ASIDE = "aside"  # the rows are set aside in quarantine, the others are written
    WARNING = "warning"  # everything is written, the count is recorded


@dataclass(frozen=True)
class NotNull:
    """A value is there."""

    severity: Severity = Severity.CRITICAL


@dataclass(frozen=True)
class Between:
    """A value is NaN nowhere and lies between two bounds, both included; `None` leaves a side open."""

    low: float | None = None
    high: float | None = None
    severity: Severity = Severity.CRITICAL


@dataclass(frozen=True)
class OneOf:
    """A value is one of a closed list."""

    values: tuple[str, ...]
    severity: Severity = Severity.CRITICAL


@dataclass(frozen=True)
class Near:
    """A timestamp lies at most `before` earlier and `after` later than another column of the same row."""

    other: str
    before: timedelta
    after: timedelta
    severity: Severity = Severity.ASIDE


Rule = NotNull | Between | OneOf | Near


@dataclass(frozen=True)
class Field:
    """A column: what it is called, of what type, what it means, what must hold of it."""

    name: str
    dtype: Dtype | Array
    description: str
    rules: tuple[Rule, ...] = ()

    @property
    def is_required(self) -> bool:
        """Whether the value may never be null."""
        return any(isinstance(rule, NotNull) for rule in self.rules)


@dataclass(frozen=True)
class Table:
    """A table of the lake or the warehouse.

    `key` names the columns that identify a row within its day and by which the rows of a day are sorted. In the lake
    every table is partitioned by a column `day` beside the declared ones; in the warehouse the UTC date of `day_of`
    is the day a row belongs to (`None`: the table has no days, it is read as it stands).
    """

    name: str
    description: str
    fields: tuple[Field, ...]
    key: tuple[str, ...]
    day_of: str | None = None

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    def __getitem__(self, name: str) -> Field:
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(f"{self.name} has no column {name}")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(field.name for field in self.fields)


@dataclass(frozen=True)
class Entity:
    """What a feature describes, and the columns that join it."""

    name: str
    join_keys: tuple[str, ...]
    description: str


@dataclass(frozen=True)
class FeatureView:
    """Features of an entity over time.

    A row holds from `timestamp_field` on, for at most `ttl`, and may be used only by what happens at or after
    `created_timestamp_column`: the moment from which the row could be known.
    """

    name: str
    entities: tuple[Entity, ...]
    ttl: timedelta
    schema: tuple[Field, ...]
    timestamp_field: str
    created_timestamp_column: str
    description: str

    @property
    def join_keys(self) -> tuple[str, ...]:
        """The columns that identify whom a row describes."""
        return tuple(key for entity in self.entities for key in entity.join_keys)

    @property
    def features(self) -> tuple[str, ...]:
        """The names of the features: all columns but keys and clocks."""
        clocks = (self.timestamp_field, self.created_timestamp_column)
        return tuple(field.name for field in self.schema if field.name not in (*self.join_keys, *clocks))

    @property
    def table(self) -> Table:
        """The lake table that holds the view's rows, one day of building after another."""
        return Table(self.name, self.description, self.schema, key=(*self.join_keys, self.timestamp_field))
