"""Resamples, standard errors and corrections: held against scipy, against each other, and against planted losses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipelines.audit import statistics as audit_statistics
from pipelines.audit.statistics import (
    GroupTest,
    adjusted_by_moments,
    analytic_errors,
    contrasts,
    exact_interval,
    exact_upper,
    group_sums,
    holm,
    least_errors,
    moment_columns,
    p_values,
    resampled_sums,
    thinned,
    users_needed,
    value_columns,
)

TESTS = [
    GroupTest(0, 0, "kept", 0.95),
    GroupTest(1, 0, "kept", 0.95),
    GroupTest(0, 0, "floor", 0.8),
    GroupTest(1, 1, "kept", 1.1, is_more_better=False),
]


def people(
    users: int = 3000, seed: int = 1, loss: float = 0.0, share: float = 0.3
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values and the champion's, two metrics, and two groups of which the first loses."""
    generator = np.random.default_rng(seed)
    champion = np.stack([(generator.random(users) < 0.3) * generator.random(users), generator.random(users) + 0.5], 1)
    noise = generator.random(users) < 0.2
    values = champion.copy()
    values[noise] = champion[generator.permutation(users)[: noise.sum()]]
    first = generator.random(users) < share
    values[first & (generator.random(users) < loss), 0] = 0
    return values, champion, np.stack([first, generator.random(users) < 0.5])


def parted(sums: np.ndarray, width: int) -> np.ndarray:
    return sums.reshape(*sums.shape[:-1], -1, width)


def by_moments(values: np.ndarray, champion: np.ndarray, membership: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    moments = moment_columns(values, champion)
    return parted(group_sums(membership, moments), 6), moments.sum(0).reshape(-1, 6)


def by_resamples(values: np.ndarray, champion: np.ndarray, membership: np.ndarray, resamples: int = 2000) -> np.ndarray:
    """The contrasts of TESTS in resamples."""
    everybody = np.ones((1, len(values)), np.bool_)
    sums, _ = resampled_sums(
        np.concatenate([everybody, membership]),
        value_columns(values, champion),
        np.zeros((len(values), 0), np.float32),
        resamples,
        7,
    )
    metrics = parted(sums, 3)
    return contrasts(metrics[:, 1:], metrics[:, 0], TESTS).differences


@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_standard_errors_from_moments_and_from_resamples_agree(loss: float) -> None:
    values, champion, membership = people(loss=loss)
    errors = analytic_errors(*by_moments(values, champion, membership), TESTS)
    drawn = by_resamples(values, champion, membership)
    np.testing.assert_allclose(drawn.std(0), errors, rtol=0.12)


def test_a_contrast_is_what_it_says() -> None:
    values, champion, membership = people(loss=0.3)
    sums, totals = by_moments(values, champion, membership)
    found = contrasts(sums, totals, TESTS)
    first = membership[0]
    kept = min(values[~first, 0].mean() / champion[~first, 0].mean(), 1)
    expected = champion[first, 0].mean() * kept
    assert found.estimates[0] == pytest.approx(values[first, 0].mean() / expected)
    assert found.differences[0] == pytest.approx(values[first, 0].mean() - 0.95 * expected)
    assert found.estimates[2] == pytest.approx(values[first, 0].mean() / values[~first, 0].mean())


def test_values_that_do_not_apply_are_in_no_mean() -> None:
    values, champion, membership = people()
    values[::3, 0] = np.nan
    sums, totals = by_moments(values, champion, membership)
    has = np.isfinite(values[:, 0])
    found = contrasts(sums, totals, TESTS)
    first = membership[0]
    assert found.estimates[2] == pytest.approx(values[has & first, 0].mean() / values[has & ~first, 0].mean())
    assert sums[0, 0, 0] == (has & first).sum()


def test_users_are_drawn_as_often_as_a_poisson_of_mean_one() -> None:
    ones = np.ones((20_000, 1), np.float32)
    sums, whole = resampled_sums(np.ones((1, 20_000), np.bool_), ones, ones, 1500, 3)
    np.testing.assert_array_equal(sums[:, 0, 0], whole[:, 0])
    assert whole.mean() == pytest.approx(20_000, rel=0.001)
    assert whole.std() == pytest.approx(np.sqrt(20_000), rel=0.07)
    again, _ = resampled_sums(np.ones((1, 20_000), np.bool_), ones, ones, 1500, 3)
    np.testing.assert_array_equal(again, sums)


def test_sums_by_group_are_those_of_the_members() -> None:
    generator = np.random.default_rng(2)
    columns, membership = generator.random((9000, 4)), generator.random((3, 9000)) < 0.4
    np.testing.assert_allclose(group_sums(membership, columns), [columns[row].sum(0) for row in membership])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_adjusted_p_values_never_fall_below_the_plain_and_keep_their_order(p: list[float]) -> None:
    plain = np.array(p)
    adjusted = holm(plain)
    assert (adjusted >= plain).all()
    assert (adjusted <= np.minimum(plain * len(plain), 1)).all()
    assert (np.diff(adjusted[np.argsort(plain, kind="stable")]) >= 0).all()


def test_holm_is_as_in_his_paper() -> None:
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])


