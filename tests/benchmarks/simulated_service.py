"""A simulated service on disk, run by its jobs as a person would, and a day of it on which models are judged."""

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "worlds"))
from night import Night

from pipelines.digested_files import DigestedFiles
from pipelines.evaluation.bootstrap import bootstrap_means
from pipelines.evaluation.comparison import CANDIDATES
from pipelines.evaluation.held_out import read_held_out
from pipelines.evaluation.stages import lists_by_stage
from pipelines.histories import Histories
from pipelines.knowledge import read_item_features, read_text_vectors, read_user_features, read_users
from pipelines.lists.funnel import retrieval_for
from pipelines.lists.funnel_configuration import FunnelConfiguration
from pipelines.lists.ranking import most_popular
from pipelines.models.model_set import ModelSet
from pipelines.runs import last_step, run_of
from pipelines.simulation.configuration import WorldConfiguration

RESAMPLES = 2000
# Days that a weekly run holds out, for the ranker to learn from.
LABEL_DAYS = 14
FUNNEL = FunnelConfiguration()

Job = tuple[object, ...]


@dataclass
class Judge:
    """Truth of the last days up to one, and what was known before, of the users who watched something new to them."""

    night: Night
    day: date
    truth_days: int

    def __post_init__(self) -> None:
        lake = self.night.lake
        held_out = read_held_out(lake, self.day, self.truth_days)
        self.known_until, self.catalogue = held_out.learned_until, held_out.catalogue
        self.text = read_text_vectors(lake, self.catalogue, "all-MiniLM-L6-v2", self.day)
        self.users = read_users(lake, self.day)
        self.truth, self.past, self.popularity = held_out.truth, held_out.known, held_out.popularity

    def retrieval(self, model_set: ModelSet):
        """What the sources of a model set propose from, for the catalogue of the day."""
        return retrieval_for(model_set, self.catalogue, self.text, self.popularity)

    def features(self):
        """Rows of user and of item features, as of the last day known."""
        return (
            read_user_features(self.night.lake, self.known_until, self.truth.user_ids),
            read_item_features(self.night.lake, self.known_until, self.catalogue),
        )

    def stages(self, model_set: ModelSet, configuration: FunnelConfiguration = FUNNEL, past: Histories | None = None):
        """Lists of each stage of the funnel, by its name."""
        return lists_by_stage(
            model_set,
            self.retrieval(model_set),
            past or self.past,
            self.users,
            *self.features(),
            self.popularity,
            self.known_until,
            configuration,
        )

    def popular(self):
        """The most popular titles new to each user."""
        return most_popular(self.past, self.popularity.most_popular(), self.catalogue.eligible, CANDIDATES)


def figure(values: np.ndarray) -> dict[str, float]:
    """The mean over users, with a 95 % interval."""
    if not len(values):
        return {"users": 0}
    low, high = np.quantile(bootstrap_means(values, RESAMPLES, 1), [0.025, 0.975])
    return {"mean": round(float(values.mean()), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def beside(values: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """The paired difference of two models, and their ratio, with 95 % intervals over the same resampled users."""
    ours, theirs = bootstrap_means(values, RESAMPLES, 1), bootstrap_means(reference, RESAMPLES, 1)
    low, high = np.quantile(ours - theirs, [0.025, 0.975])
    ratios = np.quantile(ours / np.maximum(theirs, 1e-9), [0.025, 0.975])
    return {
        "difference": round(float(values.mean() - reference.mean()), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
        "ratio": round(float(values.mean() / max(reference.mean(), 1e-9)), 4),
        "ratio_low": round(float(ratios[0]), 4),
        "ratio_high": round(float(ratios[1]), 4),
        "users": len(values),
    }


def weekly_jobs(world: WorldConfiguration, week: date) -> list[Job]:
    """The jobs of a weekly run until its models are assembled: the ranker has the run's last days to learn from."""
    sizes = (
        "--users",
        world.user_count,
        "--titles",
        world.title_count,
        "--days",
        world.day_count,
        "--seed",
        world.seed,
    )
    past = ("--from-day", world.first_day, "--day", week)
    weekly = ("--day", week, "--cadence", "weekly")
    return [
        ("load_warehouse", "--source", "simulated", *sizes),
        ("extract_events", *past),
        ("build_features", *past),
        ("open_run", *weekly, "--truth-days", LABEL_DAYS),
        *((name, *weekly) for name in ("embed_items", "train_als", "train_towers", "assemble_models")),
    ]


def nightly_jobs(day: date) -> list[Job]:
    """The jobs of a night until its models are assembled."""
    daily = ("--day", day)
    models = ("build_features", "embed_items", "train_als", "train_towers", "assemble_models")
    return [("extract_events", *daily), ("open_run", *daily), *((name, *daily) for name in models)]


def run_jobs(night: Night, jobs: Iterable[Job]) -> None:
    """Run jobs one after the other, and say how long each took."""
    for name, *given in jobs:
        started = time.monotonic()
        said = night.must(str(name), *given).strip().splitlines()
        print(f"{time.monotonic() - started:7.1f} s  {name}", flush=True)
        if name == "train_ranker":
            print("\n".join(line for line in said if line.startswith("  ")), flush=True)


def set_of(night: Night, day: date, cadence: str) -> ModelSet:
    """The model set of a run."""
    digest = last_step(night.lake, run_of(night.lake, day, cadence), "assemble_models")["writes"]["model_set"]
    return ModelSet.from_files(DigestedFiles(str(night.home / "models")).load(digest))
