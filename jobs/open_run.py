"""Give a day's work its name: python -m jobs.open_run --day 2026-01-31

Pins the versions of the tables the run reads, settles all hyperparameters, and opens an attempt in the store of lists.
Everything after it needs `--day` alone. The last line names the run and the shards of users.
"""

from datetime import date
from typing import Annotated, Literal

import tyro

from pipelines.command_line import run
from pipelines.configuration import RunConfiguration, check_configuration
from pipelines.lake import Lake
from pipelines.runs import plan_run, record_run, step
from pipelines.settings import read_settings
from pipelines.shards import shards
from pipelines.stores.open import open_store

# Its fields are flags of this command, without a prefix: `--truth-days 7 --als.factors 32`.
Configuration = Annotated[RunConfiguration, tyro.conf.arg(name="")]


def main(
    day: date,
    cadence: Literal["daily", "weekly"] = "daily",
    configuration: Configuration = RunConfiguration(),  # noqa: B008  (frozen)
) -> None:
    """Open an attempt at a day's run.

    Args:
        day: the day of receipt whose night this is.
        cadence: daily runs make lists, weekly ones a ranker.
        configuration: all hyperparameters of the run.
    """
    settings = read_settings()
    lake = Lake(settings.lake, settings.lake_options)
    planned = plan_run(lake, day, check_configuration(configuration), cadence)
    with open_store(settings.list_places) as store:
        opened = record_run(lake, planned, store.open_attempt(planned.run_id))
    with step(lake, opened, "open_run") as work:
        work.reads = {name: pin.version for name, pin in opened.inputs.items()}
        work.counts = {"attempt": opened.attempt, "shards": [str(one) for one in shards(configuration.shard_count)]}


if __name__ == "__main__":
    run(main, description=__doc__)
