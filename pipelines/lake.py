"""Where tables are kept and how a day of one is replaced: the only module that knows.

Each table is a Delta table partitioned by `day`. A write replaces a range of days (or a shard of a day) in one commit,
after every row has been checked against the table's declaration; a reader pins a version. What a commit holds is told
by content digests, one a day, in the commit's own metadata: a write of what is already there is not made at all, so
that doing the same day twice changes nothing, its version included.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as pafs
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from feature_defs.declarations import Severity, Table
from feature_defs.record import QUARANTINE
from pipelines.arrow_schemas import arrow_schema
from pipelines.checks import Breach, breaches, conform, repeated_keys
from pipelines.digests import ContentDigest
from pipelines.errors import DataError, UnavailableError

# Enough for a person to see what is wrong; the count says how many there are.
_QUARANTINED_ROWS = 1000
_BATCH_ROWS = 256 * 1024
_COMMIT_TRIES = 20


@dataclass(frozen=True)
class Written:
    """What a write left behind: the version that holds it, and per day the digest of its content."""

    table: str
    version: int
    row_count: int
    digests: Mapping[str, str]
    is_new: bool
    warnings: tuple[str, ...] = ()
    aside_count: int = 0


@dataclass
class Lake:
    """The tables below one root: a folder, or a URI of an object store with its options."""

    root: str
    options: dict[str, str] = field(default_factory=dict)

    def replace(
        self,
        table: Table,
        rows: pa.Table | pa.RecordBatchReader,
        first_day: date,
        last_day: date | None = None,
        *,
        where: Mapping[str, str] | None = None,
        run_id: str | None = None,
    ) -> Written:
        """Replace the rows of a day, of a range of days, or of a part of them, with these.

        Args:
            table: what is declared of the rows.
            rows: the new rows: a table in any order, or a stream sorted by (`day`, key). For a range of days they
                carry a column `day`.
            first_day: the day replaced, or the first of a range.
            last_day: the last day of a range, included.
            where: further columns that bound what is replaced, beside the days: a shard, a run.
            run_id: the run that writes, for the commit's metadata.

        Raises:
            DataError: if a column is missing, of another type, or a critical rule is broken: nothing is written, the
                rejected rows are kept in the quarantine table; names the column, the rule and the count.
            UnavailableError: if the place cannot be written.
        """
        last_day = last_day or first_day
        what = f"{table.name} of {first_day}" + ("" if last_day == first_day else f" to {last_day}")
        with tempfile.TemporaryDirectory(prefix="marquee-") as folder, _unavailable(f"{table.name} in {self.root}"):
            spooled = Path(folder) / "rows.arrow"
            checked = self._check(table, rows, first_day, last_day, what, spooled)
            if checked.aside:
                self._quarantine(table, checked.aside)
            present = self.digests(table, first_day, last_day, where=where)
            if present == checked.digests:
                version = self.version(table) or 0
                return Written(
                    table.name, version, checked.row_count, present, False, checked.warnings, checked.aside_count
                )
            metadata = {
                "run_id": run_id or "",
                "first_day": str(first_day),
                "last_day": str(last_day),
                "where": json.dumps(dict(where or {}), sort_keys=True),
                "digests": json.dumps(checked.digests),
            }
            predicate = " AND ".join(
                [f"day >= '{first_day}' AND day <= '{last_day}'"]
                + [f"{name} = '{value}'" for name, value in (where or {}).items()]
            )
            with pa.OSFile(str(spooled)) as source:
                self._commit(table, pa.ipc.open_file(source), predicate, metadata)
        version = self.version(table) or 0
        return Written(
            table.name, version, checked.row_count, checked.digests, True, checked.warnings, checked.aside_count
        )

    def append(self, table: Table, rows: pa.Table, day: date) -> int:
        """Add checked rows to a day and return the version that holds them: for records, which are never replaced."""
        conforming = _refuse(table, conform(table, rows), f"{table.name} of {day}")
        with _unavailable(f"{table.name} in {self.root}"):
            write_deltalake(
                self._uri(table),
                conforming.append_column("day", pa.array([day] * rows.num_rows, pa.date32())),
                mode="append",
                partition_by=["day"],
                storage_options=self.options,
                commit_properties=CommitProperties(max_commit_retries=_COMMIT_TRIES),
            )
        return self.version(table) or 0

    def read(
        self,
        table: Table,
        first_day: date | None = None,
        last_day: date | None = None,
        *,
        version: int | None = None,
        columns: Sequence[str] | None = None,
        where: pc.Expression | None = None,
    ) -> pa.Table:
        """The rows of a range of days, of a pinned version or the newest, in no promised order.

        A table that was never written has no rows. `day` is a column like any other.
        """
        dataset = self.dataset(table, version=version)
        names = list(columns) if columns is not None else [*table.names, "day"]
        if dataset is None:
            schema = arrow_schema(table).append(pa.field("day", pa.date32()))
            return pa.schema([schema.field(name) for name in names]).empty_table()
        return dataset.to_table(columns=names, filter=_and(_days(first_day, last_day), where))

    def batches(
        self,
        table: Table,
        first_day: date | None = None,
        last_day: date | None = None,
        *,
        version: int | None = None,
        columns: Sequence[str] | None = None,
        where: pc.Expression | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """As `read`, batch by batch: memory does not grow with the rows."""
        dataset = self.dataset(table, version=version)
        if dataset is not None:
            names = list(columns) if columns is not None else [*table.names, "day"]
            yield from dataset.to_batches(columns=names, filter=_and(_days(first_day, last_day), where))

    def dataset(self, table: Table, *, version: int | None = None) -> ds.Dataset | None:
        """The files of a version as an Arrow dataset, or `None` if the table was never written."""
        delta = self._delta(table, version)
        if delta is None:
            return None
        # Not `delta.to_pyarrow_dataset()`: its file system calls back into Python from Arrow's threads, and a process
        # that ends while one of them still runs is aborted (deltalake 1.6.6, pyarrow 25: one run in three).
        system, prefix = self._file_system()
        return ds.dataset(
            [f"{prefix}/{table.name}/{file}" for file in _relative(delta)],
            schema=arrow_schema(table).append(pa.field("day", pa.date32())),
            filesystem=system,
            format="parquet",
            partitioning=ds.partitioning(pa.schema([pa.field("day", pa.date32())]), flavor="hive"),
            partition_base_dir=f"{prefix}/{table.name}",
        )

    def files(
        self, table: Table, first_day: date | None = None, last_day: date | None = None, *, version: int | None = None
    ) -> list[str]:
        """The Parquet files that hold a range of days in a version, for Spark to read; `day` is in their paths."""
        delta = self._delta(table, version)
        if delta is None:
            return []
        bounds = [("day", ">=", str(first_day))] if first_day else []
        bounds += [("day", "<=", str(last_day))] if last_day else []
        return sorted(delta.file_uris(bounds or None))

    def uri(self, table: Table) -> str:
        """The root of a table's files."""
        return self._uri(table)

    def version(self, table: Table) -> int | None:
        """The newest version, or `None` if the table was never written."""
        delta = self._delta(table, None)
        return None if delta is None else delta.version()

    def days(self, table: Table, *, version: int | None = None) -> list[date]:
        """The days that hold rows, in order."""
        delta = self._delta(table, version)
        if delta is None:
            return []
        return sorted({date.fromisoformat(str(partition["day"])) for partition in delta.partitions()})

    def digests(
        self,
        table: Table,
        first_day: date | None = None,
        last_day: date | None = None,
        *,
        where: Mapping[str, str] | None = None,
        version: int | None = None,
    ) -> dict[str, str]:
        """The digest of the content of each day (or of a shard of each) as last replaced."""
        delta = self._delta(table, version)
        found: dict[str, str] = {}
        covered: set[tuple[str, str]] = set()
        same_part = json.dumps(dict(where or {}), sort_keys=True)
        for commit in delta.history() if delta else []:  # newest first
            if "digests" not in commit or commit.get("where") != same_part:
                continue
            digests = json.loads(commit["digests"])
            span = (commit["first_day"], commit["last_day"])
            for day, digest in digests.items():
                if day not in found and not any(low <= day <= high for low, high in covered):
                    found[day] = digest
            covered.add(span)
        low, high = str(first_day or date.min), str(last_day or date.max)
        return {day: found[day] for day in sorted(found) if low <= day <= high}

    def _check(
        self,
        table: Table,
        rows: pa.Table | pa.RecordBatchReader,
        first_day: date,
        last_day: date,
        what: str,
        spooled: Path,
    ) -> "_Checked":
        """Check every row and lay the good ones down in a local file, sorted; refuse the whole on a critical breach."""
        schema = arrow_schema(table).append(pa.field("day", pa.date32()))
        checked = _Checked()
        digests: dict[date, ContentDigest] = {}
        critical: dict[tuple[str, str], int] = {}
        rejected: list[tuple[Breach, pa.Table]] = []
        warnings: dict[tuple[str, str], int] = {}
        previous: pa.Table | None = None
        with pa.OSFile(str(spooled), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for batch in _as_tables(rows):
                conforming = _with_day(table, batch, first_day, last_day)
                if isinstance(rows, pa.Table):
                    conforming = conforming.sort_by(
                        [("day", "ascending"), *((name, "ascending") for name in table.key)]
                    )
                found = breaches(table, conforming)
                keep: pa.BooleanArray | None = None
                for breach in found:
                    name = (breach.column, breach.rule)
                    if breach.severity is Severity.WARNING:
                        warnings[name] = warnings.get(name, 0) + breach.count
                        continue
                    rejected.append((breach, conforming.filter(breach.rows).slice(0, _QUARANTINED_ROWS)))
                    if breach.severity is Severity.CRITICAL:
                        critical[name] = critical.get(name, 0) + breach.count
                    else:
                        checked.aside.append(rejected[-1])
                        warnings[name] = warnings.get(name, 0) + breach.count
                        keep = pc.invert(breach.rows) if keep is None else pc.and_(keep, pc.invert(breach.rows))
                if keep is not None:
                    checked.aside_count += conforming.num_rows - int(pc.sum(keep).as_py() or 0)
                    conforming = conforming.filter(keep)
                keyed = conforming if previous is None else pa.concat_tables([previous, conforming])
                repeated = repeated_keys(table, keyed)
                if repeated is not None:
                    name = (repeated.column, repeated.rule)
                    critical[name] = critical.get(name, 0) + repeated.count
                    rejected.append((repeated, keyed.filter(repeated.rows).slice(0, _QUARANTINED_ROWS)))
                if conforming.num_rows:
                    previous = conforming.slice(conforming.num_rows - 1)
                if not critical:
                    for day in pc.unique(conforming.column("day")).to_pylist():
                        digest = digests.setdefault(day, ContentDigest(schema))
                        part = conforming.filter(pc.equal(conforming.column("day"), pa.scalar(day)))
                        for piece in part.combine_chunks().to_batches():
                            digest.update(piece)
                    writer.write_table(conforming, max_chunksize=_BATCH_ROWS)
                    checked.row_count += conforming.num_rows
        if critical:
            self._quarantine(table, rejected)
            faults = "; ".join(f"{column} {rule} ({_rows(count)})" for (column, rule), count in critical.items())
            raise DataError(f"{what} was refused and nothing written: {faults}; rejected rows are kept in quarantine")
        checked.digests = {str(day): digest.hexdigest() for day, digest in sorted(digests.items())}
        checked.warnings = tuple(f"{column} {rule} ({_rows(count)})" for (column, rule), count in warnings.items())
        return checked

    def _quarantine(self, table: Table, rejected: list[tuple[Breach, pa.Table]]) -> None:
        now = datetime.now(UTC)
        rows = [
            {
                "table_name": table.name,
                "column_name": breach.column,
                "rule": breach.rule,
                "row": json.dumps(row, default=str, sort_keys=True),
                "found_at": now,
            }
            for breach, broken in rejected
            for row in broken.to_pylist()
        ]
        self.append(QUARANTINE, pa.Table.from_pylist(rows, arrow_schema(QUARANTINE)), now.date())

    def _commit(
        self, table: Table, rows: pa.ipc.RecordBatchFileReader, predicate: str, metadata: Mapping[str, str]
    ) -> None:
        reader = pa.RecordBatchReader.from_batches(
            rows.schema, (rows.get_batch(index) for index in range(rows.num_record_batches))
        )
        for tries_left in reversed(range(_COMMIT_TRIES)):
            exists = self._delta(table, None) is not None
            properties = CommitProperties(custom_metadata=dict(metadata))
            try:
                if exists:
                    write_deltalake(
                        self._uri(table),
                        reader,
                        mode="overwrite",
                        predicate=predicate,
                        partition_by=["day"],
                        storage_options=self.options,
                        commit_properties=properties,
                    )
                else:
                    write_deltalake(
                        self._uri(table),
                        reader,
                        mode="error",
                        partition_by=["day"],
                        storage_options=self.options,
                        # A digest is found by walking the history: keep all of it.
                        configuration={"delta.logRetentionDuration": "interval 36500 days"},
                        commit_properties=properties,
                    )
            except CommitFailedError:
                # Another shard of the same day was committed meanwhile: what it wrote is not ours, write again.
                if not tries_left:
                    raise
                reader = pa.RecordBatchReader.from_batches(
                    rows.schema, (rows.get_batch(index) for index in range(rows.num_record_batches))
                )
            else:
                return

    def _delta(self, table: Table, version: int | None) -> DeltaTable | None:
        try:
            return DeltaTable(self._uri(table), version=version, storage_options=self.options)
        except TableNotFoundError:
            return None

    def _uri(self, table: Table) -> str:
        return f"{self.root.rstrip('/')}/{table.name}"

    def _file_system(self) -> tuple[pafs.FileSystem, str]:
        """Arrow's own file system for the root, and the root's path in it."""
        if "://" not in self.root:
            return pafs.LocalFileSystem(), str(Path(self.root).absolute())
        if self.root.startswith(("s3://", "s3a://")):
            given = {name.lower(): value for name, value in self.options.items()}
            names = {
                "access_key": "aws_access_key_id",
                "secret_key": "aws_secret_access_key",
                "session_token": "aws_session_token",
                "region": "aws_region",
                "endpoint_override": "aws_endpoint_url",
            }
            known = {name: given[key] for name, key in names.items() if key in given}
            return pafs.S3FileSystem(**known), self.root.split("://", 1)[1].rstrip("/")
        system, path = pafs.FileSystem.from_uri(self.root)
        return system, path.rstrip("/")


@dataclass
class _Checked:
    row_count: int = 0
    digests: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    aside: list[tuple[Breach, pa.Table]] = field(default_factory=list)
    aside_count: int = 0


def _as_tables(rows: pa.Table | pa.RecordBatchReader) -> Iterator[pa.Table]:
    if isinstance(rows, pa.Table):
        yield rows
        return
    is_empty = True
    for batch in rows:
        is_empty = False
        yield pa.Table.from_batches([batch])
    if is_empty:
        yield rows.schema.empty_table()


def _with_day(table: Table, rows: pa.Table, first_day: date, last_day: date) -> pa.Table:
    if "day" not in rows.schema.names:
        if first_day != last_day:
            raise ValueError("rows of several days must carry their day")
        rows = rows.append_column(
            "day", pa.array([first_day], pa.date32()).take(pa.array([0] * rows.num_rows, pa.int32()))
        )
    conforming = conform(table, rows, beside=["day"])
    days = pc.min_max(conforming.column("day")).as_py()
    if conforming.num_rows and not (first_day <= days["min"] and days["max"] <= last_day):
        raise ValueError(f"rows of {days['min']} to {days['max']} do not lie in {first_day} to {last_day}")
    return conforming


def _relative(delta: DeltaTable) -> list[str]:
    root = delta.table_uri.rstrip("/") + "/"
    return sorted(uri.removeprefix(root).removeprefix(root.removeprefix("file://")) for uri in delta.file_uris())


def _refuse(table: Table, rows: pa.Table, what: str) -> pa.Table:
    found = [breach for breach in breaches(table, rows) if breach.severity is Severity.CRITICAL]
    if found:
        raise DataError(f"{what} was refused and nothing written: {'; '.join(map(str, found))}")
    return rows


def _days(first_day: date | None, last_day: date | None) -> pc.Expression | None:
    low = None if first_day is None else pc.field("day") >= pa.scalar(first_day)
    high = None if last_day is None else pc.field("day") <= pa.scalar(last_day)
    return _and(low, high)


def _and(left: pc.Expression | None, right: pc.Expression | None) -> pc.Expression | None:
    return right if left is None else left if right is None else left & right


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"


@contextmanager
def _unavailable(what: str) -> Iterator[None]:
    """Say in one sentence that a place cannot be reached, read or written."""
    try:
        yield
    except (OSError, DeltaError) as error:
        raise UnavailableError(f"cannot write {what}: {str(error).splitlines()[0][:200]}") from error
