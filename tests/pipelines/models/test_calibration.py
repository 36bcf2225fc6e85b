"""A planted miscalibration is found and undone; what has no labels is left alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import DataError
from pipelines.models.calibration import (
    Calibration,
    cross_fitted_probabilities,
    fitted_calibration,
    no_calibration,
    recalibration,
    reliabilities,
)


def planted(count: int, slope: float, intercept: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits [count, 1], and labels whose true logit is slope x logit + intercept."""
    generator = np.random.default_rng(4)
    logits = generator.normal(size=(count, 1)) * 2
    labels = (generator.random((count, 1)) < 1 / (1 + np.exp(-(slope * logits + intercept)))).astype(np.float32)
    return logits, labels


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.4, -2.0), (2.0, 1.0)])
def test_a_planted_miscalibration_comes_back(slope: float, intercept: float) -> None:
    logits, labels = planted(40_000, slope, intercept)
    found = fitted_calibration(logits, labels)
    assert found.slopes[0] == pytest.approx(slope, rel=0.05)
    assert found.intercepts[0] == pytest.approx(intercept, abs=0.05)


def test_calibration_brings_the_error_down_on_rows_it_was_not_fitted_to() -> None:
    logits, labels = planted(40_000, 0.4, -2.0)
    before = reliabilities(("head",), no_calibration(1).probabilities(logits), labels)[0]
    after = reliabilities(("head",), cross_fitted_probabilities(logits, labels, 1), labels)[0]
    assert before.expected_calibration_error > 0.2
    assert after.expected_calibration_error < 0.01
    assert len(after.counts) == 10
    assert after.counts.sum() == 40_000
    assert (np.diff(after.predicted) > 0).all()


def test_soft_labels_are_calibrated_to_their_mean() -> None:
    logits = np.linspace(-2, 2, 5000)[:, None]
    shares = 1 / (1 + np.exp(-(0.5 * logits + 0.3)))
    found = fitted_calibration(logits, shares)
    assert found.slopes[0] == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_head_with_labels_of_one_kind_stays_finite(value: float) -> None:
    logits = np.linspace(-3, 3, 1000)[:, None]
    found = fitted_calibration(logits, np.full((1000, 1), value))
    assert abs(found.probabilities(logits)[:, 0].mean() - value) < 0.02


def test_a_head_without_labels_is_left_as_it_is() -> None:
    logits, labels = planted(1000, 0.4, -2.0)
    both = fitted_calibration(np.hstack([logits, logits]), np.hstack([labels, np.full_like(labels, np.nan)]))
    assert (both.slopes[1], both.intercepts[1]) == (1.0, 0.0)
    table = reliabilities(("a", "b"), both.probabilities(np.hstack([logits, logits])), np.full((1000, 2), np.nan))
    assert np.isnan(table[1].expected_calibration_error)
    assert not len(table[1].counts)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-30, 30), st.sampled_from([0.0, 0.3, 1.0, float("nan")])), max_size=30))
def test_calibration_is_finite_and_keeps_the_order(rows: list[tuple[float, float]]) -> None:
    logits = np.array([logit for logit, _ in rows]).reshape(-1, 1)
    found = fitted_calibration(logits, np.array([label for _, label in rows]).reshape(-1, 1))
    assert (np.diff(found.probabilities(np.sort(logits, axis=0)), axis=0) >= 0).all()


def test_a_calibration_that_cannot_be_meant_is_refused() -> None:
    with pytest.raises(DataError, match="positive"):
        Calibration(np.array([-1.0]), np.zeros(1))
    with pytest.raises(DataError, match="finite"):
        Calibration(np.array([1.0]), np.array([np.nan]))
    with pytest.raises(DataError, match="slopes"):
        Calibration(np.ones(2), np.zeros(1))


def test_a_rate_that_shifted_comes_back_for_its_head_and_no_other() -> None:
    generator = np.random.default_rng(6)
    logits, steady = planted(30_000, 0.8, -1.0)
    before = Calibration(np.array([0.8, 0.8, 0.8]), np.array([-1.0, -1.0, -1.0]))
    # The second head's events became three times rarer in odds; the third says nothing any more.
    rarer = (generator.random(logits.shape) < 1 / (1 + np.exp(-(0.8 * logits - 1.0 - np.log(3))))).astype(np.float32)
    labels = np.hstack([steady, rarer, np.full_like(steady, np.nan)])
    is_held_out = generator.random(len(labels)) < 1 / 3
    found = recalibration(before, np.hstack([logits] * 3), labels, is_held_out)
    assert found.is_kept[1]
    assert not found.is_kept[2]
    assert found.calibration.slopes[1] == pytest.approx(0.8, rel=0.05)
    assert found.calibration.intercepts[1] == pytest.approx(-1.0 - np.log(3), abs=0.05)
    assert found.losses_after[1] < found.losses_before[1] - 0.01
    # What did not shift hardly moves, kept or not.
    assert found.calibration.intercepts[0] == pytest.approx(-1.0, abs=0.05)
    assert abs(found.losses_after[0] - found.losses_before[0]) < 0.001
    assert (found.calibration.slopes[2], found.calibration.intercepts[2]) == (0.8, -1.0)
    assert np.isnan([found.losses_before[2], found.losses_after[2]]).all()


def test_losses_are_those_of_the_held_out_rows_alone() -> None:
    logits, labels = planted(4000, 1.0, 0.0)
    is_held_out = np.arange(4000) >= 3000
    found = recalibration(no_calibration(1), logits, labels, is_held_out)
    p = 1 / (1 + np.exp(-logits[3000:, 0]))
    expected = -np.where(labels[3000:, 0] > 0, np.log(p), np.log(1 - p)).mean()
    assert found.losses_before[0] == pytest.approx(expected, rel=1e-6)


def test_a_shift_that_the_held_out_rows_do_not_show_is_not_kept() -> None:
    before = Calibration(np.array([1.0]), np.array([0.0]))
    logits, steady = planted(8000, 1.0, 0.0)
    _, shifted = planted(8000, 1.0, -3.0)
    is_held_out = np.arange(16_000) < 8000
    found = recalibration(before, np.vstack([logits, logits]), np.vstack([steady, shifted]), is_held_out)
    assert not found.is_kept[0]
    assert found.losses_after[0] > found.losses_before[0]
    assert (found.calibration.slopes[0], found.calibration.intercepts[0]) == (1.0, 0.0)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-30, 30), st.sampled_from([0.0, 0.3, 1.0, float("nan")]), st.booleans()), max_size=30),
    st.floats(0.1, 5),
    st.floats(-5, 5),
)
def test_recalibration_is_never_worse_on_the_held_out_rows_and_keeps_the_order(
    rows: list[tuple[float, float, bool]], slope: float, intercept: float
) -> None:
    before = Calibration(np.array([slope]), np.array([intercept]))
    logits = np.array([logit for logit, _, _ in rows]).reshape(-1, 1)
    labels = np.array([label for _, label, _ in rows]).reshape(-1, 1)
    found = recalibration(before, logits, labels, np.array([is_held for _, _, is_held in rows], np.bool_))
    assert found.calibration.slopes[0] > 0
    assert not found.is_kept[0] or found.losses_after[0] < found.losses_before[0]
    if not found.is_kept[0]:
        assert (found.calibration.slopes[0], found.calibration.intercepts[0]) == (slope, intercept)
