"""Random catalogues, histories, rules and lists: no rule is ever broken, what gives way is named and in order."""

import math
import random
from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_snapshot import NOW, snapshot_in_memory, title

from feature_defs.recommendations import NO_REASON, SOURCES
from pipelines.lists.codec import UserList, pack, unpack
from pipelines.serving import arranging, compiled, library
from pipelines.serving.arranging import RELAXATIONS
from pipelines.serving.library import compiled_rules
from pipelines.serving.placed import Arranged, Asked, Item
from pipelines.serving.rules.availability import why_hidden
from pipelines.serving.rules.limits import DRAWN, FRESH_TITLE, LISTED, Rules
from pipelines.serving.snapshots import Snapshot
from pipelines.serving.title import Title
from pipelines.stores.user_state import UserState

NEXT_EPISODE = SOURCES.index("next_episode")
CAPS = ("creator_cap", "genre_cap", "series_cap")
WIDTH = 4


@dataclass
class World:
    titles: dict[int, Title]
    snapshot: Snapshot
    explorable: dict[int, float]
    fresh: dict[int, list[float]]
    neighbours: dict[int, tuple[int, ...]]
    user_list: UserList
    state: UserState
    asked: Asked

    @property
    def rules(self) -> Rules:
        return self.snapshot.rules


def arrange(user_list: UserList, state: UserState, snapshot: Snapshot | None, asked: Asked) -> Arranged:
    """The compiled rules' answer, which is that of the interpreted ones."""
    found = compiled.arrange(user_list, state, snapshot, asked)
    expected = arranging.arrange(user_list, state, snapshot, asked)
    assert [placed_at(one) for one in found.items] == [placed_at(one) for one in expected.items]
    assert [one.score for one in found.items] == pytest.approx([one.score for one in expected.items], abs=1e-5)
    assert [one.propensity for one in found.items] == pytest.approx([one.propensity for one in expected.items])
    assert (found.relaxed, found.filtered) == (expected.relaxed, expected.filtered)
    return found


def placed_at(one: Item) -> tuple[object, ...]:
    return one.item_id, one.slot, one.reason


def some(rng: random.Random, ids: list[int], most: int) -> list[int]:
    return rng.sample(ids, rng.randint(0, min(most, len(ids))))


def a_title(rng: random.Random, item_id: int) -> Title:
    def moment(share: float) -> object:
        return NOW + timedelta(hours=rng.choice([-30, -1, 1, 30])) if rng.random() < share else None

    return title(
        item_id,
        genres=rng.choice([(), ("a",), ("b", "a"), ("c",), ("d",)]),
        creator=rng.choice([None, "x", "y", "z", f"only {item_id}"]),
        series_id=rng.choice([None, None, 1, 2, 3]),
        season=1,
        episode=item_id,
        maturity=rng.choice([0, 0, 0, 0, 0, 7, 13, 16, 18, 19, 21]),
        published_at=NOW + timedelta(hours=rng.choice([-5000, -5000, -5000, -20, -2, 5])),
        withdrawn_at=moment(0.05),
        licence_from=moment(0.05),
        licence_until=moment(0.05),
        territories=rng.choice([None] * 8 + [("DE", "FR"), ("US",), ()]),
        moderation_state=rng.choice(["approved"] * 16 + ["pending", "rejected"]),
    )


