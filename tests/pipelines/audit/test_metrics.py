"""Values of users: by hand, against fairlearn, and with planted histories."""

import numpy as np
import pytest
from audit_subjects import audit_subjects
from fairlearn.metrics import MetricFrame
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from feature_defs.audit_policy import POLICY
from pipelines.audit.family import family_of
from pipelines.audit.groups import audited_attributes
from pipelines.audit.metrics import (
    class_sums,
    exploration_weights,
    miscalibration,
    one_hot,
    user_values,
    watched_sums,
)
from pipelines.audit.subjects import Served
from pipelines.audit.verdict import judge
from pipelines.evaluation.comparison import per_user


def test_miscalibration_is_the_divergence_of_the_paper() -> None:
    watched, listed = np.array([[7.0, 3.0]]), np.array([[2.0, 2.0]])
    mixed = 0.99 * np.array([0.5, 0.5]) + 0.01 * np.array([0.7, 0.3])
    expected = 0.7 * np.log(0.7 / mixed[0]) + 0.3 * np.log(0.3 / mixed[1])
    assert miscalibration(listed, watched)[0] == pytest.approx(expected)


def test_a_list_like_the_history_is_calibrated_and_one_without_either_has_none() -> None:
    same = np.array([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    found = miscalibration(same, same * 3)
    assert found[0] == pytest.approx(0)
    assert np.isnan(found[1])


@settings(max_examples=50)
@given(hnp.arrays(np.float64, (4, 5), elements=st.integers(0, 9).map(float)))
def test_miscalibration_is_never_negative(counts: np.ndarray) -> None:
    found = miscalibration(counts[:2], counts[2:])
    assert (found[np.isfinite(found)] >= -1e-12).all()


def test_quality_is_that_of_the_evaluation() -> None:
    subjects = audit_subjects(500)
    values = user_values(subjects, POLICY)
    for metric, expected in per_user(subjects.rankings, subjects.truth).items():
        if metric in values.names:
            np.testing.assert_allclose(values.values[:, values.names.index(metric)], expected)


def test_means_of_groups_are_those_of_fairlearn() -> None:
    subjects = audit_subjects(4000)
    values = user_values(subjects, POLICY)
    family = family_of(audited_attributes(POLICY, subjects.groups, 4000), values, POLICY)
    findings = judge(family, values, [], None, POLICY, seed=1)
    own = values.values[:, 0]
    for attribute in ("device", "tenure"):
        frame = MetricFrame(
            metrics=lambda _, predicted: float(np.mean(predicted)),
            y_true=own,
            y_pred=own,
            sensitive_features=subjects.groups[attribute].astype(str),
        )
        told = {one.group: one for one in findings if (one.metric, one.attribute) == ("ndcg_at_20", attribute)}
        for label, mean in frame.by_group.items():
            if label in told and np.isfinite(told[label].estimate):
                assert told[label].estimate == pytest.approx(mean, rel=1e-5)
                assert told[label].low < mean < told[label].high
        worst = next(one for one in findings if (one.metric, one.attribute) == ("ndcg_at_20:worst", attribute))
        assert worst.estimate == pytest.approx(frame.group_min() / frame.overall, rel=1e-5)


def test_sums_by_class_are_those_of_each_list() -> None:
    subjects = audit_subjects(50, 60, 8)
    codes = np.random.default_rng(1).integers(-1, 4, 60)
    discount = 1 / np.log2(np.arange(2, 10))
    lists = subjects.rankings.copy()
    lists[3, 5:] = -1
    found = class_sums(lists, subjects.titles, one_hot(codes, 4), discount)
    for user in range(50):
        expected = np.zeros(4)
        for place, item in enumerate(lists[user]):
            if item >= 0 and codes[item // 5 - 1] >= 0:
                expected[codes[item // 5 - 1]] += discount[place]
        np.testing.assert_allclose(found[user], expected, rtol=1e-5)
    watched = watched_sums(subjects.histories, subjects.titles, one_hot(codes, 4))
    first = subjects.histories.item_ids[: subjects.histories.offsets[1]] // 5 - 1
    np.testing.assert_array_equal(watched[0], np.bincount(codes[first] + 1, minlength=5)[1:])


def test_only_explored_places_with_a_known_propensity_are_weighted() -> None:
    shape = (1, 4)
    served = Served(
        np.zeros(1),
        np.zeros(1),
        np.array([[True, True, False, True]]),
        np.array([[0.1, np.nan, 0.5, 0.25]]),
        np.zeros(shape),
        (),
    )
    found = exploration_weights(served, np.array([[True, True, True, False]]))
    np.testing.assert_allclose(found, [[10, 0, 0, 0]])
