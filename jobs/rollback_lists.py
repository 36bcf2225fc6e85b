"""Serve an earlier run again: python -m jobs.rollback_lists --day 2026-01-30 (or --run-id RUN, or --list)

Moves the live pointer to a run whose lists are still kept; nothing is made or written anew, and readers change over
at once. Whoever runs it gives the word that an older day may be served; the next night goes live as usual.
"""

from datetime import date
from typing import Annotated, NamedTuple

import tyro

from feature_defs.record import RUNS
from pipelines.command_line import run, say
from pipelines.configuration import RunConfiguration
from pipelines.errors import MarqueeError, RefusedError, UsageError
from pipelines.lake import Lake
from pipelines.runs import Run, step
from pipelines.settings import read_settings
from pipelines.stores.interface import HOME, ListStore, Live, run_day
from pipelines.stores.open import open_store


class Kept(NamedTuple):
    """A committed run whose lists are in the store, and how many they are."""

    run_id: str
    attempt: int
    list_count: int


def main(
    run_id: str = "",
    day: date | None = None,
    surface: str = HOME,
    is_list: Annotated[bool, tyro.conf.arg(name="list")] = False,
) -> None:
    """Move the live pointer to a run that is kept, or show which are.

    Args:
        run_id: the run to serve.
        day: instead: the newest run of this day that is kept.
        surface: which pointer is moved.
        is_list: only show the runs that are kept.
    """
    if is_list + bool(run_id) + (day is not None) != 1:
        raise UsageError("say one of --run-id RUN, --day DAY and --list")
    settings = read_settings()
    lake = Lake(settings.lake, settings.lake_options)
    with open_store(settings.list_places) as store:
        if is_list:
            _show(kept_runs(lake, store), store.live(surface))
            return
        chosen = _of_run(store, run_id) if day is None else _of_day(lake, store, day)
        before = store.live(surface)
        now = store.go_live(chosen.run_id, chosen.attempt, surface=surface, allow_older=True)
    say(f"{surface}: live was {_words(before)}, live is {_words(now)}")
    if settings.cache:
        say("the cache may have let go of its lists; until `python -m jobs.rebuild_cache` they come from behind it")
    try:
        _record(lake, surface, before, now)
    except MarqueeError as error:
        raise type(error)(f"run {now.run_id} is live, and that could not be recorded: {error}") from None


def kept_runs(lake: Lake, store: ListStore, day: date | None = None) -> list[Kept]:
    """The committed runs whose lists are still in the store, of a day or of all, newest first."""
    opened = lake.read(RUNS, day, day, columns=["run_id", "cadence"]).to_pylist()
    names = {row["run_id"] for row in opened if row["cadence"] == "daily"}
    found = [kept for kept in (_kept(store, name) for name in names) if kept is not None]
    return sorted(found, key=lambda kept: (run_day(kept.run_id), kept.attempt), reverse=True)


def _kept(store: ListStore, run_id: str) -> Kept | None:
    manifest = store.manifest(run_id)
    return None if manifest is None else Kept(run_id, manifest.attempt, int(manifest.content.get("lists", 0)))


def _of_run(store: ListStore, run_id: str) -> Kept:
    run_day(run_id)
    found = _kept(store, run_id)
    if found is None:
        raise RefusedError(f"no lists of the run {run_id} are kept: `python -m jobs.rollback_lists --list` shows which")
    return found


def _of_day(lake: Lake, store: ListStore, day: date) -> Kept:
    found = kept_runs(lake, store, day)
    if not found:
        raise RefusedError(f"no lists of a run of {day} are kept: `python -m jobs.rollback_lists --list` shows which")
    return found[0]


def _show(runs: list[Kept], live: Live | None) -> None:
    if not runs:
        say("no lists are kept: nothing was published yet")
    for kept in runs:
        is_live = live is not None and (live.run_id, live.attempt) == (kept.run_id, kept.attempt)
        lists = f"{kept.list_count:>11,} lists" + ("  live" if is_live else "")
        say(f"{run_day(kept.run_id)}  {kept.run_id}  attempt {kept.attempt:>4}  {lists}")


def _words(live: Live | None) -> str:
    return "nothing" if live is None else f"run {live.run_id}, attempt {live.attempt}"


def _record(lake: Lake, surface: str, before: Live | None, now: Live) -> None:
    """Keep beside the steps of the run that it was taken live by hand, and from what."""
    of_run = Run(now.run_id, run_day(now.run_id), "daily", now.attempt, RunConfiguration(), {})
    with step(lake, of_run, "rollback_lists") as work:
        was = None if before is None else {"run_id": before.run_id, "attempt": before.attempt, "move": before.move}
        work.counts = {"surface": surface, "was": was, "attempt": now.attempt, "move": now.move}


if __name__ == "__main__":
    run(main, description=__doc__)
