"""Text vectors of titles not yet embedded: python -m jobs.embed_items --day 2026-01-31

Reads title, synopsis, genres and cast of the catalogue of the day. A title whose text has changed is embedded again.
"""

import time
from datetime import date
from typing import Literal

import pyarrow as pa

from feature_defs.items import ITEM_TEXT_VECTORS, ITEMS
from pipelines.arrow_schemas import arrow_schema
from pipelines.command_line import run, say
from pipelines.lake import Lake
from pipelines.runs import run_of, step
from pipelines.settings import read_settings
from pipelines.text_encoder import embed, not_yet_embedded


def main(day: date, cadence: Literal["daily", "weekly"] = "daily") -> None:
    """Embed the titles of a day that are new or were changed.

    Args:
        day: the day whose night this is.
        cadence: of which DAG the run is.
    """
    settings = read_settings()
    lake = Lake(settings.lake, settings.lake_options)
    this_run = run_of(lake, day, cadence)
    encoder = this_run.configuration.text_encoder
    with step(lake, this_run, "embed_items") as work:
        work.reads = {ITEMS.name: this_run.inputs[ITEMS.name].version}
        items = lake.read(ITEMS, day, day, version=this_run.inputs[ITEMS.name].version).sort_by("item_id")
        known = lake.read(ITEM_TEXT_VECTORS, columns=["item_id", "encoder", "text_digest", "day"])
        # Those of this day are written anew: what a try that was cut off left is replaced.
        earlier = known.filter(pa.compute.not_equal(known.column("day"), pa.scalar(day)))
        new = not_yet_embedded(items, earlier, encoder)
        say(f"{new.num_rows:,} of {items.num_rows:,} titles are new to {encoder}")
        if new.num_rows:
            started, parts, count = time.monotonic(), [], 0
            for part in embed(new, encoder):
                parts.append(part)
                count += part.num_rows
                say(f"  {count:,} titles, {count / (time.monotonic() - started):.0f} a second")
            rows = pa.concat_tables(parts) if parts else arrow_schema(ITEM_TEXT_VECTORS).empty_table()
            work.wrote(lake.replace(ITEM_TEXT_VECTORS, rows, day, run_id=this_run.run_id))
        work.counts |= {"titles": items.num_rows, "embedded": new.num_rows}


if __name__ == "__main__":
    run(main, description=__doc__)
