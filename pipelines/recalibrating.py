"""Between two weekly rankers, every night: the newest one's calibration is checked on days it has not learned from.

The ranker reads scores of models that learned strictly before an impression. The set of this night learned from these
days; the sets of the nights before had not, so each day is read with the scores of a set from before it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow.compute as pc

from feature_defs.ranking import HEADS
from feature_defs.record import STEPS
from pipelines.command_line import say
from pipelines.digested_files import DigestedFiles
from pipelines.errors import DataError
from pipelines.labelled_days import Known, LabelledDay, labelled_day
from pipelines.lake import Lake
from pipelines.lists.funnel_configuration import FunnelConfiguration
from pipelines.models.calibration import Recalibration
from pipelines.models.model_set import ModelSet
from pipelines.models.ranker import Ranker
from pipelines.models.ranker_inputs import joined
from pipelines.models.ranker_training import recalibrated

# As many days as a weekly ranker learns from, and so many of their users that a rate is known better than it drifts.
_MOST_DAYS = 7
_MOST_USERS = 2000
# Users whose rows judge the calibration that is fitted to those of the others: nobody stands on both sides.
_HELD_OUT_SHARE = 1 / 3


@dataclass(frozen=True)
class Carried:
    """The ranker that a night's set carries, and what was tried with its calibration.

    `days`: which were read, each with the digest of the model set whose scores it was read with. `example_count`: of
    them. `heads`: of each head that they say something of, its log loss on the held-out users before and after, and
    whether the new calibration is kept.
    """

    ranker: Ranker
    days: Mapping[date, str]
    example_count: int
    heads: Mapping[str, Mapping[str, Any]]


def carried(
    known: Known,
    models: DigestedFiles,
    ranker: Ranker,
    learned_until: date,
    configuration: FunnelConfiguration,
) -> Carried:
    """A ranker with the calibration of each head that is better on the newest days it has not learned from.

    Where there are no such days, nothing was shown on them, or no model set is left that learned until before them,
    the ranker is carried as it is; why is said.

    Args:
        known: on the day of the run.
        models: where model sets are.
        ranker: newest of the weekly ones.
        learned_until: the last day that this night may learn from.
        configuration: of retrieval.
    """
    first = max(ranker.facts.last_day + timedelta(days=1), learned_until - timedelta(days=_MOST_DAYS - 1))
    wanted = [first + timedelta(days=number) for number in range((learned_until - first).days + 1)]
    if not wanted:
        say(f"the ranker is carried as it is: it learned from all days up to {ranker.facts.last_day}")
        return Carried(ranker, {}, 0, {})
    seed = ranker.facts.configuration.seed
    read: dict[date, LabelledDay] = {}
    used: dict[date, str] = {}
    for day, digest in sets_before(_assembled(known.lake, known.day), wanted).items():
        try:
            model_set = ModelSet.from_files(models.load(digest))
        except DataError as error:
            # An older set may be gone, or be made for features of before: the night goes on without that day.
            say(f"{day} is not read: {error}")
            continue
        found = labelled_day(known, model_set, day, configuration, seed, _MOST_USERS)
        if found is not None:
            read[day], used[day] = found, digest
    if not read:
        say(f"the ranker is carried as it is: nothing can be read of {wanted[0]} to {wanted[-1]}")
        return Carried(ranker, {}, 0, {})
    user_ids = np.concatenate([day.user_ids for day in read.values()])
    people = np.unique(user_ids)
    held_out = people[np.random.default_rng(seed).random(len(people)) < _HELD_OUT_SHARE]
    again, found_lines = recalibrated(
        ranker,
        joined([day.inputs for day in read.values()]),
        np.concatenate([day.labels for day in read.values()]),
        np.isin(user_ids, held_out),
    )
    heads = _figures(found_lines)
    kept = [head for head, figures in heads.items() if figures["is_kept"]]
    say(
        f"calibration on {len(user_ids):,} examples of {min(read)} to {max(read)}, log loss before and after: "
        + ", ".join(f"{head} {one['before']:.5f} {one['after']:.5f}" for head, one in heads.items())
        + f"; kept for {', '.join(kept) or 'no head'}"
    )
    return Carried(again, used, len(user_ids), heads)


def sets_before(assembled: Sequence[tuple[date, str]], days: Sequence[date]) -> dict[date, str]:
    """Of each day the model set that learned until closest before it; a day without one is left out.

    Args:
        assembled: until which day each set learned, and its digest, oldest first; of equals the last counts.
        days: any.
    """
    found = {}
    for day in days:
        earlier = [(until, number) for number, (until, _) in enumerate(assembled) if until < day]
        if earlier:
            found[day] = assembled[max(earlier)[1]][1]
    return found


def _assembled(lake: Lake, until: date) -> list[tuple[date, str]]:
    rows = lake.read(STEPS, None, until, where=pc.field("job") == "assemble_models").to_pylist()
    rows.sort(key=lambda row: (row["run_day"], row["started_at"]))
    counts = [json.loads(row["counts"]) for row in rows]
    return [(date.fromisoformat(one["learned_until"]), one["model_set"]) for one in counts if "learned_until" in one]


def _figures(found: Recalibration) -> dict[str, dict[str, Any]]:
    return {
        head: {"before": round(float(before), 6), "after": round(float(after), 6), "is_kept": bool(is_kept)}
        for head, before, after, is_kept in zip(
            HEADS, found.losses_before, found.losses_after, found.is_kept, strict=True
        )
        if np.isfinite(before)
    }