def a_world(seed: int) -> World:
    rng = random.Random(seed)
    ids = list(range(1, rng.randint(5, 90)))
    titles = {item: a_title(rng, item) for item in ids}
    rules = Rules(
        page=rng.choice([4, 10, 20]),
        genre_limit=rng.randint(1, 6),
        creator_limit=rng.randint(1, 4),
        series_limit=rng.randint(1, 3),
        demoted=rng.randint(0, 5),
        continued=rng.randint(0, 4),
        fresh_slots=tuple(some(rng, [1, 2, 3, 6, 9, 15], 4)),
        fresh_share=rng.choice([0.05, 0.3, 1.0]),
        explored_slots=tuple(some(rng, [0, 1, 3, 5, 8, 13], 3)),
    )
    neighbours = {item: tuple(some(rng, ids, 6)) for item in ids}
    explorable = {item: rng.random() + 0.01 for item in some(rng, ids, 40)}
    fresh = {
        item: [rng.uniform(-1, 1) for _ in range(WIDTH)]
        for item in ids
        if titles[item].published_at > NOW - timedelta(hours=24)
    }
    # A list may also hold what the snapshot does not know.
    listed = some(rng, [*ids, 1000, 1001], 80)
    history = some(rng, ids, 15)
    has_next_episodes = rng.random() < 0.5
    state = UserState(
        maturity_limit=rng.choice([None, None, None, 0, 12, 16]),
        not_interested=tuple(some(rng, ids, 3)),
        watched=tuple(some(rng, ids, 4)) if rng.random() < 0.5 else (),
    )
    return World(
        titles,
        snapshot_in_memory(
            list(titles.values()), neighbours=neighbours, explorable=explorable, fresh=fresh, rules=rules
        ),
        explorable,
        fresh,
        neighbours,
        unpack(
            pack(
                item_ids=listed,
                scores=sorted((rng.random() for _ in listed), reverse=True),
                sources=[rng.choice([2, 3, NEXT_EPISODE if has_next_episodes else 2]) for _ in listed],
                reasons=[rng.choice([NO_REASON, *range(len(history))]) for _ in listed],
                history=history,
                vector=[rng.uniform(-1, 1) for _ in range(rng.choice([0, WIDTH, WIDTH]))],
                generated_at=NOW - timedelta(hours=12),
            )
        ),
        state,
        Asked(
            user_id=1,
            k=rng.choice([5, 10, 20, rng.randint(1, 60)]),
            surface="home",
            device=None,
            country=rng.choice([None, "DE", "US"]),
            exclude=frozenset(some(rng, ids, 5)),
            served=frozenset(some(rng, ids, 5)),
            page=0,
            seed=seed,
            now=NOW,
        ),
    )


def may_be_shown(world: World, item: int) -> bool:
    """All rules that never give way, but the user's limit, written down once more and plainly."""
    one = world.titles.get(item)
    if one is None or one.moderation_state != "approved" or one.maturity >= world.rules.restricted_from:
        return False
    if one.withdrawn_at and one.withdrawn_at <= NOW:
        return False
    if one.published_at > NOW or (one.licence_from and one.licence_from > NOW):
        return False
    if one.licence_until and one.licence_until <= NOW:
        return False
    if one.territories is not None and world.asked.country not in one.territories:
        return False
    if world.state.maturity_limit is not None and one.maturity > world.state.maturity_limit:
        return False
    asked = world.asked
    return item not in asked.exclude and item not in asked.served and item not in world.state.not_interested


def demoted(world: World) -> set[int]:
    return {near for item in world.state.not_interested for near in world.neighbours[item][: world.rules.demoted]}


def seen(world: World) -> set[int]:
    return {*world.user_list.history.tolist(), *world.state.watched}


def kinds_of(one: Title) -> dict[str, object]:
    return {"creator_cap": one.creator, "genre_cap": one.genres[0] if one.genres else None, "series_cap": one.series_id}


def limits(rules: Rules) -> dict[str, int]:
    return {"creator_cap": rules.creator_limit, "genre_cap": rules.genre_limit, "series_cap": rules.series_limit}


def broken_caps(world: World, items: list[int]) -> set[str]:
    broken = set()
    for start in range(0, len(items), world.rules.page):
        counts = Counter(
            pair
            for item in items[start : start + world.rules.page]
            for pair in kinds_of(world.titles[item]).items()
            if pair[1] is not None
        )
        broken |= {cap for (cap, _), count in counts.items() if count > limits(world.rules)[cap]}
    return broken


def check(world: World, arranged: Arranged) -> None:
    items = [placed.item_id for placed in arranged.items]
    plan, relaxed = world.rules.plan, arranged.relaxed
    listed = world.user_list.item_ids.tolist()
    assert len(set(items)) == len(items) <= world.asked.k
    assert [placed.slot for placed in arranged.items] == list(range(len(items)))
    assert all(may_be_shown(world, item) for item in items)
    assert list(relaxed) == [name for name in RELAXATIONS if name in relaxed]
    # What gave way is named, and nothing else is.
    broken = broken_caps(world, items)
    broken |= {"already_watched"} if seen(world) & set(items) else set()
    broken |= {"demoted_neighbours"} if (demoted(world) - seen(world)) & set(items) else set()
    assert broken == set(relaxed)
    # And only when nothing better was left.
    left = [item for item in listed if may_be_shown(world, item) and item not in items]
    plain = [item for item in left if item not in demoted(world) | seen(world)]
    if len(items) < world.asked.k:
        assert not left
    if "already_watched" in relaxed:
        assert not set(left) - seen(world)
    if "demoted_neighbours" in relaxed:
        assert not plain
    if len(items) <= world.rules.page:
        for number, cap in enumerate(CAPS):
            for item in plain if cap in relaxed else ():
                assert would_break(world, items, item) - set(CAPS[:number]), "a lesser rule had to give way"
    for placed in arranged.items:
        assert plan[placed.slot % len(plan)] == DRAWN if placed.is_explored else placed.propensity == 1.0
        if placed.is_fresh:
            assert plan[placed.slot % len(plan)] == FRESH_TITLE
            assert placed.item_id in best_of_the_fresh(world)
            assert placed.score == pytest.approx(fit(world, placed.item_id), abs=1e-3)
        if placed.is_explored or placed.is_fresh or placed.item_id not in listed:
            front = [world.titles[item].maturity for item in listed[:20] if item in world.titles]
            assert world.titles[placed.item_id].maturity <= max(front, default=0)
        if placed.reason.kind == "because_you_watched":
            assert placed.reason.item_id in world.user_list.history.tolist()


