"""What the ranker learns from: all that was shown or played and is new, and some candidates that were neither."""

from datetime import date

import numpy as np
import pyarrow as pa
import small_catalogue as small
from catalogue_columns import catalogue_columns

from feature_defs.ranking import HEADS
from pipelines.lists.candidates import Candidates
from pipelines.ranking_examples import examples_of

DAY = date(2026, 1, 31)
CATALOGUE = catalogue_columns(300)
PAST = small.histories([1, 2], [3], [])


def labelled(*rows: tuple[int, int, float | None]) -> pa.Table:
    """User, title, and the label of every head."""
    heads = {head: pa.array([row[2] for row in rows], pa.float32()) for head in HEADS}
    return pa.table(
        {
            "user_id": pa.array([row[0] for row in rows], pa.int64()),
            "item_id": pa.array([row[1] for row in rows], pa.int64()),
            "hour": pa.array([7] * len(rows), pa.int64()),
            "slot": pa.array([2] * len(rows), pa.int32()),
            "device": pa.array(["tv"] * len(rows), pa.string()),
            **heads,
        }
    )


def everything() -> Candidates:
    """All titles but those watched, for each of three users."""
    rows = [np.setdiff1d(np.arange(300), watched) for watched in ([0, 1], [2], [])]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    positions = np.concatenate(rows)
    zeros = np.zeros(len(positions), np.int64)
    return Candidates(PAST.user_ids, offsets, positions, zeros, zeros, zeros.astype(np.float32))


def test_what_was_shown_is_an_example_unless_it_was_watched_before_or_is_not_in_the_catalogue() -> None:
    found = examples_of(
        labelled((1, 1, 1.0), (1, 5, 1.0), (2, 6, None), (2, 999, 1.0)), DAY, PAST, CATALOGUE, everything(), 1
    )
    shown = found.slots >= 0
    assert list(zip(found.owners[shown].tolist(), found.positions[shown].tolist(), strict=True)) == [(0, 4), (1, 5)]
    assert found.labels[shown][0].tolist() == [1.0] * len(HEADS)
    assert np.isnan(found.labels[shown][1]).all()


def test_candidates_that_were_neither_are_added_as_not_watched_with_every_other_head_masked() -> None:
    found = examples_of(labelled((1, 5, 1.0), (2, 6, 0.0)), DAY, PAST, CATALOGUE, everything(), 1)
    added = found.slots < 0
    assert np.bincount(found.owners[added]).tolist() in ([60, 60], [59, 60], [60, 59], [59, 59])
    assert (found.labels[added][:, :2] == 0).all()
    assert np.isnan(found.labels[added][:, 2:]).all()
    pairs = list(zip(found.owners.tolist(), found.positions.tolist(), strict=True))
    assert len(pairs) == len(set(pairs))
    assert set(found.context.hours.tolist()) == {7}
    assert set(found.context.devices) == {"tv"}


def test_users_who_were_not_there_add_nothing_and_the_same_seed_draws_the_same() -> None:
    rows = labelled((1, 5, 1.0))
    one = examples_of(rows, DAY, PAST, CATALOGUE, everything(), 1)
    again = examples_of(rows, DAY, PAST, CATALOGUE, everything(), 1)
    assert set(one.owners.tolist()) == {0}
    assert one.positions.tolist() == again.positions.tolist()


def test_candidates_are_drawn_evenly_from_first_to_last() -> None:
    places = np.concatenate(
        [examples_of(labelled((3, 5, 1.0)), DAY, PAST, CATALOGUE, everything(), seed).positions for seed in range(60)]
    )
    counts = np.bincount(places, minlength=300)
    counts = counts[np.arange(300) != 4]
    assert 0.8 < counts[:100].mean() / counts[200:].mean() < 1.25


def test_a_day_without_anything_has_no_examples() -> None:
    assert len(examples_of(labelled(), DAY, PAST, CATALOGUE, everything(), 1)) == 0
