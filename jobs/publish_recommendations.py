"""Make a run what is served: python -m jobs.publish_recommendations --day 2026-01-31

Verifies what was written and that its model set was promoted, commits the manifest, and moves the live pointer last.
"""

from datetime import date
from typing import Any

from pipelines import crash_points
from pipelines.audit.records import signed_records
from pipelines.audit.signing import open_signer
from pipelines.catalogue import read_catalogue
from pipelines.command_line import run, say
from pipelines.days import end_of
from pipelines.digested_files import DigestedFiles
from pipelines.erasure import forget_again
from pipelines.errors import RefusedError
from pipelines.histories import read_popularity
from pipelines.lake import Lake
from pipelines.lists.trending import pack_trending
from pipelines.publication import promotion_of_lists, show_expectations, verify
from pipelines.runs import Run, run_of, step
from pipelines.settings import read_settings
from pipelines.stores.interface import ListStore
from pipelines.stores.open import open_store


def main(day: date, publish: bool = True, allow_older: bool = False, keep: int = 3) -> None:
    """Publish a day's run.

    Args:
        day: the day whose night this is.
        publish: with `--no-publish` the run is verified and kept, and the pointer stays.
        allow_older: let a day older than the live one go live.
        keep: how many of the newest runs stay in the store, to go back to.
    """
    settings = read_settings()
    lake = Lake(settings.lake, settings.lake_options)
    this_run = run_of(lake, day)
    entries = signed_records(lake, open_signer(settings.audit_key, settings.home).public_key)
    with step(lake, this_run, "publish_recommendations") as work, open_store(settings.list_places) as store:
        committed = _committed(store, this_run)
        # Who was erased while this night ran may have been written after it was told to the store.
        forget_again(lake, store)
        if committed is None:
            trending = pack_trending(read_popularity(lake, day), read_catalogue(lake, day).eligible, end_of(day))
            store.put_trending(this_run.run_id, this_run.attempt, trending)
        manifest = committed or verify(lake, this_run, store)
        crash_points.passing("publication.after_verify")
        promotion = promotion_of_lists(lake, this_run, manifest, entries, DigestedFiles(settings.models))
        if promotion:
            say(f"its model set {manifest['model_set']} was promoted by {promotion.audit_id}")
        if committed is None:
            show_expectations(lake, this_run, settings.data_docs)
            crash_points.passing("publication.before_manifest")
            store.commit_manifest(this_run.run_id, this_run.attempt, manifest)
            say(f"verified {manifest['lists']:,} lists of run {this_run.run_id}, attempt {this_run.attempt}")
        work.counts = {**manifest, "is_live": False}
        if publish:
            live = store.live()
            forget_again(lake, store)
            crash_points.passing("publication.before_pointer")
            try:
                store.go_live(this_run.run_id, this_run.attempt, allow_older=allow_older)
                work.counts["is_live"] = True
                crash_points.passing("publication.after_pointer")
            except RefusedError as error:
                if live is None or live.run_id[:8] <= this_run.run_id[:8]:
                    raise
                say(f"the live pointer stays where it is: {error}")
            dropped = store.drop_runs(keep)
            if dropped:
                say(f"removed from the store: {', '.join(dropped)}")


def _committed(store: ListStore, this_run: Run) -> dict[str, Any] | None:
    """What was committed of this attempt: it was verified then, and nothing was written to it since."""
    before = store.manifest(this_run.run_id)
    return before.content if before is not None and before.attempt == this_run.attempt else None


if __name__ == "__main__":
    run(main, description=__doc__)
