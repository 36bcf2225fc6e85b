"""An audit, whole: what is planted is found, what is not is not, and what cannot be told is said to be so."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from audit_subjects import audit_subjects, starved
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_defs.audit_policy import DEMO_POLICY, POLICY, AuditPolicy
from pipelines.audit.auditing import audit
from pipelines.audit.findings import AuditResult, Finding, Verdict
from pipelines.audit.subjects import UNKNOWN, Served, Subjects
from pipelines.errors import DataError

# Of the production policy, but that a few thousand users are enough.
SMALL = replace(POLICY, least_users=80, privacy_floor=30, found_beyond_margin=0.75, found_below_floor=0.7)


@cache
def subjects() -> Subjects:
    return audit_subjects(4000, 400, 20, found_share=0.6)


@cache
def result() -> AuditResult:
    return audit(subjects(), SMALL, seed=1)


def with_groups(**groups: np.ndarray) -> Subjects:
    return replace(subjects(), groups={**subjects().groups, **groups})


def failures(found: AuditResult) -> set[tuple[str, str]]:
    return {(one.attribute, one.group) for one in found.findings if one.verdict == Verdict.FAIL}


def told(found: AuditResult, metric: str, attribute: str, group: str) -> Finding:
    return next(one for one in found.findings if (one.metric, one.attribute, one.group) == (metric, attribute, group))


def test_lists_that_serve_all_alike_pass() -> None:
    assert result().verdict == Verdict.PASS
    assert not failures(result())
    assert result().user_count == 4000


def test_the_controls_of_an_audit_say_that_it_could_have_failed_and_seldom_fails_without_cause() -> None:
    controls = result().controls
    assert controls.planted_bias_failed
    assert controls.permutation_count >= 200
    assert controls.permutation_failure_count <= 0.05 * controls.permutation_count
    # Without margins the family errs as often as it says: 2 % of 200 are 4; 13 would come once in 5,000 times.
    assert controls.unmargined_failure_count <= 12
    assert controls.permutation_failure_count / controls.permutation_count <= controls.bound <= 0.05


@settings(max_examples=6, deadline=None)
@given(
    st.sampled_from([
        ("activity_tier", "light"), ("age_band", "25_34"), ("gender", "female"), ("country", "DE"),
        ("language", "fr"), ("device", "phone"), ("tenure", "over_year"),
    ]),
    st.integers(0, 5),
)  # fmt: skip
def test_a_group_that_is_starved_is_found_whichever_it_is(group: tuple[str, str], seed: int) -> None:
    found = audit(starved(subjects(), *group, 0.9, seed=seed), SMALL, seed=seed)
    assert found.verdict == Verdict.FAIL
    assert group in failures(found)
    assert group[1] in found.reasons[0]


def test_without_a_champion_a_starved_group_is_found_by_the_floor() -> None:
    genesis = replace(subjects(), champion_rankings=None)
    assert audit(genesis, SMALL, seed=1).verdict == Verdict.PASS
    found = audit(replace(starved(subjects(), "age_band", "25_34"), champion_rankings=None), SMALL, seed=1)
    assert ("age_band", "25_34") in failures(found)
    assert told(found, "ndcg_at_20:floor", "age_band", "25_34").estimate < 0.4


def test_a_champion_no_better_for_a_group_than_the_challenger_hides_nothing_from_the_floor() -> None:
    both = starved(subjects(), "gender", "female")
    found = audit(replace(both, champion_rankings=both.rankings), SMALL, seed=1)
    assert told(found, "ndcg_at_20:kept", "gender", "female").verdict == Verdict.PASS
    assert told(found, "ndcg_at_20:floor", "gender", "female").verdict == Verdict.FAIL


def test_a_challenger_that_finds_more_for_all_but_one_group_takes_nothing_from_it() -> None:
    """Who keeps what the champion gave has lost nothing, as long as the floor holds."""
    worse = subjects()
    is_other = worse.groups["device"] != "tv"
    champion = worse.rankings.copy()
    generator = np.random.default_rng(3)
    losers = np.flatnonzero(is_other & (generator.random(4000) < 0.1))
    champion[losers] = worse.rankings[generator.integers(0, 4000, len(losers))]
    found = audit(replace(worse, champion_rankings=champion), SMALL, seed=1)
    assert told(found, "ndcg_at_20:kept", "device", "tv").estimate == pytest.approx(1)
    assert ("device", "tv") not in failures(found)


def test_a_small_primary_group_is_named_and_holds_the_promotion_and_its_pool_is_judged() -> None:
    labels = np.where(subjects().groups["age_band"] == "under_18", "18_24", subjects().groups["age_band"])
    labels[:60] = "under_18"
    found = audit(with_groups(age_band=labels), SMALL, seed=1)
    assert found.verdict == Verdict.INCONCLUSIVE
    assert "age_band under_18 has 60 users" in found.reasons[0]
    assert told(found, "ndcg_at_20", "age_band", "under_18").verdict == Verdict.INCONCLUSIVE
    pool = next(one for one in found.findings if one.attribute == "age_band" and "under_18+" in one.group)
    assert pool.verdict == Verdict.PASS
    assert pool.group in found.reasons[0]


def test_a_small_group_that_is_not_primary_is_named_and_holds_nothing() -> None:
    labels = subjects().groups["device"].copy()
    labels[:60] = "watch"
    found = audit(with_groups(device=labels), SMALL, seed=1)
    assert found.verdict == Verdict.PASS
    assert told(found, "ndcg_at_20", "device", "watch").verdict == Verdict.INCONCLUSIVE
    assert any("device watch" in reason for reason in found.reasons)


def test_no_figure_is_given_of_a_group_below_the_privacy_floor() -> None:
    labels = subjects().groups["device"].copy()
    labels[:12] = "watch"
    found = audit(with_groups(device=labels), SMALL, seed=1)
    own = [one for one in found.findings if one.group == "watch"]
    assert len(own) == 1
    assert (own[0].user_count, own[0].verdict) == (0, Verdict.INCONCLUSIVE)
    assert np.isnan(own[0].estimate)
    assert "12" not in own[0].reason


def test_a_small_group_that_is_starved_is_found_in_its_pool() -> None:
    labels = np.where(subjects().groups["age_band"] == "under_18", "18_24", subjects().groups["age_band"])
    labels[:70] = "under_18"
    generous = replace(SMALL, attributes=tuple(replace(one, floor=0.95) for one in SMALL.attributes))
    found = audit(starved(with_groups(age_band=labels), "age_band", "18_24", 0.4), generous, seed=1)
    assert any("under_18+" in group for _, group in failures(found))


@settings(max_examples=3, deadline=None)
@given(st.permutations(range(len(SMALL.attributes))), st.permutations(range(6)))
def test_neither_the_order_of_attributes_nor_what_labels_are_called_changes_a_figure(
    order: list[int], names: list[int]
) -> None:
    attributes = tuple(SMALL.attributes[at] for at in order)
    languages = np.unique(subjects().groups["language"].astype(str))
    called = dict(zip(languages.tolist(), [f"l{name}" for name in names], strict=True))
    groups = {one.name: subjects().groups[one.name] for one in attributes}
    groups["language"] = np.array([called[label] for label in groups["language"]], object)
    found = audit(replace(subjects(), groups=groups), replace(SMALL, attributes=attributes), seed=1)
    figures = {(one.metric, one.attribute, one.group): one for one in found.findings}
    for one in result().findings:
        renamed = one.attribute == "language" and "+" not in one.group
        if one.attribute == "language" and not renamed:
            continue
        other = figures[one.metric, one.attribute, called[one.group] if renamed else one.group]
        np.testing.assert_allclose(
            [other.estimate, other.low, other.high], [one.estimate, one.low, one.high], rtol=1e-5
        )
        assert other.verdict == one.verdict
        if one.adjusted_p is not None:
            assert other.adjusted_p == pytest.approx(one.adjusted_p, rel=1e-2, abs=1e-9)


def test_the_same_seed_gives_the_same_result_and_another_the_same_verdict() -> None:
    assert audit(subjects(), SMALL, seed=1).to_record() == result().to_record()
    other = audit(subjects(), SMALL, seed=2)
    assert other.verdict == result().verdict
    assert other.to_record() != result().to_record()


def test_a_record_of_a_result_holds_json_values_and_no_user() -> None:
    import json

    text = json.dumps(result().to_record(), allow_nan=False)
    assert "user_ids" not in text
    assert '"verdict": "PASS"' in text


def test_an_attribute_missing_for_half_the_users_is_one_sentence() -> None:
    labels = subjects().groups["country"].copy()
    labels[:2000] = UNKNOWN
    with pytest.raises(DataError, match=r"^country is unknown for 2,000 of 4,000 users \(50%\): it must be known"):
        audit(with_groups(country=labels), SMALL, seed=1)


def test_an_attribute_known_of_nobody_is_an_error_unless_it_may_be_absent() -> None:
    nobody = np.full(4000, UNKNOWN, object)
    with pytest.raises(DataError, match=r"^device is known of nobody, and the policy asks for it$"):
        audit(with_groups(device=nobody), SMALL, seed=1)
    found = audit(with_groups(gender=nobody), SMALL, seed=1)
    assert found.verdict == Verdict.PASS
    assert "gender is known of nobody: not audited" in found.reasons


def test_a_minority_of_unknown_labels_is_a_group_of_its_own() -> None:
    labels = subjects().groups["gender"].copy()
    labels[:1000] = UNKNOWN
    found = audit(starved(with_groups(gender=labels), "gender", UNKNOWN), SMALL, seed=1)
    assert ("gender", UNKNOWN) in failures(found)


def test_those_who_watched_nothing_have_no_language_to_be_held_to_a_floor_by_but_may_not_lose_what_they_had() -> None:
    labels = subjects().groups["language"].copy()
    labels[:1000] = UNKNOWN
    new = starved(with_groups(language=labels), "language", UNKNOWN)
    always_so = audit(replace(new, champion_rankings=None), SMALL, seed=1)
    assert always_so.verdict == Verdict.PASS
    assert told(always_so, "ndcg_at_20", "language", UNKNOWN).user_count == 1000
    lost = audit(new, SMALL, seed=1)
    assert told(lost, "ndcg_at_20:kept", "language", UNKNOWN).verdict == Verdict.FAIL


def test_a_month_without_impressions_is_one_sentence() -> None:
    empty = replace(subjects(), rankings=np.full_like(subjects().rankings, -1))
    with pytest.raises(DataError, match=r"^the month has no impressions: there is nothing to audit$"):
        audit(replace(empty, served=served(empty)), SMALL, seed=1)
    with pytest.raises(DataError, match=r"^no user has a list: there is nothing to audit$"):
        audit(empty, SMALL, seed=1)


def test_nobody_to_audit_is_one_sentence() -> None:
    nobody = np.zeros(0, np.int64)
    none = replace(subjects(), user_ids=nobody, rankings=np.zeros((0, 5), np.int64))
    with pytest.raises(DataError, match=r"^there is nobody to audit"):
        audit(none, SMALL, seed=1)


def served(of: Subjects) -> Served:
    """A month in which every tenth place was explored and all titles were shown each week."""
    shape = of.rankings.shape
    is_exploration = np.zeros(shape, np.bool_)
    is_exploration[:, ::10] = True
    wanted = of.truth.owners() << 32 | of.truth.item_ids
    users = np.arange(len(of.rankings))[:, None]
    return Served(
        fallback_shares=np.where(np.arange(shape[0]) % 20 == 0, 1.0, 0.0),
        list_ages=np.ones(shape[0]),
        is_exploration=is_exploration,
        propensities=np.where(is_exploration, 0.05, np.nan),
        rewards=np.isin(users << 32 | np.maximum(of.rankings, 0), wanted).astype(np.float64),
        weeks=(of.titles.item_ids,) * 4,
    )


def test_of_a_month_as_served_fallbacks_ages_exploration_and_coverage_are_told_by_group() -> None:
    month = replace(subjects(), champion_rankings=None, served=served(subjects()))
    found = audit(month, SMALL, seed=1)
    assert told(found, "fallback_share", "all", "all").estimate == pytest.approx(0.05)
    assert told(found, "exploration_share", "gender", "female").estimate == pytest.approx(0.1)
    assert told(found, "list_age_days", "device", "tv").estimate == pytest.approx(1)
    assert told(found, "weekly_coverage:limit", "all", "all").verdict == Verdict.PASS
    week = month.titles.item_ids[: len(month.titles.item_ids) // 2]
    narrow = replace(month, served=replace(month.served, weeks=(*month.served.weeks[:3], week)))
    assert told(audit(narrow, SMALL, seed=1), "weekly_coverage:limit", "all", "all").verdict == Verdict.FAIL


def test_a_week_without_impressions_is_one_sentence() -> None:
    weeks = (*served(subjects()).weeks[:3], np.zeros(0, np.int64))
    with pytest.raises(DataError, match=r"^a week of the month has no impressions"):
        audit(replace(subjects(), served=replace(served(subjects()), weeks=weeks)), SMALL, seed=1)


def test_lists_of_the_hundred_most_popular_alone_fail() -> None:
    wide = audit_subjects(1000, 1000, 20, found_share=0.6)
    titles = wide.titles
    head = titles.item_ids[np.argsort(-titles.play_counts)[:100]]
    lists = np.random.default_rng(1).permuted(np.tile(head, (1000, 1)), axis=1)[:, :20]
    found = audit(replace(wide, rankings=lists), SMALL, seed=1)
    assert told(found, "head_share:limit", "all", "all").verdict == Verdict.FAIL
    assert told(found, "head_share:limit", "all", "all").estimate > 0.95


def test_of_a_few_hundred_titles_the_share_of_a_hundred_decides_nothing() -> None:
    found = told(result(), "head_share:limit", "all", "all")
    assert found.verdict == Verdict.PASS
    assert found.p_value is None
    assert "of so few titles that decides nothing" in found.reason


def test_what_everybody_lost_is_no_bias() -> None:
    """Half of all lists are somebody else's: that is for the metric gate, and no group stands out."""
    generator = np.random.default_rng(2)
    losers = generator.random(4000) < 0.5
    rankings = subjects().rankings.copy()
    rankings[losers] = subjects().rankings[generator.integers(0, 4000, losers.sum())]
    few = {name: np.full(4000, "one", object) for name in ("country", "device")}
    found = audit(replace(with_groups(**few), rankings=rankings), SMALL, seed=1)
    assert not failures(found)


