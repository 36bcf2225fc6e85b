"""What serving needs beside lists: python -m jobs.build_snapshot --day 2026-01-31

Titles, neighbours, lists of cohorts, what trends, what is new and what is explored, and the rules, kept under one
digest (`MARQUEE_SNAPSHOTS`); which belongs to the run is said beside them.
"""

from datetime import UTC, date, datetime

from feature_defs.items import ITEMS
from pipelines.audit.in_force import covering
from pipelines.audit.records import trusted_records
from pipelines.audit.signing import open_signer
from pipelines.catalogue import catalogue_from
from pipelines.command_line import run, say
from pipelines.digested_files import DigestedFiles
from pipelines.errors import RefusedError
from pipelines.exploration import read_outcomes
from pipelines.histories import read_popularity
from pipelines.knowledge import read_text_vectors, read_users
from pipelines.lake import Lake
from pipelines.lists.funnel import retrieval_for
from pipelines.models.model_set import ModelSet
from pipelines.promotion import champion
from pipelines.runs import run_of, step
from pipelines.settings import Settings, read_settings
from pipelines.snapshot import snapshot_files
from pipelines.snapshot_record import SnapshotRecord, write_record


def main(day: date) -> None:
    """Build the snapshot of a day's run.

    Args:
        day: the day whose night this is.
    """
    settings = read_settings()
    lake = Lake(settings.lake, settings.lake_options)
    this_run = run_of(lake, day)
    with step(lake, this_run, "build_snapshot") as work:
        now = champion(lake)
        if now is None:
            say("no model set was ever promoted: there is nothing to take a snapshot of")
            work.counts = {"champion": None}
            return
        version = this_run.inputs[ITEMS.name].version
        work.reads = {ITEMS.name: version}
        items = lake.read(ITEMS, day, day, version=version)
        catalogue = catalogue_from(items, day)
        model_set = ModelSet.from_files(DigestedFiles(settings.models).load(now.challenger))
        text = read_text_vectors(lake, catalogue, model_set.text_encoder, day)
        popularity = read_popularity(lake, day)
        files = snapshot_files(
            items,
            retrieval_for(model_set, catalogue, text, popularity),
            model_set.cohorts,
            read_users(lake, day),
            popularity,
            read_outcomes(lake, day),
            now.challenger,
            day,
            this_run.configuration.funnel,
        )
        digest = DigestedFiles(settings.snapshots, "snapshot").save(files)
        audit_id = _audit_id(settings, lake, now.challenger, day)
        write_record(
            settings.snapshots,
            SnapshotRecord(this_run.run_id, digest, now.challenger, audit_id, datetime.now(UTC)),
        )
        work.writes["snapshot"] = digest
        work.counts = {"titles": len(catalogue), "bytes": sum(map(len, files.values())), "snapshot": digest}


def _audit_id(settings: Settings, lake: Lake, model_set: str, day: date) -> str | None:
    """The audit that covers the champion; none where the record cannot be relied on."""
    try:
        chain = trusted_records(lake, open_signer(settings.audit_key, settings.home).public_key, settings.audits)
    except RefusedError as error:
        say(f"no audit is named: {error}")
        return None
    return covering(chain, model_set, day)


if __name__ == "__main__":
    run(main, description=__doc__)
