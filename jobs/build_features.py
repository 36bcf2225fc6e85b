"""Events in; interactions, features and labels out: python -m jobs.build_features --day 2026-01-31

For the first load, a range in one go: python -m jobs.build_features --from-day 2025-07-01 --day 2026-01-31
"""

import json
import time
from collections.abc import Callable, Mapping
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from feature_defs.declarations import Table
from feature_defs.events import EVENTS
from feature_defs.features import ITEM_FEATURES, USER_FEATURES, WINDOW_DAYS
from feature_defs.interactions import INTERACTIONS, ITEM_PLAYS, LABELS
from feature_defs.users import USERS
from pipelines.command_line import run
from pipelines.errors import DataError, RefusedError, UsageError
from pipelines.features.interactions import earlier_receipts, first_received, interactions, not_received_before
from pipelines.features.item_features import item_features
from pipelines.features.labels import feature_days, labels, reactions_received
from pipelines.features.opted_out import only_opted_out, opted_out, standing, without_opted_out
from pipelines.features.play_totals import play_totals
from pipelines.features.user_features import user_features
from pipelines.lake import Lake, Written
from pipelines.runs import run_of, step
from pipelines.settings import read_settings
from pipelines.spark_session import spark_session
from pipelines.spark_tables import read_table, sorted_rows

_DAY = timedelta(days=1)
# Below this number of files their footers are read here, above it Spark starts a job to do so.
_OPTIONS = {"spark.sql.sources.parallelPartitionDiscovery.threshold": "10000"}


def main(day: date, from_day: date | None = None, run_id: str | None = None) -> None:
    """Turn the events received on a day, or on a range of days, into interactions, features and labels.

    Args:
        day: the day, or the last of a range, included.
        from_day: the first day of a range. A range is part of no run unless one is named: it reads the newest tables.
        run_id: the run that this is part of: must be the one opened last for the day.

    Raises:
        UsageError: if the range ends before it begins.
        DataError: if there are no events or no users, or no run was opened for a single day.
        RefusedError: if another run of the day was opened since.
    """
    first_day = from_day or day
    if first_day > day:
        raise UsageError(f"--from-day {first_day} lies after --day {day}")
    settings = read_settings()
    lake = Lake(settings.lake, settings.lake_options)
    _refuse_without_input(lake, day)
    opened = run_of(lake, day) if from_day is None or run_id else None
    if opened and run_id and opened.run_id != run_id:
        raise RefusedError(f"the run {run_id} of {day} is superseded by {opened.run_id}")
    versions = {table.name: opened.inputs[table.name].version if opened else None for table in (EVENTS, USERS)}

    def built(wrote: Callable[[Written], None]) -> None:
        options = {**_OPTIONS, **settings.spark_options}
        with spark_session("build_features", settings.spark_master, settings.spark_memory, options) as spark:
            build(spark, lake, first_day, day, versions, opened.run_id if opened else None, wrote)

    if opened:
        with step(lake, opened, "build_features") as work:
            work.reads = {name: version for name, version in versions.items() if version is not None}
            built(work.wrote)
    else:
        started, counts = time.monotonic(), dict[str, int]()
        built(lambda written: counts.update({written.table: written.row_count}))
        print(json.dumps({"job": "build_features", "seconds": round(time.monotonic() - started, 2), **counts}))


def build(
    spark: SparkSession,
    lake: Lake,
    first_day: date,
    last_day: date,
    versions: Mapping[str, int | None],
    run_id: str | None,
    wrote: Callable[[Written], None],
) -> None:
    """Read, derive and replace the tables of a range of days, each from those before it."""

    def read(table: Table, first: date | None = None, last: date | None = last_day) -> DataFrame:
        return read_table(spark, lake, table, first, last, version=versions.get(table.name))

    def write(table: Table, rows: DataFrame) -> None:
        with sorted_rows(rows, table, lake) as stream:
            written = lake.replace(table, stream, first_day, last_day, run_id=run_id)
        print(f"{table.name}: {written.row_count:,} rows" + ("" if written.is_new else ", as they were"), flush=True)
        wrote(written)

    happened_days = _happened_days(lake, first_day, last_day, versions[EVENTS.name])
    spans = standing(lake.days(USERS, version=versions[USERS.name]), first_day, last_day)
    out = opted_out(read(USERS, min(spans), max(spans)), spans)

    def counted_once(events: DataFrame) -> DataFrame:
        once = events if first_day == last_day else first_received(events)
        since = min(happened_days) - _DAY
        if since >= first_day or not lake.files(EVENTS, since, first_day - _DAY, version=versions[EVENTS.name]):
            return once
        return not_received_before(once, earlier_receipts(read(EVENTS, since, first_day - _DAY), happened_days))

    events = read(EVENTS, first_day)
    write(INTERACTIONS, interactions(without_opted_out(counted_once(events), out)))
    theirs = only_opted_out(counted_once(events.join(out.select("user_id"), "user_id", "left_semi")), out)
    write(ITEM_PLAYS, play_totals(read(INTERACTIONS, first_day).unionByName(interactions(theirs)), "item_id"))

    write(USER_FEATURES.table, user_features(read(INTERACTIONS), out, first_day, last_day))
    write(ITEM_FEATURES.table, item_features(read(ITEM_PLAYS), first_day, last_day))

    needed = feature_days(happened_days)

    def known_rows(table: Table) -> DataFrame:
        return read(table, needed[0], needed[-1]).where(F.col("day").isin(needed))

    recent = reactions_received(read(INTERACTIONS, first_day - WINDOW_DAYS * _DAY))
    write(
        LABELS,
        labels(read(INTERACTIONS, first_day), recent, known_rows(USER_FEATURES.table), known_rows(ITEM_FEATURES.table)),
    )


def _refuse_without_input(lake: Lake, day: date) -> None:
    if day not in lake.days(EVENTS):
        raise DataError(f"no events were extracted for {day}: run `python -m jobs.extract_events --day {day}` first")
    if not lake.days(USERS):
        raise DataError(
            f"no users were extracted, so nobody knows who opted out: run `python -m jobs.extract_events --day {day}`"
        )


def _happened_days(lake: Lake, first_day: date, last_day: date, version: int | None) -> list[date]:
    """The days on which the events received on a range of days happened, in order."""
    found: set[date] = set()
    for batch in lake.batches(EVENTS, first_day, last_day, version=version, columns=["happened_at"]):
        found.update(pc.unique(batch.column(0).cast(pa.date32())).to_pylist())
    return sorted(found)


if __name__ == "__main__":
    run(main, description=__doc__)