def test_the_demo_policy_says_so_and_judges_a_hundred_users() -> None:
    few = audit_subjects(400, found_share=0.7)
    few = replace(few, groups={name: few.groups[name] for name in ("gender", "age_band", "country", "device")})
    half = np.where(np.arange(400) % 2, "light", "heavy").astype(object)
    few = replace(few, groups={**few.groups, "activity_tier": half})
    found = audit(few, DEMO_POLICY, seed=1)
    assert found.verdict == Verdict.PASS
    assert any("demonstrations" in reason for reason in found.reasons)
    assert audit(starved(few, "activity_tier", "light"), DEMO_POLICY, seed=1).verdict == Verdict.FAIL


def test_what_cannot_be_computed_is_a_dash_in_the_reasons() -> None:
    # Nobody but men finds anything: as a share of what others find, theirs is of nothing in many resamples.
    rankings = subjects().rankings.copy()
    others = subjects().groups["gender"] != "male"
    rankings[others], rankings[others, 0] = -1, subjects().titles.item_ids[0]
    found = audit(replace(subjects(), rankings=rankings), SMALL, seed=1)
    assert any(np.isnan(one.low) and one.p_value is not None for one in found.findings)
    assert "[–, –]" in told(found, "recall_at_20:floor", "gender", "male").reason
    assert not any("nan" in text for text in (*found.reasons, *(one.reason for one in found.findings)))