def would_break(world: World, items: list[int], item: int) -> set[str]:
    """The caps of the last page that one more title would break."""
    page = items[-(len(items) % world.rules.page or world.rules.page) :]
    return {
        cap
        for cap, value in kinds_of(world.titles[item]).items()
        if value is not None
        and sum(kinds_of(world.titles[one])[cap] == value for one in page) >= limits(world.rules)[cap]
    }


def fit(world: World, item: int) -> float:
    return float(np.dot(np.array(world.fresh[item], np.float32), world.user_list.vector.astype(np.float32)))


def best_of_the_fresh(world: World) -> list[int]:
    nobody = replace(world, state=UserState(), asked=replace_asked(world.asked))
    fresh = [
        item
        for item in world.fresh
        if may_be_shown_somewhere(nobody, item) and world.titles[item].published_at > NOW - timedelta(hours=24)
    ]
    return sorted(fresh, key=lambda item: -fit(world, item))[: math.ceil(world.rules.fresh_share * len(fresh))]


def may_be_shown_somewhere(world: World, item: int) -> bool:
    return any(
        may_be_shown(replace(world, asked=replace_asked(world.asked, country)), item)
        for country in (None, *(world.titles[item].territories or ()))
    ) or (world.titles[item].territories == () and may_be_shown(with_everywhere(world, item), item))


def with_everywhere(world: World, item: int) -> World:
    one = world.titles[item]
    everywhere = Title(*(None if name == "territories" else getattr(one, name) for name in Title.__struct_fields__))
    return replace(world, titles={**world.titles, item: everywhere})


def replace_asked(asked: Asked, country: str | None = None) -> Asked:
    return replace(asked, country=country, exclude=frozenset(), served=frozenset())


@settings(max_examples=250, deadline=None)
@given(seed=st.integers(0, 2**40))
def test_no_rule_is_ever_broken_and_what_gives_way_is_named_and_in_order(seed: int) -> None:
    world = a_world(seed)
    arranged = arrange(world.user_list, world.state, world.snapshot, world.asked)
    check(world, arranged)
    assert arrange(world.user_list, world.state, world.snapshot, world.asked) == arranged


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**40))
def test_pages_never_overlap_and_together_hold_the_whole_list(seed: int) -> None:
    world = a_world(seed)
    everything = set()
    for page in range(200):
        world.asked = replace(world.asked, page=page, k=max(world.asked.k, 5))
        arranged = arrange(world.user_list, world.state, world.snapshot, world.asked)
        check(world, arranged)
        items = {placed.item_id for placed in arranged.items}
        assert not items & everything
        everything |= items
        world.asked = replace(world.asked, served=world.asked.served | items)
        if not items:
            break
    first = a_world(seed)
    assert {item for item in world.user_list.item_ids.tolist() if may_be_shown(first, item)} <= everything


