"""The interval covers what it should, and pairs what is paired."""

import math

import numpy as np

from pipelines.evaluation.bootstrap import bootstrap_means, interval


def test_about_95_of_100_intervals_cover_the_true_mean() -> None:
    generator = np.random.default_rng(5)
    covered = 0
    for _ in range(400):
        found = interval(generator.normal(0.3, 1.0, 200), resamples=400)
        covered += found.low <= 0.3 <= found.high
    # 400 trials at .95: a standard error of 1.1 %.
    assert 0.91 <= covered / 400 <= 0.98


def test_the_same_seed_draws_the_same_users_so_that_models_are_paired() -> None:
    values = np.random.default_rng(1).random(300)
    shifted = bootstrap_means(values + 0.1, 500, 9) - bootstrap_means(values, 500, 9)
    np.testing.assert_allclose(shifted, 0.1)


def test_one_user_has_no_spread_and_no_users_have_no_mean() -> None:
    assert interval(np.array([0.4])) == interval(np.array([0.4, 0.4]))
    assert math.isnan(interval(np.array([])).mean)
