"""Learn the two towers: python -m jobs.train_towers --day 2026-01-31

On a GPU where there is one, on several with torchrun: torchrun --nproc-per-node 8 -m jobs.train_towers --day 2026-01-31
A training that was cut off goes on from its last checkpoint, to the result it would have had.
"""

import dataclasses
import os
import tempfile
from datetime import date, timedelta
from pathlib import Path
from typing import Literal

from feature_defs.interactions import INTERACTIONS
from pipelines.catalogue import read_catalogue
from pipelines.command_line import run, say
from pipelines.digested_files import DigestedFiles
from pipelines.histories import read_histories, read_opted_out
from pipelines.knowledge import read_text_vectors, read_users
from pipelines.lake import Lake
from pipelines.models.processes import is_first_process, join_processes
from pipelines.models.towers_inputs import item_inputs, mapped_windows, vocabularies, windows
from pipelines.models.towers_training import Progress, train_towers
from pipelines.runs import run_of, step
from pipelines.settings import read_settings
from pipelines.tracking import log_training


def main(day: date, cadence: Literal["daily", "weekly"] = "daily") -> None:
    """Train the towers for a day's run.

    Args:
        day: the day whose night this is.
        cadence: of which DAG the run is.
    """
    settings = read_settings()
    lake = Lake(settings.lake, settings.lake_options)
    this_run = run_of(lake, day, cadence)
    configuration = this_run.configuration.towers
    learned_until = day - timedelta(days=this_run.configuration.truth_days)
    join_processes(int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0")))
    reads = {INTERACTIONS.name: lake.version(INTERACTIONS) or 0}
    catalogue = read_catalogue(lake, day)
    text = read_text_vectors(lake, catalogue, this_run.configuration.text_encoder, day)
    users = read_users(lake, day)
    histories = read_histories(lake, learned_until, opted_out=read_opted_out(lake, day))
    known = vocabularies(
        catalogue,
        histories.item_ids,
        users,
        text.shape[1],
        configuration.creator_buckets,
        configuration.user_buckets,
    )

    def learn() -> dict[str, bytes]:
        with tempfile.TemporaryDirectory(prefix="marquee-towers-") as folder:
            windows(
                histories, catalogue, users, known, configuration.history_length, configuration.held_out_share
            ).save(Path(folder))
            kept = mapped_windows(Path(folder))
            say(f"learning from plays received up to {learned_until}: {len(kept):,} windows, {configuration}")
            towers = train_towers(
                kept,
                item_inputs(catalogue, text, known),
                known,
                configuration,
                checkpoints=settings.home / "checkpoints" / this_run.run_id,
                progress=_say_progress,
            )
        return towers.with_taste(histories, catalogue, text).to_files() if is_first_process() else {}

    if not is_first_process():
        learn()
        return
    with step(lake, this_run, "train_towers") as work:
        work.reads = reads
        digest = DigestedFiles(settings.models).save(learn())
        log_training(settings.mlflow, "train_towers", this_run.run_id, digest, dataclasses.asdict(configuration))
        work.writes["model"] = digest
        work.counts = {"users": len(histories.user_ids), "model": digest, "learned_until": str(learned_until)}


def _say_progress(progress: Progress) -> None:
    held_out = "" if progress.held_out_loss is None else f" ({progress.held_out_loss:.4f} held out)"
    say(
        f"  epoch {progress.epoch + 1}: loss {progress.loss:.4f}{held_out}, "
        f"{progress.places_a_second:,.0f} places a second, {progress.padding_share:.1%} padding"
    )


if __name__ == "__main__":
    run(main, description=__doc__)