@settings(max_examples=120, deadline=None)
@given(seed=st.integers(0, 2**40))
def test_a_logged_propensity_is_the_probability_of_the_draw_among_what_was_eligible(seed: int) -> None:
    world = a_world(seed)
    world.user_list = without_next_episodes(world.user_list)
    world.state = UserState(maturity_limit=world.state.maturity_limit, not_interested=world.state.not_interested)
    listed = world.user_list.item_ids.tolist()
    limit = max((world.titles[item].maturity for item in listed[:20] if item in world.titles), default=0)
    arranged = arrange(world.user_list, world.state, world.snapshot, world.asked)
    before: list[int] = []
    for placed in arranged.items[: world.rules.page]:
        if placed.is_explored:
            eligible = [
                item
                for item in world.explorable
                if may_be_shown(world, item)
                and world.titles[item].maturity <= limit
                and item not in {*before, *seen(world), *demoted(world)}
                and not (before and would_break(world, before, item))
            ]
            total = sum(world.explorable[item] for item in eligible)
            assert placed.item_id in eligible
            assert placed.propensity == pytest.approx(world.explorable[placed.item_id] / total)
        before.append(placed.item_id)


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**40))
def test_the_next_episode_of_a_series_in_progress_comes_first(seed: int) -> None:
    world = a_world(seed)
    arranged = arrange(world.user_list, world.state, world.snapshot, world.asked)
    hidden = seen(world) | demoted(world)
    pairs = zip(world.user_list.item_ids.tolist(), world.user_list.sources.tolist(), strict=True)
    next_ones = [item for item, source in pairs if source == NEXT_EPISODE]
    next_ones = [item for item in next_ones if may_be_shown(world, item) and item not in hidden]
    if not world.state.watched and next_ones and world.rules.continued and world.rules.plan[0] == LISTED:
        assert arranged.items[0].item_id == next_ones[0]


def without_next_episodes(user_list: UserList) -> UserList:
    columns = {name: getattr(user_list, name) for name in ("item_ids", "scores", "reasons", "history", "vector")}
    return unpack(pack(**columns, sources=np.full(len(user_list), 3), generated_at=user_list.generated_at))


def a_list(*item_ids: int, history: tuple[int, ...] = (), vector: tuple[float, ...] = ()) -> UserList:
    return unpack(
        pack(
            item_ids=item_ids,
            scores=[1.0] * len(item_ids),
            sources=[3] * len(item_ids),
            reasons=[NO_REASON] * len(item_ids),
            history=history,
            vector=vector,
            generated_at=NOW,
        )
    )


ASKED = Asked(1, 20, "home", None, "DE", frozenset(), frozenset(), 0, 7, NOW)


def shown(arranged: Arranged) -> list[int]:
    return [placed.item_id for placed in arranged.items]


def test_there_are_compiled_rules_to_hold_against_the_interpreted_ones() -> None:
    assert compiled_rules() is not None, "there is no arrange.so of this arrange.c: install a C compiler, make setup"


def test_without_a_snapshot_the_list_stands_as_the_night_made_it_less_what_the_user_said_and_saw() -> None:
    state = UserState(not_interested=(2,), watched=(3,))
    asked = Asked(1, 3, "home", None, "DE", frozenset({4}), frozenset({5}), 1, 7, NOW)
    arranged = arrange(a_list(*range(1, 12), history=(6,)), state, None, asked)
    assert shown(arranged) == [1, 7, 8]
    assert arranged.filtered == {
        "not_interested": 1, "already_watched": 2, "excluded": 1, "served": 1,
    }  # fmt: skip


def test_ids_that_no_catalogue_can_hold_hold_nothing_back() -> None:
    state = UserState(not_interested=(2**40, 2), watched=(2**63, 3))
    arranged = arrange(a_list(1, 2, 3, 4), state, snapshot_in_memory([title(item) for item in range(1, 5)]), ASKED)
    assert shown(arranged) == [1, 4, 3]


def test_without_a_snapshot_nobody_who_set_a_maturity_limit_is_shown_anything() -> None:
    arranged = arrange(a_list(1, 2), UserState(maturity_limit=12), None, ASKED)
    assert (arranged.items, arranged.filtered) == ([], {"maturity": 2})


def test_a_title_watched_a_moment_ago_is_gone_and_its_next_episode_comes_first_though_no_list_holds_it() -> None:
    titles = [title(item, series_id=1, season=1, episode=item) for item in (1, 2, 3)] + [title(4), title(5)]
    arranged = arrange(a_list(1, 4, 5), UserState(watched=(1,)), snapshot_in_memory(titles), ASKED)
    assert shown(arranged)[:3] == [2, 4, 5]
    assert arranged.items[0].reason.kind == "next_episode"


def test_what_is_held_back_is_counted_by_rule() -> None:
    titles = [
        title(1), title(2, withdrawn_at=NOW), title(3, licence_until=NOW), title(4, territories=("US",)),
        title(5, moderation_state="pending"), title(6, maturity=16), title(7, maturity=19), title(8),
    ]  # fmt: skip
    state = UserState(maturity_limit=13)
    arranged = arrange(a_list(*range(1, 10)), state, snapshot_in_memory(titles), ASKED)
    assert shown(arranged) == [1, 8]
    assert arranged.filtered == {
        "withdrawn": 1, "licence": 1, "territory": 1, "moderation": 1, "maturity": 1, "restricted": 1, "unknown": 1,
    }  # fmt: skip


