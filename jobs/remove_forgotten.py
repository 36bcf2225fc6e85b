"""Remove everybody whose erasure was asked for from all places: python -m jobs.remove_forgotten

They are suppressed already (`jobs.forget_user`). Each table is rewritten once, whoever waits, and its older files are
deleted. A line says how far each erasure is; the last one counts.
"""

import json

from pipelines.command_line import run, say, say_result
from pipelines.lake import Lake
from pipelines.removal import check_keep_hours, remove_waiting
from pipelines.settings import read_settings
from pipelines.stores.open import open_store


def main(keep_hours: int = 0) -> None:
    """Remove all who wait.

    Args:
        keep_hours: how long files of older versions of tables stay readable; whom one holds waits on.
    """
    check_keep_hours(keep_hours)
    settings = read_settings()
    lake = Lake(settings.lake, settings.lake_options)
    with open_store(settings.list_places) as store:
        done = remove_waiting(lake, store, settings.spool, settings.data_docs, keep_hours=keep_hours)
    for receipt in done.values():
        say(json.dumps(receipt.told()))
    removed_count = sum(receipt.removed_at is not None for receipt in done.values())
    say_result({"job": "remove_forgotten", "removed": removed_count, "waiting": len(done) - removed_count})


if __name__ == "__main__":
    run(main, description=__doc__)
