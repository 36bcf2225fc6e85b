"""Erase a person: python -m jobs.forget_user --user-id 7

Suppresses them at once: from here on no list, answer, build, back-fill or load has anything of them. Then removes them
physically from all places, which rewrites tables; with `--no-remove` they wait for `python -m jobs.remove_forgotten`,
which does it once for all who wait. The last line is the receipt. Asking twice is harmless and gives the receipt again.
"""

from pipelines.command_line import run, say, say_result
from pipelines.erasure import suppress
from pipelines.lake import Lake
from pipelines.removal import check_keep_hours, remove_waiting
from pipelines.settings import read_settings
from pipelines.stores.open import open_store


def main(user_id: int, remove: bool = True, keep_hours: int = 0) -> None:
    """Erase a user.

    Args:
        user_id: the profile; one that nobody ever heard of gets a receipt as well.
        remove: with `--no-remove` suppression is all that is done now.
        keep_hours: how long files of older versions of tables stay readable; while one holds the user, the receipt
            has no second date.
    """
    check_keep_hours(keep_hours)
    settings = read_settings()
    lake = Lake(settings.lake, settings.lake_options)
    with open_store(settings.list_places) as store:
        receipt = suppress(lake, store, user_id)
        say(f"user {user_id} is suppressed since {receipt.suppressed_at}")
        if remove:
            done = remove_waiting(lake, store, settings.spool, settings.data_docs, keep_hours=keep_hours)
            receipt = done.get(user_id, receipt)
            if receipt.removed_at is None:
                say("something is left for now: run `python -m jobs.remove_forgotten` later")
    say_result({"job": "forget_user", **receipt.told()})


if __name__ == "__main__":
    run(main, description=__doc__)
