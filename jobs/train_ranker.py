"""Learn the ranker: python -m jobs.train_ranker --day 2026-01-31

For a weekly run: from what was shown and played on its held-out days, with retrieval scores of the model set that
learned until the day before the first of them. Nightly sets carry it from then on.
"""

import dataclasses
from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np

from feature_defs.interactions import LABELS
from feature_defs.ranking import HEADS
from pipelines.command_line import run, say
from pipelines.digested_files import DigestedFiles
from pipelines.errors import DataError
from pipelines.labelled_days import labelled_day, read_known
from pipelines.lake import Lake
from pipelines.models.calibration import Reliability
from pipelines.models.model_set import ModelSet
from pipelines.models.ranker_inputs import joined
from pipelines.models.ranker_training import train
from pipelines.runs import last_step, run_of, step
from pipelines.settings import read_settings
from pipelines.tracking import log_training


def main(day: date) -> None:
    """Train the ranker of a day's weekly run.

    Args:
        day: the day whose night this is.
    """
    settings = read_settings()
    lake = Lake(settings.lake, settings.lake_options)
    this_run = run_of(lake, day, "weekly")
    configuration = this_run.configuration
    first_day = day - timedelta(days=configuration.truth_days - 1)
    models = DigestedFiles(settings.models)
    with step(lake, this_run, "train_ranker") as work:
        work.reads = {LABELS.name: lake.version(LABELS) or 0}
        digest = str(last_step(lake, this_run, "assemble_models")["writes"]["model_set"])
        model_set = ModelSet.from_files(models.load(digest))
        known = read_known(lake, day)
        inputs, labels, days = [], [], []
        for number in range(configuration.truth_days):
            shown_on = first_day + timedelta(days=number)
            found = labelled_day(known, model_set, shown_on, configuration.funnel, configuration.ranker.seed)
            if found is None:
                say(f"{shown_on}: nothing was shown or played")
                continue
            inputs.append(found.inputs)
            labels.append(found.labels)
            days.append(np.full(len(found.inputs), np.datetime64(shown_on, "D")))
            say(f"{shown_on}: {len(np.unique(found.user_ids)):,} users, {len(found.inputs):,} examples")
        if not inputs:
            raise DataError(f"nothing was shown or played from {first_day} to {day}: there is nothing to rank by")
        trained = train(
            joined(inputs),
            np.concatenate(labels),
            np.concatenate(days),
            model_set.learned_until,
            configuration.ranker,
        )
        say("calibration on the held-out days:")
        for reliability in trained.reliabilities:
            say(_sentence(reliability))
        ranker = models.save(trained.ranker.to_files())
        log_training(settings.mlflow, "train_ranker", this_run.run_id, ranker, dataclasses.asdict(configuration.ranker))
        work.writes["model"] = ranker
        work.counts = {
            "examples": int(sum(len(part) for part in inputs)),
            "model": ranker,
            "masked": _masked(trained.ranker.is_masked.tolist()),
            "calibration_errors": {
                one.head: round(one.expected_calibration_error, 4) for one in trained.reliabilities if len(one.counts)
            },
        }


def _masked(is_masked: Sequence[bool]) -> list[str]:
    return [head for head, masked in zip(HEADS, is_masked, strict=True) if masked]


def _sentence(reliability: Reliability) -> str:
    if not len(reliability.counts):
        return f"  {reliability.head:<15} masked: the data says nothing of it"
    tenths = zip(reliability.predicted, reliability.observed, strict=True)
    return (
        f"  {reliability.head:<15} error {reliability.expected_calibration_error:.4f} on {reliability.counts.sum():,} "
        "rows; by tenths, predicted and observed: " + " ".join(f"{one:.3f}|{other:.3f}" for one, other in tenths)
    )


if __name__ == "__main__":
    run(main, description=__doc__)
