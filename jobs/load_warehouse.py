"""Fill the warehouse from MovieLens, from your own files or with a simulated service.

    python -m jobs.load_warehouse --source movielens --data /path/to/ml-100k
    python -m jobs.load_warehouse --source files --data /path/to/folder
    python -m jobs.load_warehouse --source simulated --users 2000 --titles 800 --days 60 --seed 1

Replaces events, items, users, protected attributes and answers of the configured warehouse (`MARQUEE_WAREHOUSE`), all
or nothing: until it is done, and if it fails or is killed, the warehouse is as it was.

MovieLens: the folder of the 100K or the 1M data set. A rating becomes a play: 5 stars are a watched share of 1.0, 4 of
0.9, 3 of 0.6, 2 of 0.3, 1 of 0.1. Age and gender go to the protected attributes, age also as a coarse band. Where the
ratings of 1M are given as an order with few times, missing times are interpolated in each user's order; ratings before
a user's first known time are put 30 seconds apart (`pipelines.warehouse.movielens.times_from_order`).

Files: `events`, `items`, `users` and perhaps `protected_attributes`, each as .parquet or .csv, with the columns that
`feature_defs` declares; those that may be null may be absent (`pipelines.warehouse.files`).

Simulated: a service whose users have known preferences, with impressions and propensities; the same flags give the same
rows every time. The last day is always 2026-06-30 (`pipelines.simulation`).
"""

import json
import time
from pathlib import Path
from typing import Literal

from feature_defs.tables import WAREHOUSE_TABLES
from pipelines.command_line import run
from pipelines.errors import UsageError
from pipelines.settings import read_settings
from pipelines.simulation.configuration import WorldConfiguration
from pipelines.simulation.tables import simulated_tables
from pipelines.warehouse.admission import admit
from pipelines.warehouse.files import read_files
from pipelines.warehouse.movielens import read_movielens
from pipelines.warehouse.open import open_for_loading


def main(
    source: Literal["movielens", "files", "simulated"],
    data: Path | None = None,
    users: int = 2000,
    titles: int = 800,
    days: int = 60,
    seed: int = 1,
) -> None:
    """Replace the tables of the warehouse.

    Args:
        source: what kind of data it is.
        data: the folder that holds it; not for simulated data.
        users: how many users to simulate.
        titles: how many titles to simulate.
        days: how many days to simulate.
        seed: from which all simulated rows follow.
    """
    settings, started = read_settings(), time.monotonic()
    if source == "simulated":
        if data is not None:
            raise UsageError("--source simulated reads no data: leave out --data")
        configuration = WorldConfiguration(users, titles, days, seed=seed)
        print(f"simulating {users:,} users and {titles:,} titles for {days:,} days", flush=True)
        batches = dict(simulated_tables(configuration))
    elif data is None:
        raise UsageError(f"--source {source} needs --data, the folder that holds the data")
    elif source == "movielens":
        print(f"reading {data}", flush=True)
        batches = {table: iter(rows.to_batches()) for table, rows in read_movielens(data).items()}
    else:
        print(f"reading {data}", flush=True)
        batches = dict(read_files(data))
    rows = {table: admit(table, batches.get(table, iter(()))) for table in WAREHOUSE_TABLES}
    print(f"loading {settings.warehouse}", flush=True)
    with open_for_loading(settings.warehouse, settings.snowflake_password.get_secret_value()) as warehouse:
        counts = warehouse.replace_all(rows)
    print(json.dumps({**counts, "seconds": round(time.monotonic() - started, 1)}))


if __name__ == "__main__":
    run(main, description=__doc__)
