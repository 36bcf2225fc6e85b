"""Which titles are shown: planted shares are told, and exploration corrects for what was never shown."""

from dataclasses import replace

import numpy as np
import pytest
from audit_subjects import audit_subjects
from hypothesis import given
from hypothesis import strategies as st

from feature_defs.audit_policy import POLICY, AuditedExposure
from pipelines.audit.auditing import audit
from pipelines.audit.exposure import SMALL, gini, shown
from pipelines.audit.findings import Finding, Verdict
from pipelines.audit.subjects import Served, Subjects
from pipelines.histories import Histories

POLICY_HERE = replace(POLICY, least_users=100, exposures=(AuditedExposure("is_new", 0.5, ("new",)),))
NEW = "new"


def new_titles(subjects: Subjects) -> np.ndarray:
    return subjects.titles.item_ids[subjects.titles.classes["is_new"] == NEW]


def exposure_of_new(subjects: Subjects) -> Finding:
    found = audit(replace(subjects, champion_rankings=None), POLICY_HERE, seed=1).findings
    return next(one for one in found if one.metric == "exposure:wanted" and one.group == NEW)


def wanting(subjects: Subjects, share: float) -> Subjects:
    """The same users, who went on to watch new titles in this share."""
    generator = np.random.default_rng(3)
    new, old = new_titles(subjects), np.setdiff1d(subjects.titles.item_ids, new_titles(subjects))
    count = len(subjects.truth.item_ids)
    items = np.where(generator.random(count) < share, generator.choice(new, count), generator.choice(old, count))
    truth = Histories(subjects.user_ids, subjects.truth.offsets, items, subjects.truth.shares)
    return replace(subjects, truth=truth)


def test_new_titles_that_are_wanted_and_not_shown_are_found() -> None:
    subjects = wanting(audit_subjects(2000), 0.4)
    hidden = np.isin(subjects.rankings, new_titles(subjects))
    found = exposure_of_new(replace(subjects, rankings=np.where(hidden, -1, subjects.rankings)))
    assert found.verdict == Verdict.FAIL
    assert found.estimate == 0
    assert "titles of is_new new have 0.0% of exposure" in found.reason


def test_titles_shown_as_they_are_wanted_pass_with_a_ratio_of_one() -> None:
    subjects = audit_subjects(3000)
    share = float(np.isin(subjects.rankings, new_titles(subjects)).mean())
    found = exposure_of_new(wanting(subjects, share))
    assert found.verdict == Verdict.PASS
    assert found.low <= found.estimate <= found.high
    assert found.estimate == pytest.approx(1, abs=0.25)


def test_what_too_few_want_decides_nothing_and_says_so() -> None:
    subjects = wanting(audit_subjects(300), 0.02)
    found = exposure_of_new(subjects)
    assert found.verdict == Verdict.INCONCLUSIVE
    assert "fewer than the 100 that decide" in found.reason


def test_exploration_tells_what_would_be_wanted_had_it_been_shown() -> None:
    """Ranked places never hold a new title; explored ones do, seldom, and users like those as much as any."""
    subjects = audit_subjects(4000, 400, 20)
    generator = np.random.default_rng(7)
    new, old = new_titles(subjects), np.setdiff1d(subjects.titles.item_ids, new_titles(subjects))
    rankings = generator.choice(old, subjects.rankings.shape)
    is_exploration = np.zeros(rankings.shape, np.bool_)
    is_exploration[:, -4:] = True
    # New titles are explored at half the rate of others.
    rate_new = 0.5 * len(new) / len(subjects.titles.item_ids)
    is_new = generator.random((4000, 4)) < rate_new
    rankings[:, -4:] = np.where(is_new, generator.choice(new, (4000, 4)), generator.choice(old, (4000, 4)))
    propensities = np.full(rankings.shape, np.nan)
    propensities[:, -4:] = np.where(is_new, rate_new / len(new), (1 - rate_new) / len(old))
    rewards = np.zeros(rankings.shape)
    rewards[:, -4:] = generator.random((4000, 4)) < 0.5
    # What was watched, as the month knows it, holds no new title at all.
    truth = Histories(
        subjects.user_ids,
        subjects.truth.offsets,
        generator.choice(old, len(subjects.truth.item_ids)),
        subjects.truth.shares,
    )
    served = Served(np.zeros(4000), np.zeros(4000), is_exploration, propensities, rewards, (subjects.titles.item_ids,))
    month = replace(subjects, rankings=rankings, truth=truth, served=served)
    (exposure,), _ = shown(month, POLICY_HERE)
    at = exposure.names.index(NEW)
    wanted = exposure.wanted[:, at].sum() / exposure.wanted.sum()
    assert wanted == pytest.approx(len(new) / len(subjects.titles.item_ids), rel=0.2)
    (blind,), _ = shown(replace(month, served=None), POLICY_HERE)
    assert blind.wanted[:, at].sum() == 0
    figures = {
        one.metric: one.estimate
        for one in audit(replace(month, champion_rankings=None), POLICY_HERE, seed=1).findings
        if one.attribute == "all"
    }
    assert figures["completed_share_of_any"] == pytest.approx(0.5, abs=0.03)
    assert figures["completed_share_ranked"] == 0


def test_classes_that_few_want_are_pooled_and_none_is_dropped() -> None:
    subjects = audit_subjects(500)
    labels = subjects.titles.classes["language"].copy()
    labels[:6] = ["is", "is", "mt", "mt", "lb", "lb"]
    titles = replace(subjects.titles, classes={**subjects.titles.classes, "language": labels})
    policy = replace(POLICY_HERE, exposures=(AuditedExposure("language", 0.5),))
    (exposure,), _ = shown(replace(subjects, titles=titles), policy)
    assert SMALL in exposure.names
    assert exposure.catalogue_shares.sum() == pytest.approx(1)
    discounts = (1 / np.log2(np.arange(2, subjects.rankings.shape[1] + 2))).sum()
    np.testing.assert_allclose(exposure.shown.sum(1), discounts, rtol=1e-5)


@given(st.lists(st.floats(0, 100), min_size=2, max_size=20))
def test_gini_lies_between_equal_and_all_for_one(amounts: list[float]) -> None:
    found = gini(np.array(amounts))
    if sum(amounts) > 0:
        assert -1e-9 <= found <= 1 - 1 / len(amounts) + 1e-9
    else:
        assert np.isnan(found)


def test_gini_of_one_who_has_all() -> None:
    assert gini(np.array([0.0, 0.0, 0.0, 4.0])) == pytest.approx(0.75)
    assert gini(np.ones(5)) == pytest.approx(0)


def test_classes_that_nobody_wants_or_that_are_not_there_have_no_ratio() -> None:
    subjects = wanting(audit_subjects(300), 0.0)
    titles = subjects.titles
    hidden = titles.may_be_shown & (titles.classes["is_new"] != NEW)
    found = exposure_of_new(replace(subjects, titles=replace(titles, may_be_shown=hidden)))
    assert np.isnan(found.estimate)
    assert found.verdict == Verdict.INCONCLUSIVE
