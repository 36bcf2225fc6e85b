"""Fill the warehouse from MovieLens or from your own files.

    python -m jobs.load_warehouse --source movielens --data /path/to/ml-100k
    python -m jobs.load_warehouse --source files --data /path/to/folder

Replaces events, items, users, protected attributes and answers of the configured warehouse (`MARQUEE_WAREHOUSE`), all
or nothing: until it is done, and if it fails or is killed, the warehouse is as it was.

MovieLens: the folder of the 100K or the 1M data set. A rating becomes a play: 5 stars are a watched share of 1.0, 4 of
0.9, 3 of 0.6, 2 of 0.3, 1 of 0.1. Age and gender go to the protected attributes, age also as a coarse band. Where the
ratings of 1M are given as an order with few times, missing times are interpolated in each user's order; ratings before
a user's first known time are put 30 seconds apart (`pipelines.warehouse.movielens.times_from_order`).

Files: `events`, `items`, `users` and perhaps `protected_attributes`, each as .parquet or .csv, with the columns that
`feature_defs` declares; those that may be null may be absent (`pipelines.warehouse.files`).
"""

import json
import time
from pathlib import Path
from typing import Literal

from feature_defs.tables import WAREHOUSE_TABLES
from pipelines.command_line import run
from pipelines.settings import read_settings
from pipelines.warehouse.admission import admit
from pipelines.warehouse.files import read_files
from pipelines.warehouse.movielens import read_movielens
from pipelines.warehouse.open import open_for_loading


def main(source: Literal["movielens", "files"], data: Path) -> None:
    """Replace the tables of the warehouse.

    Args:
        source: what kind of data it is.
        data: the folder that holds it.
    """
    settings, started = read_settings(), time.monotonic()
    print(f"reading {data}", flush=True)
    if source == "movielens":
        batches = {table: iter(rows.to_batches()) for table, rows in read_movielens(data).items()}
    else:
        batches = dict(read_files(data))
    rows = {table: admit(table, batches.get(table, iter(()))) for table in WAREHOUSE_TABLES}
    print(f"loading {settings.warehouse}", flush=True)
    with open_for_loading(settings.warehouse, settings.snowflake_password.get_secret_value()) as warehouse:
        counts = warehouse.replace_all(rows)
    print(json.dumps({**counts, "seconds": round(time.monotonic() - started, 1)}))


if __name__ == "__main__":
    run(main, description=__doc__)