@settings(max_examples=40)
@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_exact_intervals_are_those_of_scipy(counts: tuple[int, int]) -> None:
    count, trials = counts
    two = stats.binomtest(count, trials).proportion_ci(0.95, "exact")
    assert exact_interval(count, trials) == pytest.approx((two.low, two.high))
    one = stats.binomtest(count, trials, alternative="less").proportion_ci(0.95, "exact")
    assert exact_upper(count, trials) == pytest.approx(one.high)


def test_a_p_value_without_any_spread_is_certain_either_way() -> None:
    found = p_values(np.array([0.1, -0.1, 0.0]), np.zeros(3))
    np.testing.assert_array_equal(found, [1.0, 0.0, 1.0])


def test_a_group_that_finds_nothing_at_all_is_no_special_case() -> None:
    values, champion, membership = people(loss=1.0)
    sums, totals = by_moments(values, champion, membership)
    assert contrasts(sums, totals, TESTS).estimates[0] == 0
    adjusted = adjusted_by_moments(sums, totals, TESTS)
    assert adjusted[0] < 1e-6
    assert adjusted[2] < 1e-6


@pytest.mark.parametrize(("kind", "bound"), [("floor", 0.8), ("kept", 0.95)])
def test_at_the_limit_a_small_group_fails_no_more_often_than_alpha(kind: str, bound: float) -> None:
    """A group of 500 of whom three in ten find something, in 600 audits: exactly at the bound, at .02."""
    tests = [GroupTest(0, 0, kind, bound)]  # type: ignore[arg-type]
    failed = 0
    for seed in range(600):
        values, champion, membership = people(5000, seed, loss=1 - bound, share=0.1)
        sums, totals = by_moments(values, champion, membership)
        failed += bool(adjusted_by_moments(sums, totals, tests)[0] < 0.02)
    # More than 25 of 600 at .02 come once in 2,000 times.
    assert failed <= 25


def test_a_group_that_happens_to_find_little_is_not_called_certain() -> None:
    generator = np.random.default_rng(4)
    values = (generator.random((5000, 1)) < 0.1) * 1.0
    membership = np.zeros((1, 5000), np.bool_)
    membership[0, np.flatnonzero(values[:, 0] == 0)[:100]] = True
    sums, totals = by_moments(values, np.full_like(values, np.nan), membership)
    tests = [GroupTest(0, 0, "floor", 0.8)]
    assert analytic_errors(sums, totals, tests)[0] < least_errors(sums, totals, tests)[0]
    assert adjusted_by_moments(sums, totals, tests)[0] > 0.0001


def test_the_users_that_are_needed_find_the_loss_with_the_power_that_is_asked() -> None:
    values, champion, membership = people(60_000, share=0.05)
    tests = [GroupTest(0, 0, "kept", 0.95)]
    sums, totals = by_moments(values, champion, membership)
    lost = thinned(sums, 0.85)
    count = membership[0].sum()
    scales = contrasts(sums, totals, tests).scales
    errors = analytic_errors(lost, totals - sums[0] + lost[0], tests)
    needed = int(users_needed(np.array([count]), errors, scales, 0.1, 0.02, 0.8)[0])
    found = 0
    for seed in range(200):
        own = people(needed * 20, seed, loss=0.15, share=0.05)
        found += bool(adjusted_by_moments(*by_moments(*own), tests)[0] < 0.02)
    assert 0.68 <= found / 200 <= 0.92


def test_the_table_of_weights_is_that_of_the_distribution() -> None:
    counts = np.bincount(audit_statistics._POISSON.astype(int)) / 65536
    np.testing.assert_allclose(counts, stats.poisson(1).pmf(np.arange(len(counts))), atol=2e-5)
