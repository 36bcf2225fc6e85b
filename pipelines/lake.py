"""Where tables are kept and how a day of one is replaced: the only module that knows.

Each table is a Delta table partitioned by `day`. A write replaces a range of days (or a shard of a day) in one commit,
after every row has been checked against the table's declaration; a reader pins a version. What a commit holds is told
by content digests, one a day, in the commit's own metadata: a write of what is already there is not made at all, so
that doing the same day twice changes nothing, its version included.

Rows of users whose erasure was asked for (`feature_defs.record.ERASURES`) are neither written nor read, from then on
and in old versions too; `expunge` and `vacuum` take them away.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as pafs
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from feature_defs.declarations import Table
from feature_defs.record import ERASURES, QUARANTINE
from pipelines import crash_points
from pipelines.arrow_schemas import arrow_schema
from pipelines.checked_rows import CheckedRows, check_rows
from pipelines.errors import RefusedError, UnavailableError
from pipelines.suppressed_rows import (
    NOBODY,
    drop_users,
    found_rows,
    holds_users,
    is_of_users,
    owners,
    part_digests,
    rows_without,
    user_column,
    without_users,
)

# Shards of a day and records are committed side by side: whoever comes second tries again.
_COMMIT_TRIES = 20
# Files that no version names may be of a writer that is about to commit them.
_UNCOMMITTED_HOURS = 24
_ROW_GROUP_BYTES = 16 * 1024 * 1024
# Commits that change no rows.
_HOUSEKEEPING = {"VACUUM START", "VACUUM END", "OPTIMIZE", "SET TBLPROPERTIES"}


@dataclass(frozen=True)
class Written:
    """What a write left behind: the version that holds it, per day the digest of its content, what was noted."""

    table: str
    version: int
    row_count: int
    digests: Mapping[str, str]
    is_new: bool
    notes: tuple[str, ...] = ()


@dataclass
class Lake:
    """The tables below one root: a folder, or a URI of an object store with its options."""

    root: str
    options: dict[str, str] = field(default_factory=dict)
    # Version of the erasures, and the users in it.
    _erased: tuple[int, pa.Array] = field(default=(-1, NOBODY), init=False, repr=False, compare=False)

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
        """Check rows (`pipelines.checked_rows.check_rows`) and replace a day, or a range of days, with them.

        Raises:
            DataError: if a column is missing, of another type, or a critical rule is broken: nothing is written, the
                rejected rows are kept in the quarantine table; names the column, the rule and the count.
            UnavailableError: if the place cannot be written.
        """
        with check_rows(table, rows, first_day, last_day) as checked:
            return self.commit(checked, where=where, run_id=run_id)

    def commit(
        self, checked: CheckedRows, *, where: Mapping[str, str] | None = None, run_id: str | None = None
    ) -> Written:
        """Replace the days of checked rows with them, in one commit; not at all if that is what they hold already.

        Args:
            checked: the rows.
            where: further columns that bound what is replaced, beside the days: a shard, a run.
            run_id: the run that writes, for the commit's metadata.

        Raises:
            DataError: as `replace`.
            UnavailableError: as `replace`.
        """
        table, first_day, last_day = checked.table, checked.first_day, checked.last_day
        with _in_words(f"cannot write {table.name} in {self.root}"):
            erased_count = len(self._erased_of(table))
            self.quarantine(checked)
            checked.refuse_if_critical()
            digests = checked.digests
            is_new = self.digests(table, first_day, last_day, where=where) != digests
            if is_new:
                bounds = [f"day >= '{first_day}'", f"day <= '{last_day}'"]
                bounds += [f"{name} = '{value}'" for name, value in (where or {}).items()]
                metadata = {
                    "run_id": run_id or "",
                    "first_day": str(first_day),
                    "last_day": str(last_day),
                    "where": _canonical(where),
                    "digests": json.dumps(digests),
                }
                crash_points.passing("lake.before_commit")
                self._write(checked, " AND ".join(bounds), CommitProperties(custom_metadata=metadata))
                crash_points.passing("lake.after_commit")
                if len(erased := self._erased_of(table)) > erased_count:
                    # Asked for while we wrote: whoever removes may have been here already.
                    self.expunge(table, erased)
                    self.vacuum(table, 0)
                    digests = self.digests(table, first_day, last_day, where=where)
            return Written(table.name, self.version(table) or 0, checked.row_count, digests, is_new, checked.notes)

    def quarantine(self, checked: CheckedRows) -> None:
        """Keep the rows that a rule rejected, with the rule; once, however often it is asked.

        Rows of users whose erasure was asked for are kept nowhere: they are taken out of the checked rows as well.
        """
        drop_users(checked, self._erased_of(checked.table))
        now = datetime.now(UTC)
        rows = [
            {
                "table_name": checked.table.name,
                "column_name": breach.column,
                "rule": breach.rule,
                "row": json.dumps(row, default=str, sort_keys=True),
                "found_at": now,
            }
            for breach, broken in checked.rejected
            for row in broken.to_pylist()
        ]
        checked.rejected.clear()
        if rows:
            self.append(QUARANTINE, pa.Table.from_pylist(rows, arrow_schema(QUARANTINE)), checked.last_day)

    def append(self, table: Table, rows: pa.Table, day: date, *, number: int | None = None) -> None:
        """Add checked rows to a day: for records, which are never replaced.

        Args:
            table: what is declared of the rows.
            rows: the rows.
            day: their day.
            number: the number of the record among all of the table; of two writers of one number, one wins.

        Raises:
            DataError: as `replace`.
            RefusedError: if a record of this number, or a larger one, is there already.
            UnavailableError: as `replace`.
        """
        numbered = [] if number is None else [Transaction(table.name, number)]
        delta = self._delta(table, None)
        if number is not None and delta is not None and (delta.transaction_version(table.name) or 0) >= number:
            raise RefusedError(f"{table.name} already holds record {number}")
        is_first = number is not None and delta is None
        with check_rows(table, rows, day) as checked, _in_words(f"cannot write {table.name} in {self.root}"):
            drop_users(checked, self._erased_of(table))
            checked.refuse_if_critical()
            try:
                write_deltalake(
                    # A numbered record follows what was looked at, not what is newest: one in between is a conflict.
                    self.uri(table) if number is None or delta is None else delta,
                    checked.batches(),
                    mode="error" if is_first else "append",
                    partition_by=["day"],
                    storage_options=self.options,
                    configuration=_configuration(table),
                    commit_properties=CommitProperties(
                        # Of two who make the table with their first record, a second try would let both have made it.
                        max_commit_retries=0 if is_first else _COMMIT_TRIES,
                        app_transactions=numbered,
                    ),
                )
            except DeltaError as error:
                is_overtaken = isinstance(error, CommitFailedError) or (is_first and self._delta(table, None))
                if number is None or not is_overtaken:
                    raise
                raise RefusedError(f"record {number} of {table.name} was written by somebody else meanwhile") from None

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
        with _in_words(f"cannot read {table.name} in {self.root}"):
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
            with _in_words(f"cannot read {table.name} in {self.root}"):
                for batch in dataset.to_batches(columns=names, filter=_and(_days(first_day, last_day), where)):
                    # Who reads for long learns of those who were erased meanwhile.
                    yield without_users(table, batch, self._erased_of(table))

    def dataset(self, table: Table, *, version: int | None = None) -> ds.Dataset | None:
        """The files of a version as an Arrow dataset, or `None` if the table was never written."""
        delta = self._delta(table, version)
        if delta is None:
            return None
        files, erased = self._dataset_of(table, delta), self._erased_of(table)
        return files.filter(~pc.field("user_id").isin(erased)) if len(erased) else files

    def erased_users(self) -> pa.Array:
        """Everybody whose erasure was asked for, as of now: int64, ascending.

        Where nobody ever was, this is a look at one folder.
        """
        delta = self._delta(ERASURES, None)
        if delta is None:
            return NOBODY
        if self._erased[0] != delta.version():
            rows = self._dataset_of(ERASURES, delta).to_table(columns=["user_id"])
            ids = pc.unique(rows.column("user_id"))
            self._erased = (delta.version(), ids.take(pc.sort_indices(ids)))
        return self._erased[1]

    def _erased_of(self, table: Table) -> pa.Array:
        return self.erased_users() if is_of_users(table) else NOBODY

    def expunge(self, table: Table, users: pa.Array) -> Counter[int]:
        """Rewrite the days that hold rows of these users without them, in one commit; their digests go along.

        Args:
            table: one with a column `user_id`, or the quarantine table.
            users: ids, int64.

        Returns:
            How many rows each of them had in the newest version. Older versions still have them, until `vacuum`.

        Raises:
            UnavailableError: if the place cannot be written.
        """
        with _in_words(f"cannot write {table.name} in {self.root}"):
            for tries_left in reversed(range(_COMMIT_TRIES)):
                delta = self._delta(table, None)
                if delta is None:
                    break
                days, counts = found_rows(table, self._dataset_of(table, delta), users)
                if not days:
                    break
                try:
                    self._rewrite(table, delta, days, users)
                except CommitFailedError:
                    # Somebody replaced one of these days meanwhile: what was read is not what is there.
                    if not tries_left:
                        raise
                else:
                    return counts
        return Counter()

    def vacuum(self, table: Table, keep_hours: int) -> int:
        """Delete files that only versions replaced more than `keep_hours` ago name, or none at all since a day.

        Returns how many; such an old version can no longer be read.
        """
        delta, before = self._delta(table, None), len(self._older_files(table))
        if delta is None or not before:
            return 0
        with _in_words(f"cannot delete old files of {table.name} in {self.root}"):
            delta.vacuum(keep_hours, dry_run=False, enforce_retention_duration=False)
            delta.vacuum(
                max(keep_hours, _UNCOMMITTED_HOURS), dry_run=False, enforce_retention_duration=False, full=True
            )
            return before - len(self._older_files(table))

    def users_of_older_files(self, table: Table, users: pa.Array) -> set[int]:
        """Those of the users who have rows in files that the newest version does not name."""
        system, _ = self.file_system()
        found: set[int] = set()
        schema = pa.schema([arrow_schema(table).field(user_column(table))])
        for path in self._older_files(table):
            try:
                batches = ds.dataset([path], schema=schema, filesystem=system, format="parquet").to_batches()
                for batch in batches:
                    whose = owners(table, batch)
                    found.update(whose.filter(pc.is_in(whose, users)).to_pylist())
            except (FileNotFoundError, pa.ArrowInvalid):
                continue  # deleted meanwhile, or not written to its end: no rows are in it
        return found

    def compact(self, table: Table) -> None:
        """Put the small files of a day, as many appends leave them, together; the rows stay what they are."""
        delta = self._delta(table, None)
        if delta is not None:
            with _in_words(f"cannot write {table.name} in {self.root}"):
                delta.optimize.compact()

    def _rewrite(self, table: Table, delta: DeltaTable, days: list[date], users: pa.Array) -> None:
        # Every part of a day that was ever written by itself has digests of its own.
        parts = sorted({part for commit in delta.history() for part in _parts_of(commit)})
        with rows_without(table, self._dataset_of(table, delta), days, users) as left:
            digests = dict(zip(parts, part_digests(left, map(json.loads, parts)), strict=True))
            told = {"days": [str(day) for day in days], "digests": digests}
            write_deltalake(
                delta,  # and not its newest version: a commit in between is a conflict
                left.batches(),
                mode="overwrite",
                predicate="day IN ({})".format(", ".join(f"'{day}'" for day in days)),
                partition_by=["day"],
                storage_options=self.options,
                commit_properties=CommitProperties(custom_metadata={"expunged": json.dumps(told)}),
            )

    def _older_files(self, table: Table) -> list[str]:
        delta = self._delta(table, None)
        if delta is None:
            return []
        system, prefix = self.file_system()
        root = f"{prefix}/{table.name}"
        named = {f"{root}/{file}" for file in _relative(delta)}
        inside = system.get_file_info(pafs.FileSelector(root, recursive=True))
        return sorted(
            found.path
            for found in inside
            if found.extension == "parquet" and "/_delta_log/" not in found.path and found.path not in named
        )

    def _dataset_of(self, table: Table, delta: DeltaTable) -> ds.Dataset:
        # Not `delta.to_pyarrow_dataset()`: its file system calls back into Python from Arrow's threads, and a process
        # that ends while one of them still runs is aborted (deltalake 1.6.6, pyarrow 25: one run in three).
        system, prefix = self.file_system()
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
        """The Parquet files that hold a range of days in a version, for Spark to read; `day` is in their paths.

        They may hold rows of erased users (`erased_users`), which the reader leaves out.
        """
        delta = self._delta(table, version)
        if delta is None:
            return []
        bounds = [("day", ">=", str(first_day))] if first_day else []
        bounds += [("day", "<=", str(last_day))] if last_day else []
        return sorted(delta.file_uris(file_pruning_predicate=bounds or None))

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
        covered: list[tuple[str, str]] = []
        for commit in delta.history() if delta else []:  # newest first
            digests, spans = _told_by(commit, _canonical(where))
            for day, digest in digests.items():
                if day not in found and not any(low <= day <= high for low, high in covered):
                    found[day] = digest
            covered += spans
        low, high = str(first_day or date.min), str(last_day or date.max)
        return {day: found[day] for day in sorted(found) if low <= day <= high}

    def _write(self, checked: CheckedRows, predicate: str, properties: CommitProperties) -> None:
        table = checked.table
        for tries_left in reversed(range(_COMMIT_TRIES)):
            exists = self._delta(table, None) is not None
            try:
                if exists:
                    write_deltalake(
                        self.uri(table),
                        checked.batches(),
                        mode="overwrite",
                        predicate=predicate,
                        partition_by=["day"],
                        storage_options=self.options,
                        writer_properties=_row_groups(checked),
                        commit_properties=properties,
                    )
                else:
                    write_deltalake(
                        self.uri(table),
                        checked.batches(),
                        mode="error",
                        partition_by=["day"],
                        storage_options=self.options,
                        writer_properties=_row_groups(checked),
                        # A digest is found by walking the history: keep all of it.
                        configuration={
                            "delta.logRetentionDuration": "interval 36500 days",
                            **_configuration(table),
                        },
                        commit_properties=properties,
                    )
            except DeltaError as error:
                # Another shard was committed meanwhile, or made the table: nothing of ours is there, write again.
                is_overtaken = isinstance(error, CommitFailedError) or not exists
                if not is_overtaken or not tries_left or self._delta(table, None) is None:
                    raise
            else:
                return

    def _delta(self, table: Table, version: int | None) -> DeltaTable | None:
        try:
            delta = DeltaTable(self.uri(table), version=version, storage_options=self.options)
        except TableNotFoundError:
            return None
        if version is not None and len(self._erased_of(table)):
            delta.load_as_version(self._less_erased(table, version))
        return delta

    def _less_erased(self, table: Table, version: int) -> int:
        """The newest version that differs from this one by nothing but rows of erased users."""
        newest = DeltaTable(self.uri(table), storage_options=self.options)
        commits = {commit["version"]: commit for commit in newest.history(newest.version() - version)}
        while (following := commits.get(version + 1)) and (
            "expunged" in following or following["operation"] in _HOUSEKEEPING
        ):
            version += 1
        return version

    def uri(self, table: Table) -> str:
        """The root of a table's files."""
        return f"{self.root.rstrip('/')}/{table.name}"

    def file_system(self) -> tuple[pafs.FileSystem, str]:
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


