"""What a ranker says of candidates is the same whichever way it is worked out."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seeded_models import SeededNight, seeded_night, seeded_ranker

from feature_defs.ranking import HEADS
from pipelines.lists.funnel import knowledge_of
from pipelines.models import ranker_scoring
from pipelines.models.calibration import Calibration
from pipelines.models.ranker import Ranker
from pipelines.models.ranker_configuration import RankerConfiguration
from pipelines.models.ranker_inputs import Knowledge, pair_inputs, usual_context
from pipelines.models.ranker_scoring import score

USERS, TITLES = 30, 90


@pytest.fixture(scope="module")
def night() -> SeededNight:
    return seeded_night(USERS, TITLES, 3)


@pytest.fixture(scope="module")
def knowledge(night: SeededNight) -> Knowledge:
    return knowledge_of(
        night.model_set, night.retrieval, night.histories, night.users, night.user_features, night.item_features
    )


def candidates(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Some titles of each user, of some none."""
    generator = np.random.default_rng(seed)
    counts = generator.choice([0, 1, 7, TITLES], USERS)
    positions = [generator.permutation(TITLES)[:count] for count in counts]
    return np.concatenate([[0], np.cumsum(counts)]), np.concatenate([*positions, np.zeros(0, np.int64)]).astype(
        np.int64
    )


def by_the_network(ranker: Ranker, knowledge: Knowledge, offsets: np.ndarray, positions: np.ndarray) -> np.ndarray:
    owners = np.repeat(np.arange(USERS), np.diff(offsets))
    context = usual_context(knowledge, owners, np.arange(USERS) % 24, np.arange(USERS) % 7)
    return ranker.score(pair_inputs(knowledge, owners, positions, context, np.full(len(owners), -1)))


def taken_apart(ranker: Ranker, knowledge: Knowledge, offsets: np.ndarray, positions: np.ndarray) -> np.ndarray:
    return score(ranker, knowledge, offsets, positions, np.arange(USERS) % 24, np.arange(USERS) % 7)


@given(st.integers(0, 10**6), st.sampled_from([3, 8, 20]), st.sampled_from([1, 5, 64]), st.sampled_from([1, 50, 4096]))
@settings(max_examples=20, deadline=None)
def test_scores_are_those_of_the_network(
    night: SeededNight, knowledge: Knowledge, seed: int, width: int, units: int, at_once: int
) -> None:
    ranker = seeded_ranker(seed, RankerConfiguration(width=width, bottom_units=units, top_units=(units + 1, 2 * units)))
    offsets, positions = candidates(seed)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ranker_scoring, "_PAIRS_AT_ONCE", at_once)
        found = taken_apart(ranker, knowledge, offsets, positions)
    np.testing.assert_allclose(found, by_the_network(ranker, knowledge, offsets, positions), rtol=1e-4, atol=2e-5)


def test_calibration_counts_and_heads_without_labels_do_not(knowledge: Knowledge) -> None:
    ranker = seeded_ranker(1)
    calibration = Calibration(np.linspace(0.5, 2, len(HEADS)), np.linspace(-1, 1, len(HEADS)))
    facts = replace(ranker.facts, is_masked=np.arange(len(HEADS)) % 2 == 1, calibration=calibration)
    ranker = Ranker(ranker.network, facts, torch.device("cpu"))
    offsets, positions = candidates(1)
    expected = by_the_network(ranker, knowledge, offsets, positions)
    np.testing.assert_allclose(taken_apart(ranker, knowledge, offsets, positions), expected, rtol=1e-4, atol=2e-5)
    assert np.abs(expected - by_the_network(seeded_ranker(1), knowledge, offsets, positions)).max() > 0.01


def test_the_same_candidates_have_the_same_scores_to_the_last_bit(knowledge: Knowledge) -> None:
    offsets, positions = candidates(2)
    first, again = (taken_apart(seeded_ranker(2), knowledge, offsets, positions) for _ in range(2))
    assert first.tobytes() == again.tobytes()


def test_a_user_is_scored_the_same_among_others_and_alone(night: SeededNight, knowledge: Knowledge) -> None:
    ranker, user = seeded_ranker(4), 11
    offsets = np.arange(USERS + 1) * TITLES
    positions = np.tile(np.arange(TITLES), USERS)
    among = taken_apart(ranker, knowledge, offsets, positions)[offsets[user] : offsets[user + 1]]
    nothing = np.zeros(USERS + 1, np.int64)
    nothing[user + 1 :] = TITLES
    alone = taken_apart(ranker, knowledge, nothing, np.arange(TITLES))
    np.testing.assert_allclose(among, alone, rtol=1e-5, atol=1e-6)


def test_no_candidates_have_no_scores(knowledge: Knowledge) -> None:
    nothing = np.zeros(0, np.int64)
    assert len(taken_apart(seeded_ranker(5), knowledge, np.zeros(USERS + 1, np.int64), nothing)) == 0
