"""Serve an earlier run again: python -m jobs.rollback_lists --day 2026-01-30 --by NAME --reason WHY (or --list)

Moves the live pointer to a run whose lists are still kept; nothing is made or written anew, and readers change over
at once. Whoever runs it gives the word that an older day may be served, and is named for it in the signed record; the
next night goes live as usual. A run whose model set was never promoted is refused.
"""

from datetime import date
from typing import Annotated, Any, NamedTuple

import tyro

from feature_defs.record import RUNS
from pipelines.audit.entry import AuditRecord
from pipelines.audit.in_force import promotions_of
from pipelines.audit.records import append_record, signed_records
from pipelines.audit.signing import open_signer
from pipelines.command_line import run, say
from pipelines.configuration import RunConfiguration
from pipelines.errors import MarqueeError, RefusedError, UsageError
from pipelines.lake import Lake
from pipelines.runs import Run, step
from pipelines.settings import Settings, read_settings
from pipelines.stores.interface import HOME, ListStore, Live, run_day
from pipelines.stores.open import open_store


class Kept(NamedTuple):
    """A committed run whose lists are in the store, how many they are, and the model set that made them."""

    run_id: str
    attempt: int
    list_count: int
    model_set: str | None


def main(
    run_id: str = "",
    day: date | None = None,
    surface: str = HOME,
    by: str = "",
    reason: str = "",
    is_list: Annotated[bool, tyro.conf.arg(name="list")] = False,
) -> None:
    """Move the live pointer to a run that is kept, or show which are.

    Args:
        run_id: the run to serve.
        day: instead: the newest run of this day that is kept.
        surface: which pointer is moved.
        by: who does it: the name of a person.
        reason: why, for those who read the record later.
        is_list: only show the runs that are kept.
    """
    if is_list + bool(run_id) + (day is not None) != 1:
        raise UsageError("say one of --run-id RUN, --day DAY and --list")
    if not is_list and not (by.strip() and reason.strip()):
        raise UsageError("say who does it and why: --by NAME --reason WHY; both are kept in the signed record")
    settings = read_settings()
    lake = Lake(settings.lake, settings.lake_options)
    with open_store(settings.list_places) as store:
        if is_list:
            _show(kept_runs(lake, store), store.live(surface))
            return
        chosen = _of_run(store, run_id) if day is None else _of_day(lake, store, day)
        entries = signed_records(lake, open_signer(settings.audit_key, settings.home).public_key)
        _refuse_unpromoted(chosen, entries)
        before = store.live(surface)
        now = store.go_live(chosen.run_id, chosen.attempt, surface=surface, allow_older=True)
    say(f"{surface}: live was {_words(before)}, live is {_words(now)}")
    if settings.cache:
        say("the cache may have let go of its lists; until `python -m jobs.rebuild_cache` they come from behind it")
    said = {"surface": surface, "was": _told(before), "attempt": now.attempt, "move": now.move}
    said |= {"by": by, "reason": reason}
    try:
        _record(settings, lake, chosen, said)
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
    if manifest is None:
        return None
    content = manifest.content
    return Kept(run_id, manifest.attempt, int(content.get("lists", 0)), content.get("model_set"))


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


def _refuse_unpromoted(chosen: Kept, entries: list[AuditRecord]) -> None:
    # A run of the first nights, before any set was promoted, has what trends and no lists.
    if chosen.model_set is None and not chosen.list_count:
        return
    if not promotions_of(entries, str(chosen.model_set)):
        raise RefusedError(
            f"the lists of run {chosen.run_id} were made by the model set {chosen.model_set}, which the signed record "
            "does not promote: they are not served again"
        )


def _show(runs: list[Kept], live: Live | None) -> None:
    if not runs:
        say("no lists are kept: nothing was published yet")
    for kept in runs:
        is_live = live is not None and (live.run_id, live.attempt) == (kept.run_id, kept.attempt)
        lists = f"{kept.list_count:>11,} lists" + ("  live" if is_live else "")
        say(f"{run_day(kept.run_id)}  {kept.run_id}  attempt {kept.attempt:>4}  {lists}")


def _words(live: Live | None) -> str:
    return "nothing" if live is None else f"run {live.run_id}, attempt {live.attempt}"


def _told(live: Live | None) -> dict[str, Any] | None:
    return None if live is None else {"run_id": live.run_id, "attempt": live.attempt, "move": live.move}


def _record(settings: Settings, lake: Lake, chosen: Kept, said: dict[str, Any]) -> None:
    """Keep beside the steps of the run, and in the signed record, that it was taken live by hand, and from what."""
    day = run_day(chosen.run_id)
    of_run = Run(chosen.run_id, day, "daily", chosen.attempt, RunConfiguration(), {})
    with step(lake, of_run, "rollback_lists") as work:
        work.counts = said
    content = {**said, "run_id": chosen.run_id, "model_set": chosen.model_set}
    append_record(
        lake, open_signer(settings.audit_key, settings.home), "rollback", content, day, audits=settings.audits
    )


if __name__ == "__main__":
    run(main, description=__doc__)
