"""What is drawn, how often, and what is logged of it."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_snapshot import NOW, snapshot_in_memory, title
from scipy import stats

from feature_defs.recommendations import NO_REASON
from pipelines.lists.codec import pack, unpack
from pipelines.serving.compiled import arrange
from pipelines.serving.placed import Asked
from pipelines.serving.rules.exploration import Audience, Chance, Draws, Explorable
from pipelines.serving.rules.limits import Rules
from pipelines.stores.user_state import UserState

ANSWERS = 100_000


@pytest.mark.slow
def test_over_100_000_answers_each_title_is_explored_as_often_as_its_logged_probabilities_say() -> None:
    # Posteriors are frozen; caps, history and the maturity limit narrow what is eligible, and draws narrow it further.
    rules = Rules(page=8, genre_limit=2, creator_limit=2, explored_slots=(2, 4, 7), fresh_slots=())
    drawn_ids = range(101, 141)
    titles = [title(item, genres=(f"g{item % 6}",), creator=f"c{item % 17}") for item in range(1, 21)]
    titles += [
        title(item, genres=(f"g{item % 6}",), creator=f"c{item % 17}", maturity=16 if item % 9 == 0 else 0)
        for item in drawn_ids
    ]
    weights = dict(zip(drawn_ids, np.random.default_rng(5).dirichlet(np.full(40, 0.7)) + 0.002, strict=True))
    snapshot = snapshot_in_memory(titles, explorable=weights, rules=rules)
    # Two of the explorable stand in the list as well, and two were watched.
    user_list = unpack(
        pack(
            item_ids=[*range(1, 10), 105, 106],
            scores=[1.0] * 11,
            sources=[3] * 11,
            reasons=[NO_REASON] * 11,
            history=[110, 111],
            generated_at=NOW,
        )
    )
    state = UserState(maturity_limit=13)
    codes = {one.item_id: (one.genres[0], one.creator) for one in titles}
    prefixes: Counter[tuple[int, ...]] = Counter()
    observed: dict[int, Counter[int]] = {slot: Counter() for slot in rules.explored_slots}
    masses: dict[tuple[int, ...], float] = {}
    for seed in range(ANSWERS):
        asked = Asked(1, 8, "home", None, "DE", frozenset(), frozenset(), 0, seed, NOW)
        items = arrange(user_list, state, snapshot, asked).items
        ids = tuple(placed.item_id for placed in items)
        for slot in rules.explored_slots:
            placed, before = items[slot], ids[:slot]
            assert placed.is_explored
            prefixes[before] += 1
            observed[slot][placed.item_id] += 1
            # What was logged says of how much weight in all this was drawn: the same after the same beginning.
            mass = weights[placed.item_id] / placed.propensity
            assert math.isclose(masses.setdefault(before, mass), mass, rel_tol=1e-9)
    expected: dict[int, Counter[int]] = {slot: Counter() for slot in rules.explored_slots}
    for before, count in prefixes.items():
        taken = Counter(code for item in before for code in codes[item])
        eligible = [
            item
            for item in drawn_ids
            if item not in (*before, 110, 111) and item % 9 and all(taken[code] < 2 for code in codes[item])
        ]
        shares = {item: weights[item] / masses[before] for item in eligible}
        assert sum(shares.values()) == pytest.approx(1)
        for item, share in shares.items():
            expected[len(before)][item] += count * share
    for slot in rules.explored_slots:
        assert set(observed[slot]) <= set(expected[slot])
        ids_of_slot = [item for item in drawn_ids if expected[slot][item] > 0]
        found = stats.chisquare(
            [observed[slot][item] for item in ids_of_slot],
            [expected[slot][item] for item in ids_of_slot],
            sum_check=False,
        )
        assert found.pvalue > 1e-3, (slot, found)


def test_the_same_seed_and_page_draw_alike_and_another_page_draws_otherwise() -> None:
    def numbers(seed: int, page: int) -> list[float]:
        chance = Chance(seed, page)
        return [chance.next() for _ in range(20)]

    assert numbers(1, 2) == numbers(1, 2)
    assert numbers(1, 2) != numbers(1, 3) != numbers(2, 2)
    assert all(0 <= number < 1 for number in numbers(3, 0))
    assert len(set(numbers(3, 0))) == 20


def test_numbers_of_chance_are_even() -> None:
    values = [Chance(seed, 0).next() for seed in range(20_000)]
    assert stats.kstest(values, "uniform").pvalue > 1e-3


def test_a_title_that_may_not_be_shown_to_these_people_is_in_no_draw_of_theirs() -> None:
    entries = {
        1: (0, None, 0, 10, -1), 2: (16, None, 0, 11, -1), 3: (0, frozenset({"US"}), 1, 12, -1),
    }  # fmt: skip
    explorable = Explorable([1, 2, 3, 4], [0.25] * 4)
    assert explorable.audience(entries, "DE", 13).ids == {1}
    assert explorable.audience(entries, "US", 18).ids == {1, 2, 3}
    assert explorable.audience(entries, None, 18).ids == {1, 2}
    assert explorable.audience(entries, "DE", 13) is explorable.audience(entries, "DE", 13)
    assert explorable.audience({**entries, 4: (0, None, 1, 13, -1)}, "DE", 13).ids == {1, 4}


def test_where_almost_all_weight_is_ruled_out_the_rest_is_still_drawn_exactly() -> None:
    entries = {item: (0, None, item % 3, 10 + item, -1) for item in range(1, 9)}
    weights = {1: 1.0, **{item: 1e-9 * item for item in range(2, 9)}}
    audience = Audience(weights, entries)
    seen = Counter()
    for seed in range(4000):
        drawn = Draws(audience, entries, Chance(seed, 0)).draw({1, 2}, {0})
        assert drawn is not None
        item, probability = drawn[:2]
        assert item in (4, 5, 7, 8)
        assert probability == pytest.approx(item / 24)
        seen[item] += 1
    assert (
        stats.chisquare([seen[item] for item in (4, 5, 7, 8)], [4000 * item / 24 for item in (4, 5, 7, 8)]).pvalue
        > 1e-3
    )
    assert Draws(audience, entries, Chance(0, 0)).draw(set(weights), set()) is None


@settings(max_examples=100, deadline=None)
@given(
    weights=st.lists(st.floats(1e-6, 1), min_size=1, max_size=30),
    aside=st.sets(st.integers(0, 29)),
    full=st.sets(st.integers(0, 7)),
    seed=st.integers(0, 2**64),
)
def test_a_draw_is_of_what_is_left_with_the_probability_that_is_said(weights, aside, full, seed) -> None:
    entries = {item: (0, None, item % 4, 4 + item % 3, 7 if item % 5 == 0 else -1) for item in range(30)}
    drawn = Draws(Audience(dict(enumerate(weights)), entries), entries, Chance(seed, 0)).draw(aside, full)
    left = [item for item in range(len(weights)) if item not in aside and full.isdisjoint(entries[item][2:])]
    if not left:
        assert drawn is None
    else:
        assert drawn is not None
        assert drawn[0] in left
        assert drawn[1] == pytest.approx(weights[drawn[0]] / sum(weights[item] for item in left))
