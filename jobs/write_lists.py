"""Packed lists of a part of the users into the store: python -m jobs.write_lists --day 2026-01-31 --shard 0/2

Beside what is served: nobody reads them before `publish_recommendations` has moved the live pointer.
"""

import tempfile
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_defs.recommendations import RECOMMENDATION_SLOTS, RECOMMENDATIONS
from pipelines import crash_points
from pipelines.arrow_schemas import arrow_schema
from pipelines.command_line import run
from pipelines.days import end_of
from pipelines.expectations import validate
from pipelines.lake import Lake
from pipelines.lists.packing import pack_many
from pipelines.lists.ranking import slots
from pipelines.runs import last_step, run_of, step
from pipelines.settings import read_settings
from pipelines.shards import parse_shard
from pipelines.stores.open import open_store


def main(day: date, shard: str = "0/1") -> None:
    """Validate and write the lists of one part of the users.

    Args:
        day: the day whose night this is.
        shard: which part, as i/n with i from 0.
    """
    parse_shard(shard)
    settings = read_settings()
    lake = Lake(settings.lake, settings.lake_options)
    this_run = run_of(lake, day)
    last_step(lake, this_run, "score_users", shard)
    with step(lake, this_run, "write_lists", shard) as work, tempfile.TemporaryDirectory(prefix="marquee-") as folder:
        work.reads = {RECOMMENDATIONS.name: lake.version(RECOMMENDATIONS) or 0}
        chosen = (pc.field("run_id") == this_run.run_id) & (pc.field("shard") == shard)
        rows = lake.batches(RECOMMENDATIONS, day, day, where=chosen)
        path = Path(folder) / "slots.parquet"
        count = 0
        with pq.ParquetWriter(path, slots(arrow_schema(RECOMMENDATIONS).empty_table()).schema) as writer:
            for batch in rows:
                writer.write_table(slots(pa.Table.from_batches([batch])))
                count += batch.num_rows
        if count:
            found = validate(
                {RECOMMENDATION_SLOTS: path}, settings.data_docs, day, f"write_lists-{shard.replace('/', '-of-')}"
            )
            found.refuse_if_critical(f"the lists of {day}, part {shard},")
        with open_store(settings.lists) as store:
            batches = lake.batches(RECOMMENDATIONS, day, day, where=chosen)
            tally = store.put_many(this_run.run_id, this_run.attempt, _packed(batches, end_of(day)))
        work.counts = {"lists": tally.list_count, "checksum": f"{tally.checksum:016x}"}


def _packed(batches: Iterable[pa.RecordBatch], generated_at: datetime) -> Iterator[tuple[int, bytes]]:
    for batch in batches:
        for pair in pack_many(batch, generated_at=generated_at):
            yield pair
            crash_points.passing("write_lists.after_list")


if __name__ == "__main__":
    run(main, description=__doc__)
