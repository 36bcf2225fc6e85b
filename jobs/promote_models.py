"""Decide on the challenger: python -m jobs.promote_models --day 2026-01-31

It becomes champion if the metric gate lets it pass; the decision is recorded with every reason, either way.
"""

from datetime import date

import pyarrow.compute as pc

from feature_defs.record import EVALUATIONS
from pipelines.command_line import run, say, say_result
from pipelines.digested_files import DigestedFiles
from pipelines.evaluation.comparison import held_against
from pipelines.evaluation.gate import metric_gate
from pipelines.lake import Lake
from pipelines.promotion import champion, decide, with_day_in_order
from pipelines.runs import last_step, run_of, step
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
    challenger = str(last_step(lake, this_run, "assemble_models")["writes"]["model_set"])
    last_step(lake, this_run, "evaluate_models")
    with step(lake, this_run, "promote_models") as work:
        rows = lake.read(EVALUATIONS, day, day, where=pc.field("run_id") == this_run.run_id).to_pylist()
        gate = this_run.configuration.gate
        models = DigestedFiles(settings.models)
        # What cannot be loaded is not promoted: judging it has loaded it, and its files are still what they were.
        models.load(challenger)
        verdict = metric_gate(held_against(rows, gate.metric), gate)
        verdict = with_day_in_order(verdict, day, champion(lake), allow_older=allow_older)
        decision = decide(lake, this_run.run_id, day, challenger, verdict)
        for reason in decision.reasons:
            say(reason)
        reached = {
            row["metric"]: row["value"] for row in rows if row["role"] == "challenger" and row["segment"] == "all"
        }
        log_decision(
            settings.mlflow,
            "assemble_models",
            this_run.run_id,
            challenger,
            models.place_of(challenger),
            reached,
            is_promoted=decision.is_promoted,
        )
        now = champion(lake)
        shown = seen_champion(settings.mlflow)
        if now and shown != now.challenger:
            say(f"MLflow's alias points to {shown}, which is not the champion: somebody moved it; nothing follows it")
        work.writes["decision"] = decision.epoch
        work.counts = {
            "verdict": "promoted" if decision.is_promoted else "refused",
            "champion": now.challenger if now else None,
        }


if __name__ == "__main__":
    run(main, description=__doc__)
