"""One model set from the night's models: python -m jobs.assemble_models --day 2026-01-31

ALS and the towers of this run, the index and neighbours of titles, the vectors of cohorts, what people are interested
in, and the newest ranker that learned from nothing this run judges on, its calibration checked on the newest days that
it has not learned from and refitted where that is better. From here on they are judged, promoted and rolled back
together.
"""

from datetime import date, timedelta
from typing import Any, Literal

import numpy as np

from feature_defs.interactions import INTERACTIONS
from pipelines.command_line import run, say
from pipelines.digested_files import DigestedFiles
from pipelines.histories import read_histories
from pipelines.knowledge import aligned
from pipelines.labelled_days import read_known
from pipelines.lake import Lake
from pipelines.lists.cohorts import cohort_vectors
from pipelines.models.als import AlsModel
from pipelines.models.interests import learn_interests
from pipelines.models.item_item import item_item_neighbours
from pipelines.models.model_set import ModelSet
from pipelines.models.nearest import build
from pipelines.models.ranker import Ranker
from pipelines.models.towers import Towers
from pipelines.recalibrating import Carried, carried
from pipelines.runs import last_step, newest_step, run_of, step
from pipelines.settings import read_settings


def main(day: date, cadence: Literal["daily", "weekly"] = "daily") -> None:
    """Assemble the challenger of a day's run.

    Args:
        day: the day whose night this is.
        cadence: of which DAG the run is; a weekly one, which is to make a ranker, carries none.
    """
    settings = read_settings()
    lake = Lake(settings.lake, settings.lake_options)
    this_run = run_of(lake, day, cadence)
    learned_until = day - timedelta(days=this_run.configuration.truth_days)
    models = DigestedFiles(settings.models)
    with step(lake, this_run, "assemble_models") as work:
        work.reads = {INTERACTIONS.name: lake.version(INTERACTIONS) or 0}
        als = AlsModel.from_files(models.load(str(last_step(lake, this_run, "train_als")["writes"]["model"])))
        towers = Towers.from_files(models.load(str(last_step(lake, this_run, "train_towers")["writes"]["model"])))
        known = read_known(lake, day)
        carry = None
        found = newest_step(lake, "train_ranker", learned_until) if cadence == "daily" else None
        if found is not None:
            say(f"the ranker of {found['run_day']} ranks")
            carry = carried(
                known,
                models,
                Ranker.from_files(models.load(str(found["writes"]["model"]))),
                learned_until,
                this_run.configuration.funnel,
            )
        elif cadence == "daily":
            say(f"no ranker was trained for a day up to {learned_until}: lists stay in the order of retrieval")
        histories = read_histories(lake, learned_until, opted_out=known.opted_out)
        text = known.text_vectors(this_run.configuration.text_encoder)
        vectors = towers.encode_items(known.catalogue, text)
        is_warm = np.diff(histories.offsets) >= this_run.configuration.funnel.cold_below
        model_set = ModelSet(
            als=als,
            towers=towers,
            item_ids=known.catalogue.item_ids,
            item_vectors=vectors,
            index=build(vectors),
            neighbours=item_item_neighbours(histories, known.catalogue),
            cohorts=cohort_vectors(als.encode(histories), aligned(known.users, "user_id", histories.user_ids), is_warm),
            interests=learn_interests(histories, known.catalogue, text, this_run.configuration.als.seed),
            ranker=carry.ranker if carry else None,
            text_encoder=this_run.configuration.text_encoder,
            learned_until=learned_until,
        )
        digest = models.save(model_set.to_files())
        work.writes["model_set"] = digest
        work.counts = {
            "items": len(known.catalogue),
            "model_set": digest,
            "learned_until": str(learned_until),
            "ranker_of": str(found["run_day"]) if found else None,
            "recalibration": _described(carry) if carry else None,
        }


def _described(ranker: Carried) -> dict[str, Any]:
    days = {str(day): digest for day, digest in ranker.days.items()}
    return {"days": days, "examples": ranker.example_count, "heads": dict(ranker.heads)}


if __name__ == "__main__":
    run(main, description=__doc__)
