"""Packed lists of a part of the users into the store: python -m jobs.write_lists --day 2026-01-31 --shard 0/2

Beside what is served: nobody reads them before `publish_recommendations` has moved the live pointer. Each block of
lists is checked before it is written; what follows a block that breaks a rule is not written, and the part does not
count as written. What users decided at their account (opted out, a maturity limit) is written first, and holds at once.
"""

from collections.abc import Iterable, Iterator
from datetime import date, datetime

import pyarrow as pa

from feature_defs.recommendations import RECOMMENDATIONS
from pipelines import crash_points
from pipelines.account_choices import keep_choices, read_choices
from pipelines.ahead import ahead
from pipelines.command_line import run
from pipelines.days import end_of
from pipelines.lake import Lake
from pipelines.lists.packing import pack_many
from pipelines.lists.place_checks import check_places
from pipelines.lists.stored import stored_lists
from pipelines.runs import last_step, run_of, step
from pipelines.settings import read_settings
from pipelines.shards import parse_shard
from pipelines.stores.open import open_store


def main(day: date, shard: str = "0/1") -> None:
    """Check and write the lists of one part of the users; where some are written already, only those that are missing.

    Args:
        day: the day whose night this is.
        shard: which part, as i/n with i from 0.
    """
    part = parse_shard(shard)
    settings = read_settings()
    lake = Lake(settings.lake, settings.lake_options)
    this_run = run_of(lake, day)
    last_step(lake, this_run, "score_users", shard)
    with open_store(settings.list_places) as store, step(lake, this_run, "write_lists", shard) as work:
        work.reads = {RECOMMENDATIONS.name: lake.version(RECOMMENDATIONS) or 0}
        choices = keep_choices(store, read_choices(lake, day, part))
        stored = stored_lists(lake, day, this_run.run_id, shard)
        checked = check_places(stored, f"the lists of {day}, part {shard}")
        lists = _one_by_one(ahead(_packed(checked, end_of(day))))
        tally = store.put_many(this_run.run_id, this_run.attempt, lists, part=shard)
        crash_points.passing("write_lists.before_record")
        work.counts = {"lists": tally.list_count, "checksum": f"{tally.checksum:016x}", "choices": choices}


def _packed(blocks: Iterable[pa.RecordBatch], generated_at: datetime) -> Iterator[list[tuple[int, bytes]]]:
    for block in blocks:
        yield list(pack_many(block, generated_at=generated_at))


def _one_by_one(blocks: Iterable[list[tuple[int, bytes]]]) -> Iterator[tuple[int, bytes]]:
    for block in blocks:
        for pair in block:
            yield pair
            crash_points.passing("write_lists.after_list")
    # The store has every list, and has still to say so of the part.
    crash_points.passing("write_lists.before_part_recorded")


if __name__ == "__main__":
    run(main, description=__doc__)