def test_where_no_group_is_large_enough_the_audit_says_that_it_could_not_have_failed() -> None:
    found = audit(audit_subjects(200), POLICY, seed=1)
    assert found.verdict == Verdict.INCONCLUSIVE
    assert not found.controls.planted_bias_failed
    assert found.controls.planted_group == ""
    assert "no group is large enough for a bias to be planted in: this audit could not have failed" in found.reasons


def test_a_planted_bias_that_is_not_found_is_named_and_holds_a_promotion() -> None:
    # Of so small a share of a group's loss nothing can be seen.
    found = audit(subjects(), replace(SMALL, planted_loss=0.05), seed=1)
    assert found.verdict == Verdict.INCONCLUSIVE
    assert found.controls is not None
    assert found.controls.planted_group
    assert not found.controls.planted_bias_failed
    assert "the planted bias was not found: this audit could not have failed" in found.reasons


def test_a_policy_without_champion_margins_or_floors_tests_nothing_of_groups() -> None:
    blunt: AuditPolicy = replace(
        SMALL, metrics=tuple(replace(one, has_floor=False, kept_margin=None) for one in SMALL.metrics)
    )
    found = audit(subjects(), blunt, seed=1)
    assert found.verdict == Verdict.INCONCLUSIVE
    assert not any(one.metric.endswith((":kept", ":floor")) for one in found.findings)
