"""Where a served list comes from: python -m jobs.explain_list --user-id 17 --day 2026-01-31

Walks from the list to the run, the versions of the tables, the model set, the decision that promoted it and the audits
on which that rested, and says where each of them can be seen.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import pyarrow.compute as pc

from feature_defs.recommendations import RECOMMENDATIONS
from feature_defs.record import RUNS
from pipelines.audit.entry import AuditRecord
from pipelines.audit.explanation import audit_lines, list_lines, promotion_lines, run_lines, table_lines
from pipelines.audit.export import EXPORT, verify_command
from pipelines.audit.in_force import covering, promotions_of
from pipelines.audit.records import signed_records, trusted_records
from pipelines.audit.signing import open_signer
from pipelines.catalogue import read_names
from pipelines.command_line import run, say, say_result
from pipelines.days import end_of
from pipelines.digested_files import DigestedFiles
from pipelines.errors import RefusedError
from pipelines.lake import Lake
from pipelines.lists.codec import unpack
from pipelines.lists.packing import pack_many
from pipelines.lists.stored import PACKED_COLUMNS
from pipelines.runs import Run, run_of, steps_of
from pipelines.settings import Settings, read_settings
from pipelines.stores.interface import ListStore, run_day
from pipelines.stores.open import open_store


def main(user_id: int, day: date) -> None:
    """Explain a user's list of a day.

    Args:
        user_id: whose list.
        day: of the run that made it: the one that is live, or the last one that was opened.
    """
    settings = read_settings()
    lake = Lake(settings.lake, settings.lake_options)
    with open_store(settings.list_places) as store:
        live = store.live()
        is_live = live is not None and run_day(live.run_id) == day
        this_run = run_of(lake, day, run_id=live.run_id if live and is_live else None)
        is_kept = store.manifest(this_run.run_id) is not None
        packed, place = _packed_list(settings, lake, store, this_run, user_id)
    steps = steps_of(lake, this_run.run_id, day)
    if packed is None:
        _say("list", [f"user {user_id} has none in this run: they were answered with their cohort's, or what trends"])
    else:
        _say("list", [*list_lines(unpack(packed), read_names(lake, day)), f"seen in {place}"])
    is_shown = "live" if is_live else "kept, not live" if is_kept else "not published, or let go of"
    opened = lake.read(RUNS, day, day, where=pc.field("run_id") == this_run.run_id).to_pylist()
    code = f"code {opened[-1]['code_digest']}"
    _say("run", [*run_lines(this_run, steps), code, is_shown, f"seen in {lake.uri(RUNS)} and in MLflow, by its run id"])
    _say("tables", [*table_lines(this_run, steps), f"seen in {lake.root}, each at its version"])
    model_set = _scored_by(steps)
    if model_set is None:
        _say("model set", ["none: no set had been promoted yet, and users got what trends"])
    else:
        _say("model set", [model_set, f"seen in {DigestedFiles(settings.models).place_of(model_set)}"])
        _say_audits(settings, lake, model_set, day)
    say_result({"job": "explain_list", "run_id": this_run.run_id, "model_set": model_set, "is_live": is_live})


def _packed_list(
    settings: Settings, lake: Lake, store: ListStore, this_run: Run, user_id: int
) -> tuple[bytes | None, str]:
    """A user's list, and where it was found: the store, or the lake if the store let go of the run."""
    packed = store.get(this_run.run_id, user_id)
    if packed is not None or user_id in store.forgotten():
        return packed, f"the store, {settings.list_places.lists}"
    of_user = (pc.field("run_id") == this_run.run_id) & (pc.field("user_id") == user_id)
    rows = lake.read(RECOMMENDATIONS, this_run.day, this_run.day, columns=PACKED_COLUMNS, where=of_user)
    lists = dict(pair for block in rows.to_batches() for pair in pack_many(block, generated_at=end_of(this_run.day)))
    return lists.get(user_id), lake.uri(RECOMMENDATIONS)


def _scored_by(steps: Sequence[Mapping[str, Any]]) -> str | None:
    """The model set that made the lists of a run, by its newest scoring."""
    scored = [json.loads(row["counts"]) for row in steps if row["job"] == "score_users"]
    return scored[-1]["champion"] if scored else None


def _say_audits(settings: Settings, lake: Lake, model_set: str, day: date) -> None:
    public_key = open_signer(settings.audit_key, settings.home).public_key
    entries = signed_records(lake, public_key)
    promotions = promotions_of(entries, model_set)
    export = settings.audits / EXPORT
    if not promotions:
        _say("promotion", ["none: the signed record does not promote this set"])
    else:
        _say("promotion", [*promotion_lines(promotions[-1]), f"seen in {export}, line {promotions[-1].number}"])
        by_id = {entry.audit_id: entry for entry in entries}
        said = promotions[-1].content
        told: set[str | None] = set()
        for title, name in (
            ("own audit", said.get("own_audit")),
            ("audit in force when promoted", said.get("audit_in_force")),
            (f"audit in force on {day}", covering(entries, model_set, day)),
        ):
            # The first set of an installation has one audit for all three.
            _say(
                title,
                [f"{name}, as above"] if name and name in told else _audit(settings, by_id.get(str(name)), entries),
            )
            told.add(name)
    try:
        trusted_records(lake, public_key, settings.audits)
        verified = "every record is as it was signed"
    except RefusedError as error:
        verified = str(error)
    _say("record", [verified, f"verified by {verify_command(settings.audits)}"])


def _audit(settings: Settings, audit: AuditRecord | None, entries: Sequence[AuditRecord]) -> list[str]:
    if audit is None:
        return ["none"]
    answers = [
        entry for entry in entries if entry.moment == "approval" and entry.content.get("audit_id") == audit.audit_id
    ]
    page = settings.audits / f"{audit.audit_id}.html"
    return [*audit_lines(audit, answers), f"seen in {page if page.exists() else settings.audits / EXPORT}"]


def _say(title: str, lines: Sequence[str]) -> None:
    say(f"{title}: {lines[0]}")
    for line in lines[1:]:
        say(f"    {line}")


if __name__ == "__main__":
    run(main, description=__doc__)