def test_caps_give_way_in_their_order_and_later_titles_come_before_those_that_break_one() -> None:
    rules = Rules(genre_limit=2, creator_limit=1, series_limit=1, explored_slots=(), fresh_slots=())
    titles = [
        title(1, genres=("a",), creator="x", series_id=1),
        title(2, genres=("a",), creator="y", series_id=1),  # breaks the cap of its series
        title(3, genres=("a",), creator="x", series_id=None),  # of its creator
        title(4, genres=("a",), creator="z", series_id=None),
        title(5, genres=("a",), creator="w", series_id=None),  # of its genre
        title(6, genres=("b",), creator="v", series_id=None),
    ]
    snapshot = snapshot_in_memory(titles, rules=rules)
    order = [1, 4, 6, 3, 5, 2]
    for k, relaxed in ((3, ()), (4, ("creator_cap", "genre_cap")), (6, ("creator_cap", "genre_cap", "series_cap"))):
        arranged = arrange(a_list(1, 2, 3, 4, 5, 6), UserState(), snapshot, replace(ASKED, k=k))
        assert set(shown(arranged)) == set(order[:k])
        assert arranged.relaxed == relaxed


def test_what_was_watched_gives_way_last_after_the_neighbours_of_what_was_turned_down() -> None:
    titles = [title(item, genres=(f"g{item}",), creator=f"c{item}") for item in range(1, 6)]
    snapshot = snapshot_in_memory(titles, neighbours={5: (2,)})
    for k, items, relaxed in (
        (2, [3, 4], ()),
        (3, [3, 4, 2], ("demoted_neighbours",)),
        (9, [3, 4, 2, 1], ("demoted_neighbours", "already_watched")),
    ):
        arranged = arrange(
            a_list(1, 2, 3, 4, history=(1,)), UserState(not_interested=(5,)), snapshot, replace(ASKED, k=k)
        )
        assert (shown(arranged), arranged.relaxed) == (items, relaxed)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**40), hours=st.lists(st.integers(-40, 40), min_size=2, max_size=6))
def test_compiled_rules_follow_windows_that_open_and_close_as_the_interpreted_ones_do(seed: int, hours) -> None:
    world = a_world(seed)
    for hour in hours:  # back and forth, so that views follow on others than the one before
        world.asked = replace(world.asked, now=NOW + timedelta(hours=hour))
        arranged = arrange(world.user_list, world.state, world.snapshot, world.asked)
        open_now = {
            item
            for item, one in world.titles.items()
            if why_hidden(one, world.asked.now, world.rules.restricted_from) is None
        }
        assert set(shown(arranged)) <= open_now
        # The same tables serve a snapshot whose rules draw nothing.
        plain = replace(world.snapshot, rules=replace(world.rules, fresh_slots=(), explored_slots=()))
        arranged = arrange(world.user_list, world.state, plain, world.asked)
        assert set(shown(arranged)) <= open_now
        assert not any(placed.is_explored or placed.is_fresh for placed in arranged.items)


def test_compiled_rules_are_given_as_many_chances_as_they_need() -> None:
    # One title bears nearly all weight, and is out: most draws are refused, and the rest is gone through.
    titles = [title(item, creator=f"c{item}", genres=()) for item in range(1, 60)]
    weights = {1: 1.0, **dict.fromkeys(range(2, 50), 0.01)}
    rules = Rules(explored_slots=tuple(range(20)), fresh_slots=())
    snapshot = snapshot_in_memory(titles, explorable=weights, rules=rules)
    for seed in range(40):
        asked = replace(ASKED, k=40, seed=seed)
        arranged = arrange(a_list(*range(50, 60)), UserState(watched=(1,)), snapshot, asked)
        assert sum(placed.is_explored for placed in arranged.items) == 40


def test_a_library_of_another_source_is_not_used(tmp_path, monkeypatch) -> None:
    source = tmp_path / "arrange.c"
    source.write_bytes(library._SOURCE.read_bytes() + b"\n")
    monkeypatch.setattr(library, "_SOURCE", source)
    assert compiled_rules.__wrapped__() is None
    monkeypatch.setattr(library, "_LIBRARY", tmp_path / "arrange.so")
    assert compiled_rules.__wrapped__() is None
