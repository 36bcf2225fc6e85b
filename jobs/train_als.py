"""Learn ALS on Spark: python -m jobs.train_als --day 2026-01-31

Learns from the days before those held out, and keeps the factors under their digest.
"""

import dataclasses
from datetime import date, timedelta
from typing import Literal

import pyarrow as pa

from feature_defs.interactions import INTERACTIONS
from pipelines.command_line import run, say
from pipelines.digested_files import DigestedFiles
from pipelines.histories import read_opted_out
from pipelines.lake import Lake
from pipelines.models.als_training import train_als
from pipelines.runs import run_of, step
from pipelines.settings import read_settings
from pipelines.spark_session import spark_session
from pipelines.spark_tables import read_table
from pipelines.tracking import log_training


def main(day: date, cadence: Literal["daily", "weekly"] = "daily") -> None:
    """Train ALS for a day's run.

    Args:
        day: the day whose night this is.
        cadence: of which DAG the run is.
    """
    settings = read_settings()
    lake = Lake(settings.lake, settings.lake_options)
    this_run = run_of(lake, day, cadence)
    configuration = this_run.configuration.als
    learned_until = day - timedelta(days=this_run.configuration.truth_days)
    with step(lake, this_run, "train_als") as work:
        work.reads = {INTERACTIONS.name: lake.version(INTERACTIONS) or 0}
        opted_out = pa.table({"user_id": read_opted_out(lake, day)})
        with spark_session("train_als", settings.spark_master, settings.spark_memory, settings.spark_options) as spark:
            interactions = read_table(spark, lake, INTERACTIONS, last_day=learned_until)
            say(f"learning from plays received up to {learned_until}: {configuration}")
            left = interactions.join(spark.createDataFrame(opted_out), "user_id", "left_anti")
            model = train_als(left, configuration)
        digest = DigestedFiles(settings.models).save(model.to_files())
        log_training(settings.mlflow, "train_als", this_run.run_id, digest, dataclasses.asdict(configuration))
        work.writes["model"] = digest
        work.counts = {"items": len(model.item_ids), "model": digest, "learned_until": str(learned_until)}


if __name__ == "__main__":
    run(main, description=__doc__)