def _configuration(table: Table) -> dict[str, str]:
    """No smallest and largest values in the log of a table of users: it outlives the rows."""
    return {"delta.dataSkippingNumIndexedCols": "0"} if holds_users(table) else {}


def _row_groups(checked: CheckedRows) -> WriterProperties:
    """A row group is held in memory until it is whole: none of more than some megabytes, however large a row is."""
    return WriterProperties(compression="SNAPPY", max_row_group_size=checked.rows_in(_ROW_GROUP_BYTES))


def _told_by(commit: Mapping[str, str], part: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """The digests by day that a commit tells of a part, and the spans of days that it replaced."""
    if "expunged" in commit:
        told = json.loads(commit["expunged"])
        return told["digests"].get(part, {}), [(day, day) for day in told["days"]]
    if "digests" not in commit or commit.get("where") != part:
        return {}, []
    return json.loads(commit["digests"]), [(commit["first_day"], commit["last_day"])]


def _parts_of(commit: Mapping[str, str]) -> set[str]:
    """The parts of which a commit tells digests."""
    if "expunged" in commit:
        return set(json.loads(commit["expunged"])["digests"])
    return {commit["where"]} if "digests" in commit else set()


def _relative(delta: DeltaTable) -> list[str]:
    root = delta.table_uri.rstrip("/") + "/"
    return sorted(uri.removeprefix(root).removeprefix(root.removeprefix("file://")) for uri in delta.file_uris())


def _days(first_day: date | None, last_day: date | None) -> pc.Expression | None:
    low = None if first_day is None else pc.field("day") >= pa.scalar(first_day)
    high = None if last_day is None else pc.field("day") <= pa.scalar(last_day)
    return _and(low, high)


def _and(left: pc.Expression | None, right: pc.Expression | None) -> pc.Expression | None:
    return right if left is None else left if right is None else left & right


def _canonical(where: Mapping[str, str] | None) -> str:
    return json.dumps(dict(where or {}), sort_keys=True)


@contextmanager
def _in_words(what: str) -> Iterator[None]:
    """Say in one sentence that a place cannot be reached, read or written."""
    try:
        yield
    except (OSError, DeltaError, pa.ArrowInvalid) as error:
        raise UnavailableError(f"{what}: {str(error).splitlines()[0][:300]}") from error
