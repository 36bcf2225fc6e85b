"""The thread: what a run is, what it read, and what each of its steps did.

A run is one night's work for one day. Its name is the day and a digest of the content of its input tables, of our code
and of all hyperparameters: the same work has the same name, and trying again only counts one more attempt.
"""

import dataclasses
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from feature_defs.declarations import Table
from feature_defs.events import EVENTS
from feature_defs.items import ITEMS
from feature_defs.record import RUNS, STEPS
from feature_defs.users import USERS
from pipelines.arrow_schemas import arrow_schema
from pipelines.command_line import say_result
from pipelines.configuration import RunConfiguration, configuration_from_json, configuration_to_json
from pipelines.digests import code_digest, digest_of
from pipelines.errors import DataError
from pipelines.lake import Lake, Written

_ROOT = Path(__file__).parents[1]
INPUTS: tuple[Table, ...] = (EVENTS, ITEMS, USERS)


@dataclass(frozen=True)
class Pinned:
    """A version of a table, and the digest of what it holds for the run."""

    version: int
    digest: str


@dataclass(frozen=True)
class Run:
    """One night's work for one day."""

    run_id: str
    day: date
    cadence: str
    attempt: int
    configuration: RunConfiguration
    inputs: Mapping[str, Pinned]


def plan_run(lake: Lake, day: date, configuration: RunConfiguration, cadence: str = "daily") -> Run:
    """Pin what a day's run reads and how it is configured, which gives it its name; its attempt is still to be opened.

    Args:
        lake: where its inputs are.
        day: the day whose night this is.
        configuration: all hyperparameters.
        cadence: of which DAG it is, `daily` or `weekly`.

    Raises:
        DataError: if an input has no rows for the day; names the table and the job that brings them.
    """
    inputs = {table.name: _pin(lake, table, day) for table in INPUTS}
    digest = digest_of(
        {
            "inputs": {name: pin.digest for name, pin in inputs.items()},
            "code": code_digest(_ROOT),
            "configuration": configuration_to_json(configuration),
            "cadence": cadence,
        }
    )
    return Run(f"{day:%Y%m%d}-{digest[:12]}", day, cadence, 0, configuration, inputs)


def record_run(lake: Lake, planned: Run, attempt: int) -> Run:
    """Record that an attempt at a planned run was opened."""
    row = {
        "run_id": planned.run_id,
        "run_day": planned.day,
        "cadence": planned.cadence,
        "attempt": attempt,
        "opened_at": datetime.now(UTC),
        "code_digest": code_digest(_ROOT),
        "configuration": configuration_to_json(planned.configuration),
        "inputs": json.dumps({name: dataclasses.asdict(pin) for name, pin in planned.inputs.items()}, sort_keys=True),
    }
    lake.append(RUNS, pa.Table.from_pylist([row], arrow_schema(RUNS)), planned.day)
    return dataclasses.replace(planned, attempt=attempt)


def run_of(lake: Lake, day: date, cadence: str = "daily", *, run_id: str | None = None) -> Run:
    """The run of a day and a cadence that was opened last, or the last attempt at one that is named.

    Raises:
        DataError: if none was opened.
    """
    rows = [row for row in _rows(lake, RUNS, day) if row["cadence"] == cadence and run_id in (None, row["run_id"])]
    rows.sort(key=lambda row: row["opened_at"])
    if not rows:
        command = f"python -m jobs.open_run --day {day}" + ("" if cadence == "daily" else f" --cadence {cadence}")
        named = "run" if cadence == "daily" else f"{cadence} run"
        raise DataError(f"no {named} was opened for {day}: run `{command}` first")
    row = rows[-1]
    inputs = {name: Pinned(**pin) for name, pin in json.loads(row["inputs"]).items()}
    return Run(row["run_id"], day, cadence, row["attempt"], configuration_from_json(row["configuration"]), inputs)


@dataclass
class Step:
    """What a job read, wrote and counted, to be recorded when it ends well."""

    run: Run
    reads: dict[str, int] = field(default_factory=dict)
    writes: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, Any] = field(default_factory=dict)

    def wrote(self, written: Written) -> None:
        """Record a write to the lake."""
        self.writes[written.table] = {"version": written.version, "digests": dict(written.digests)}
        self.counts[written.table] = written.row_count


@contextmanager
def step(lake: Lake, run: Run, job: str, shard: str = "") -> Iterator[Step]:
    """Record a job of a run when it ends well, and say so on standard output: its last line is one JSON object."""
    started_at, started = datetime.now(UTC), time.monotonic()
    work = Step(run)
    yield work
    seconds = time.monotonic() - started
    row = {
        "run_id": run.run_id,
        "run_day": run.day,
        "job": job,
        "shard": shard,
        "started_at": started_at,
        "seconds": seconds,
        "reads": json.dumps(work.reads, sort_keys=True),
        "writes": json.dumps(work.writes, sort_keys=True),
        "counts": json.dumps(work.counts, sort_keys=True),
    }
    lake.append(STEPS, pa.Table.from_pylist([row], arrow_schema(STEPS)), run.day)
    say_result({"job": job, "run_id": run.run_id, "seconds": round(seconds, 2), **work.counts})


def steps_of(lake: Lake, run_id: str, day: date) -> list[dict[str, Any]]:
    """The recorded steps of a run, in order of their start."""
    rows: list[dict[str, Any]] = lake.read(STEPS, day, day, where=pc.field("run_id") == run_id).to_pylist()
    return sorted(rows, key=lambda row: row["started_at"])


def last_step(lake: Lake, run: Run, job: str, shard: str = "") -> dict[str, Any]:
    """The newest record of a job of a run, or of one of its shards, its `writes` and `counts` parsed.

    Raises:
        DataError: if the job has not ended well in this run; says how to run it.
    """
    found = [row for row in steps_of(lake, run.run_id, run.day) if (row["job"], row["shard"]) == (job, shard)]
    if not found:
        command = f"python -m jobs.{job} --day {run.day}" + (f" --shard {shard}" if shard else "")
        command += "" if run.cadence == "daily" else f" --cadence {run.cadence}"
        raise DataError(f"{job} has not been run for {run.day} (run {run.run_id}): run `{command}` first")
    row = found[-1]
    return {**row, "writes": json.loads(row["writes"]), "counts": json.loads(row["counts"])}


def _pin(lake: Lake, table: Table, day: date) -> Pinned:
    version = lake.version(table)
    digests = lake.digests(table, last_day=day)
    if version is None or str(day) not in digests:
        raise DataError(f"{table.name} has no rows for {day}: run `python -m jobs.extract_events --day {day}` first")
    # Events count with all their past; a catalogue and its users are the day's.
    relevant = digests if table is EVENTS else {str(day): digests[str(day)]}
    return Pinned(version, digest_of(relevant))


def _rows(lake: Lake, table: Table, day: date) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = lake.read(table, day, day).to_pylist()
    return rows


def newest_step(lake: Lake, job: str, last_day: date) -> dict[str, Any] | None:
    """The newest record of a job in any run of the days up to `last_day`, parsed as by `last_step`; `None` if none."""
    found: list[dict[str, Any]] = lake.read(STEPS, None, last_day, where=pc.field("job") == job).to_pylist()
    if not found:
        return None
    row = max(found, key=lambda row: (row["run_day"], row["started_at"]))
    return {**row, "writes": json.loads(row["writes"]), "counts": json.loads(row["counts"])}
