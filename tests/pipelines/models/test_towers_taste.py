"""Titles that the same users watch are alike by taste, in whatever order, and so are those whose content says it."""

import numpy as np
import pytest
import small_catalogue as small
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.models import towers_taste
from pipelines.models.towers_taste import learn_taste, users_by_taste

ITEMS = 40
IDS = np.arange(1, ITEMS + 1)
# By content alone the towers know a title's parity, and nothing else that is of use.
CONTENT = np.stack([np.arange(ITEMS) % 2, 1 - np.arange(ITEMS) % 2], 1).astype(np.float32)


def plays(user_count=200, left_out=()):
    """User u watches ten titles of one parity, in an order that says nothing."""
    generator = np.random.default_rng(4)
    rows = [generator.choice(ITEMS // 2, 10, replace=False) * 2 + user % 2 + 1 for user in range(user_count)]
    return small.histories(*[[int(item) for item in row if item not in left_out] for row in rows])


def learned(past, width=4, seed=1):
    return learn_taste(past, IDS, CONTENT, width, seed)


def test_titles_of_the_same_users_are_near_each_other_and_others_are_not():
    factors = learned(plays()).factors
    near = factors @ factors.T
    alike = (IDS[:, None] - IDS) % 2 == 0
    assert near[alike].mean() > 0.8
    assert abs(near[~alike].mean()) < 0.2
    np.testing.assert_allclose(np.linalg.norm(factors, axis=1), 1, atol=1e-5)


def test_a_title_that_nobody_watched_is_where_its_content_says():
    taste = learned(plays(left_out=(7,)))
    assert not taste.factors[6].any()
    found = taste.of_titles(np.array([6, -1, 0]), lambda unknown: CONTENT[[6, 7, 0]][unknown])
    near = found @ taste.factors.T
    odd = (IDS % 2 == 1) & (IDS != 7)
    assert near[0, odd].mean() > 0.8 > 0.2 > abs(near[0, ~odd & (IDS != 7)].mean())
    assert near[1, IDS % 2 == 0].mean() > 0.8, "a title that was not learned from at all"
    np.testing.assert_array_equal(found[2], taste.factors[0])


def test_a_user_finds_what_is_like_all_they_watched_whatever_the_order():
    taste = learned(plays(), width=2)
    past = small.histories([2, 4, 6, 8], [8, 2, 6, 4], [], [1])
    vectors = users_by_taste(past, IDS, taste.factors)
    scores = vectors @ taste.factors.T
    assert scores[0, IDS % 2 == 0].min() > scores[0, IDS % 2 == 1].max()
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)
    assert not vectors[2].any()
    assert scores[0, [1, 3, 5, 7]] == pytest.approx(1, abs=0.35)
    assert scores[3].argmax() % 2 == 0, "one title says as much"


def test_the_same_seed_gives_the_same_factors_and_another_others():
    one, again, other = learned(plays()), learned(plays()), learned(plays(), seed=2)
    np.testing.assert_array_equal(one.factors, again.factors)
    assert not np.array_equal(one.factors, other.factors)


def test_of_many_plays_those_of_some_users_are_learned_from(monkeypatch):
    seen = []
    lay_out = towers_taste.lay_out
    monkeypatch.setattr(towers_taste, "lay_out", lambda *rows: seen.append(len(rows[0])) or lay_out(*rows))
    whole = learned(plays(2000), width=2).factors
    monkeypatch.setattr(towers_taste, "_PLAYS", 4000)
    some = learned(plays(2000), width=2).factors
    assert seen[0] == 20_000
    assert 3000 < seen[1] < 5000
    # The same structure, in other axes.
    np.testing.assert_allclose(some @ some.T, whole @ whole.T, atol=0.3)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(1, ITEMS + 5), max_size=6, unique=True), max_size=8), st.integers(1, 5))
def test_whatever_was_watched_all_is_finite_and_titles_are_of_unit_length_or_unknown(rows, width):
    past = small.histories(*rows, shares=[[0.0 if item % 7 == 0 else 0.9 for item in row] for row in rows])
    taste = learned(past, width)
    lengths = np.linalg.norm(taste.factors, axis=1)
    assert np.isclose(lengths, 1, atol=1e-4).sum() + (lengths == 0).sum() == ITEMS
    watched = {item for row in rows for item in row if item % 7 and item <= ITEMS}
    assert set(IDS[lengths > 0].tolist()) <= watched
    found = taste.of_titles(np.arange(ITEMS), lambda unknown: CONTENT[unknown])
    assert np.isfinite(found).all()
    assert np.isfinite(users_by_taste(past, IDS, found)).all()
