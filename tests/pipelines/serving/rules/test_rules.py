"""Each rule by itself."""

from datetime import timedelta

import numpy as np
import pytest
from planted_snapshot import NOW, title

from feature_defs.recommendations import SOURCES
from pipelines.serving.rules.audience import NO_LIMIT, lists_limit, withheld
from pipelines.serving.rules.availability import why_hidden
from pipelines.serving.rules.caps import Caps, Limits
from pipelines.serving.rules.continuing import following, places_of_next_episodes
from pipelines.serving.rules.excluded import excluded
from pipelines.serving.rules.fresh import Fresh
from pipelines.serving.rules.limits import DRAWN, FRESH_TITLE, LISTED, Rules
from pipelines.serving.rules.not_interested import demoted
from pipelines.serving.rules.watched import watched

HOUR = timedelta(hours=1)
MOMENT = timedelta(microseconds=1)


def test_what_was_asked_not_to_be_shown_was_shown_or_was_turned_down_is_ruled_out() -> None:
    assert excluded({1}, {2, 3}, (4,)) == {1, 2, 3, 4}
    assert watched([1, 2], (3,)) == {1, 2, 3}


def test_near_are_the_nearest_of_what_was_turned_down() -> None:
    neighbours = {1: (2, 3, 4), 5: (6,)}
    assert demoted((1, 5, 9), neighbours, 2) == {2, 3, 6}
    assert demoted((), neighbours, 2) == set()


@pytest.mark.parametrize(
    ("said", "rule"),
    [
        ({}, None),
        ({"withdrawn_at": NOW}, "withdrawn"),
        ({"withdrawn_at": NOW + MOMENT}, None),
        ({"published_at": NOW}, None),
        ({"published_at": NOW + MOMENT}, "licence"),
        ({"licence_from": NOW}, None),
        ({"licence_from": NOW + MOMENT}, "licence"),
        ({"licence_until": NOW}, "licence"),
        ({"licence_until": NOW + MOMENT}, None),
        ({"moderation_state": "pending"}, "moderation"),
        ({"moderation_state": "rejected"}, "moderation"),
        ({"maturity": 18}, None),
        ({"maturity": 19}, "restricted"),
    ],
)
def test_a_title_is_hidden_by_a_rule_to_the_moment(said: dict[str, object], rule: str | None) -> None:
    assert why_hidden(title(1, **said), NOW, 19) == rule


def test_a_title_is_for_those_of_its_territory_and_its_age() -> None:
    assert withheld(16, None, None, 16) is None
    assert withheld(16, None, "DE", 15) == "maturity"
    assert withheld(0, frozenset({"DE"}), "DE", NO_LIMIT) is None
    assert withheld(0, frozenset({"DE"}), "FR", NO_LIMIT) == "territory"
    assert withheld(0, frozenset({"DE"}), None, NO_LIMIT) == "territory", "who knows where they are"


def test_what_a_list_holds_says_what_may_be_added_to_it() -> None:
    assert lists_limit([1, 2, 3], {1: 7, 2: 13}) == 13
    assert lists_limit([], {1: 7}) == 0


def test_a_page_bears_so_many_of_a_kind_and_none_is_no_kind() -> None:
    caps = Caps(Limits(genre=2, creator=1, series=1))
    caps.take(1, 10, -1)
    assert caps.full == {10}
    assert caps.broken(1, 10, -1) == ("creator_cap",)
    caps.take(1, 11, 20)
    assert caps.broken(1, 10, 20) == ("creator_cap", "genre_cap", "series_cap")
    assert caps.broken(-1, -1, -1) == ()
    assert caps.turn() == set()
    assert caps.broken(1, 10, 20) == ()


def test_next_episodes_are_those_after_what_was_finished_latest_first_and_not_those_seen() -> None:
    after = {1: 2, 2: 3, 7: 8}
    assert following((1, 7), after, {1, 7}) == [8, 2]
    assert following((1, 2), after, {1, 2}) == [3]
    assert following((9,), after, set()) == []
    code = SOURCES.index("next_episode")
    assert places_of_next_episodes(bytes([3, code, 3, code])) == [1, 3]
    assert places_of_next_episodes(bytes([3, 3])) == []


def fresh_of(count: int, share: float, hours: int = 24) -> Fresh:
    vectors = np.eye(count, 4, dtype=np.float32)
    return Fresh(list(range(1, count + 1)), vectors, [NOW - HOUR * at for at in range(count)], hours, share)


def test_of_the_fresh_the_best_by_the_lists_vector_are_found() -> None:
    fresh = fresh_of(4, 0.5)
    vector = np.array([0.1, 0.4, 0.3, 0.2], np.float16)
    found = fresh.best(vector, {1, 2, 3, 4}, NOW)
    assert [item for item, _ in found] == [2, 3]
    assert [score for _, score in found] == pytest.approx([0.4, 0.3], abs=1e-3)
    assert [item for item, _ in fresh.best(vector, {1, 3, 4}, NOW)] == [3, 4], "two of three, rounded up"
    assert fresh.best(vector, set(), NOW) == []
    assert fresh.best(vector[:3], {1, 2}, NOW) == [], "a vector of other towers says nothing"


def test_a_title_is_fresh_from_its_publication_until_a_day_later_to_the_moment() -> None:
    fresh = Fresh([1], np.ones((1, 2), np.float32), [NOW], 24, 0.05)
    vector, all_of_it = np.ones(2, np.float16), {1}

    def is_fresh(after: timedelta) -> bool:
        return bool(fresh.best(vector, all_of_it, NOW + after))

    assert [is_fresh(after) for after in (-MOMENT, 0 * HOUR, 24 * HOUR - MOMENT, 24 * HOUR)] == [
        False,
        True,
        True,
        False,
    ]


def test_a_page_has_its_places_for_fresh_titles_and_for_draws() -> None:
    plan = Rules().plan
    assert len(plan) == 20
    assert (plan.count(FRESH_TITLE), plan.count(DRAWN), plan[0]) == (5, 3, LISTED)
    for start in (0, 10):
        assert 1 <= plan[start : start + 10].count(DRAWN) <= 2
