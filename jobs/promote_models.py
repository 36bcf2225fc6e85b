"""Decide on the challenger: python -m jobs.promote_models --day 2026-01-31

It becomes champion if the metric gate lets it pass, its own audit did, and a full audit is in force for its policy and
configuration. The decision is recorded and signed with every reason, either way.
"""

from collections.abc import Mapping, Sequence, Set
from datetime import date
from typing import Any

import pyarrow.compute as pc

from feature_defs.record import EVALUATIONS
from pipelines.audit.content import policy_digest
from pipelines.audit.entry import AuditRecord
from pipelines.audit.fingerprint import fingerprint_of
from pipelines.audit.in_force import Grounds, audit_for_promotion, newest_promotion
from pipelines.audit.model_card import card_markdown, model_card, write_card
from pipelines.audit.policy_file import read_policy
from pipelines.audit.records import append_record, trusted_records
from pipelines.audit.signing import open_signer
from pipelines.command_line import run, say, say_result
from pipelines.digested_files import DigestedFiles
from pipelines.errors import DataError, RefusedError
from pipelines.evaluation.comparison import held_against
from pipelines.evaluation.gate import metric_gate
from pipelines.evaluation.judged_lists import evaluated_set
from pipelines.lake import Lake
from pipelines.promotion import (
    Decision,
    champion,
    decide,
    decision_content,
    signed_decision,
    with_audits,
    with_day_in_order,
)
from pipelines.runs import run_of, step
from pipelines.settings import read_settings
from pipelines.tracking import log_decision, seen_champion


def main(day: date, promote: bool = True, allow_older: bool = False) -> None:
    """Promote the challenger of a day's run, or refuse it.

    Args:
        day: the day whose night this is.
        promote: with `--no-promote` nothing is decided.
        allow_older: let a day older than the champion's promote.
    """
    settings = read_settings()
    lake = Lake(settings.lake, settings.lake_options)
    this_run = run_of(lake, day)
    if not promote:
        say_result({"job": "promote_models", "run_id": this_run.run_id, "verdict": "not asked for"})
        return
    challenger = evaluated_set(lake, this_run)
    policy = policy_digest(read_policy(settings.audit_policy))
    fingerprint = fingerprint_of(this_run.configuration)
    signer = open_signer(settings.audit_key, settings.home)
    with step(lake, this_run, "promote_models") as work:
        rows = lake.read(EVALUATIONS, day, day, where=pc.field("run_id") == this_run.run_id).to_pylist()
        _check_figures(rows, challenger, day)
        gate = this_run.configuration.gate
        models = DigestedFiles(settings.models)
        # What cannot be loaded is not promoted: judging it has loaded it, and its files are still what they were.
        models.load(challenger)
        chain: list[AuditRecord] | None = None
        try:
            chain = trusted_records(lake, signer.public_key, settings.audits)
            grounds = audit_for_promotion(chain, challenger, policy, fingerprint, day)
        except RefusedError as error:
            grounds = Grounds(None, None, 0, (f"the record of audits cannot be relied on: {error}",))
        verdict = with_audits(metric_gate(held_against(rows, gate.metric), gate), grounds)
        before = champion(lake)
        verdict = with_day_in_order(verdict, day, before, allow_older=allow_older)
        decision = decide(lake, this_run.run_id, day, challenger, verdict)
        for reason in decision.reasons:
            say(reason)
        if chain is None:
            say("the decision is not added to the record of audits, as nothing is built on one that is broken")
        elif signed_decision(chain, decision) is None:
            content = decision_content(decision, grounds, policy, fingerprint)
            chain.append(append_record(lake, signer, "promotion", content, day, audits=settings.audits))
        seen = seen_champion(settings.mlflow)
        reached = {
            row["metric"]: row["value"] for row in rows if row["role"] == "challenger" and row["segment"] == "all"
        }
        card = ""
        if decision.is_promoted:
            own = next((record for record in chain or () if record.audit_id == grounds.own), None)
            described = model_card(this_run, challenger, rows, own)
            card = card_markdown(described)
            say(f"its model card: {write_card(settings.audits, described)}")
        log_decision(
            settings.mlflow,
            "assemble_models",
            this_run.run_id,
            challenger,
            models.place_of(challenger),
            reached,
            is_promoted=decision.is_promoted,
            card=card,
        )
        now = champion(lake)
        moved = {seen, seen_champion(settings.mlflow)} - {one.challenger if one else None for one in (before, now)}
        _say_strangers(moved, now, chain or ())
        work.writes["decision"] = decision.epoch
        work.counts = {
            "verdict": "promoted" if decision.is_promoted else "refused",
            "champion": now.challenger if now else None,
            "is_alias_moved": bool(moved),
            "audit_head": chain[-1].digest if chain else None,
        }


def _check_figures(rows: Sequence[Mapping[str, Any]], challenger: str, day: date) -> None:
    """Refuse figures of another set: an evaluation that was killed leaves them without having been recorded.

    Raises:
        DataError: if there are any.
    """
    judged = next((row["model_set"] for row in rows if row["role"] == "challenger"), challenger)
    if judged != challenger:
        raise DataError(
            f"the figures of {day} are of model set {judged}, and not of {challenger}, which was evaluated last: run "
            f"`python -m jobs.evaluate_models --day {day}` again"
        )


def _say_strangers(moved: Set[str | None], now: Decision | None, chain: Sequence[AuditRecord]) -> None:
    """Report what points to another set than the signed record does: nothing of it is followed."""
    for shown in moved:
        say(f"MLflow's alias points to {shown}, which is not the champion: somebody moved it; nothing follows it")
    signed = newest_promotion(chain)
    if now and chain and (signed is None or signed.content["model_set"] != now.challenger):
        say(f"the champion {now.challenger} is not the one that the signed record promoted: its lists are refused")


if __name__ == "__main__":
    run(main, description=__doc__)
