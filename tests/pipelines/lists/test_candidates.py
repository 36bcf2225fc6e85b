"""Candidates are what the sources propose, fused: nothing seen or hidden, each with its source and its reason."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from catalogue_columns import DAY, catalogue_columns
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_defs.recommendations import HISTORY_LENGTH, SOURCES
from pipelines.days import end_of
from pipelines.errors import DataError, UsageError
from pipelines.histories import Histories
from pipelines.lists.candidate_configuration import CandidateConfiguration, Quotas
from pipelines.lists.candidates import Candidates, Retrieval, candidates
from pipelines.models.interests import no_interests
from pipelines.models.item_item import item_item_neighbours
from pipelines.models.nearest import build

TODAY = int(end_of(DAY).timestamp()) // 86_400 - 1
NOBODY = np.zeros(0, np.int64)
SMALL = CandidateConfiguration(
    count=30,
    quotas=Quotas(towers=8, als=6, item_item=5, content=4, trending=4, next_episode=2, new_title=3),
    profile_length=3,
)


def histories_of(rows: list[list[int]], shares: list[float] | None = None) -> Histories:
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    items = np.array([item for row in rows for item in row], np.int64)
    watched = np.ones(len(items)) if shares is None else np.array(shares)
    return Histories(np.arange(len(rows)) + 100, offsets, items, watched.astype(np.float32))


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def world(seed: int, users: int, titles: int) -> tuple[Retrieval, Histories, np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    in_series = (np.arange(titles) % 4 < 3) & (np.arange(titles) + 1 < titles) & (np.arange(titles) < titles // 2)
    catalogue = catalogue_columns(
        titles,
        first_id=11,
        may_be_shown=generator.random(titles) < 0.9,
        next_episodes=np.where(in_series, np.arange(titles) + 1, -1),
        published_days=TODAY - generator.integers(-1, 25, titles),
        maturities=generator.choice([0, 12, 18], titles),
    )
    longest = min(titles, 60)
    rows = [
        (generator.permutation(titles + 2)[: generator.choice([0, 1, 5, longest])] + 11).tolist() for _ in range(users)
    ]
    shares = generator.random(sum(len(row) for row in rows)).tolist()
    histories = histories_of(rows, shares)
    als, towers, texts = (unit(generator.standard_normal((titles, width))) for width in (5, 6, 7))
    als[generator.random(titles) < 0.2] = 0
    texts[generator.random(titles) < 0.2] = 0
    retrieval = Retrieval(
        catalogue=catalogue,
        als_items=als,
        tower_items=towers,
        index=build(towers),
        text_items=texts,
        neighbours=item_item_neighbours(histories, catalogue, 6, 2.0),
        popularity_recent=generator.integers(0, 4, titles),
        popularity=generator.integers(0, 9, titles),
    )
    als_users, tower_users = (unit(generator.standard_normal((users, width))) for width in (5, 6))
    als_users[generator.random(users) < 0.2] = 0
    tower_users[generator.random(users) < 0.2] = 0
    return retrieval, histories, als_users, tower_users, generator.choice([10, 16, 99], users)


def of_user(found: Candidates, user: int) -> tuple[list[int], list[str], list[int], list[float]]:
    part = slice(found.offsets[user], found.offsets[user + 1])
    names = [SOURCES[code] for code in found.sources[part]]
    return found.positions[part].tolist(), names, found.reasons[part].tolist(), found.scores[part].tolist()


class Plain:
    """The same by plain loops, for one user."""

    def __init__(self, retrieval, history, shares, als_user, tower_user, limit, configuration) -> None:
        self.r, self.c, self.als_user, self.tower_user = retrieval, configuration, als_user, tower_user
        catalogue = retrieval.catalogue
        positions = catalogue.positions(np.array(history, np.int64)).tolist()
        self.open = [
            title
            for title in range(len(catalogue))
            if title not in positions and catalogue.may_be_shown[title] and catalogue.maturities[title] <= limit
        ]
        newest_first = list(zip(positions, shares, strict=True))[::-1]
        self.watched = newest_first
        # How far back, which title, how much of it.
        self.recent = [(back, *entry) for back, entry in enumerate(newest_first[:40]) if entry[0] >= 0]

    def best(self, score: dict[int, float], count: int) -> list[int]:
        return sorted(score, key=lambda title: (-score[title], title))[:count]

    def by_vector(self, user: np.ndarray, items: np.ndarray, count: int) -> list[int]:
        known = [title for title in self.open if items[title].any()] if user.any() else []
        scores = items @ user
        return self.best({title: scores[title] for title in known}, count)

    def proposals(self) -> dict[str, list[int]]:
        r, quotas = self.r, self.c.quotas
        profile = np.zeros(r.text_items.shape[1], np.float32)
        for back, title, share in self.recent:
            if back < self.c.profile_length:
                profile += share * r.text_items[title]
        weights: dict[int, float] = {}
        for _, title, share in self.recent:
            for other, weight in zip(r.neighbours.positions[title], r.neighbours.weights[title], strict=True):
                if other in self.open:
                    weights[int(other)] = weights.get(int(other), 0) + float(np.float32(weight * np.float32(share)))
        plays = {title: (r.popularity_recent[title], r.popularity[title]) for title in self.open}
        trending = sorted((title for title in plays if plays[title][0]), key=lambda t: (-plays[t][0], -plays[t][1], t))
        following = [
            int(r.catalogue.next_episodes[title])
            for title, share in self.watched
            if title >= 0 and share >= np.float32(0.8)
        ]
        ages = np.maximum(TODAY - r.catalogue.published_days, 0)
        new = [title for title in range(len(ages)) if 0 <= ages[title] < 7]
        scores = r.tower_items[new] @ self.tower_user
        spread = (scores.std() if new else 0) or 1
        fresh = {t: s + 0.5 * spread * (1 - ages[t] / 7) for t, s in zip(new, scores, strict=True) if t in self.open}
        return {
            "towers": self.by_vector(self.tower_user, r.tower_items, quotas.towers and 10**6),
            "als": self.by_vector(self.als_user, r.als_items, quotas.als),
            "item_item": self.best({t: np.float32(w) for t, w in weights.items() if w > 0}, quotas.item_item),
            "content": self.by_vector(profile, r.text_items, quotas.content),
            "trending": trending[: quotas.trending],
            "next_episode": self.and_those_after([title for title in following if title in self.open]),
            "new_title": self.best(fresh, quotas.new_title),
        }

    def and_those_after(self, chains: list[int]) -> list[int]:
        proposed = chains = chains[: self.c.quotas.next_episode]
        for _ in range(self.c.episodes_ahead):
            chains = [int(self.r.catalogue.next_episodes[title]) if title >= 0 else -1 for title in chains]
            for title in chains:
                if title in self.open and title not in proposed:
                    proposed = [*proposed, title]
        return proposed[: self.c.quotas.next_episode]

    def fused(self) -> tuple[list[int], dict[int, str]]:
        totals: dict[int, np.float32] = {}
        most: dict[int, tuple[np.float32, str]] = {}
        proposals = self.proposals()
        for name, proposed in proposals.items():
            for rank, title in enumerate(proposed[: getattr(self.c.quotas, name)]):
                worth = np.float32(getattr(self.c.weights, name) / (self.c.rank_constant + 1 + rank))
                totals[title] = totals.get(title, np.float32(0)) + worth
                if title not in most or worth > most[title][0]:
                    most[title] = (worth, name)
        sources = {title: name for title, (_, name) in most.items()}
        order = self.best(totals, self.c.count)
        for title in proposals["towers"]:
            if title not in totals and len(order) < self.c.count:
                order.append(title)
                sources[title] = "towers"
        for title in sorted(self.open, key=lambda title: (-self.r.popularity[title], title)):
            if title not in order and len(order) < self.c.count:
                order.append(title)
                sources[title] = "most_popular"
        return order, sources

    def reason(self, title: int, source: str) -> int:
        r = self.r
        if source == "next_episode":
            seen = {past: back for back, past, _ in self.recent}
            while title >= 0 and title not in seen:
                title = next((int(at) for at in np.flatnonzero(r.catalogue.next_episodes == title)), -1)
            return seen.get(title, -1)
        if source == "item_item":
            terms = {}
            for back, past, share in self.recent:
                near = r.neighbours.positions[past].tolist()
                if title in near:
                    terms[back] = r.neighbours.weights[past][near.index(title)] * np.float32(share)
        elif source in {"als", "towers", "content"}:
            items = {"als": r.als_items, "towers": r.tower_items, "content": r.text_items}[source]
            terms = {back: items[past] @ items[title] for back, past, _ in self.recent}
        else:
            return -1
        best = max(terms, key=lambda back: (terms[back], -back), default=-1)
        return best if best >= 0 and terms[best] > 0 else -1


@given(st.integers(0, 10**6), st.integers(1, 5), st.sampled_from([1, 6, 40, 120]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_candidates_are_what_plain_loops_over_the_rules_give(
    seed: int, users: int, titles: int, by_index: bool
) -> None:
    retrieval, histories, als_users, tower_users, limits = world(seed, users, titles)
    configuration = replace(SMALL, search_above=0) if by_index else SMALL
    found = candidates(retrieval, histories, als_users, tower_users, configuration, limits)
    assert found.user_ids.tolist() == histories.user_ids.tolist()
    for user in range(users):
        part = slice(histories.offsets[user], histories.offsets[user + 1])
        history, shares = histories.item_ids[part].tolist(), histories.shares[part].tolist()
        plain = Plain(retrieval, history, shares, als_users[user], tower_users[user], limits[user], configuration)
        order, names = plain.fused()
        positions, sources, reasons, scores = of_user(found, user)
        assert positions == order
        assert sources == [names[title] for title in order]
        assert reasons == [plain.reason(title, names[title]) for title in order]
        assert (np.diff(scores) <= 0).all()
        assert min(scores, default=1) > 0


@given(st.integers(0, 10**6), st.integers(0, 700))
@settings(max_examples=8, deadline=None)
def test_lists_keep_their_promises_at_the_size_they_are_made_for(seed: int, users: int) -> None:
    retrieval, histories, als_users, tower_users, limits = world(seed, users, 700)
    configuration = CandidateConfiguration()
    found = candidates(retrieval, histories, als_users, tower_users, configuration, limits)
    owners = found.owners()
    assert len(np.unique(owners * 700 + found.positions)) == len(found.positions), "no title twice"
    seen = retrieval.catalogue.positions(histories.item_ids)
    assert not np.isin(owners * 700 + found.positions, (histories.owners() * 700 + seen)[seen >= 0]).any()
    assert retrieval.catalogue.may_be_shown[found.positions].all()
    assert (retrieval.catalogue.maturities[found.positions] <= limits[owners]).all()
    assert (np.diff(found.offsets) <= configuration.count).all()
    lengths = np.diff(histories.offsets)[owners]
    assert (found.reasons >= -1).all()
    assert (found.reasons < np.minimum(lengths, HISTORY_LENGTH)).all()
    for name in ("als", "item_item", "content", "trending", "next_episode", "new_title"):
        counts = np.bincount(owners[found.sources == SOURCES.index(name)], minlength=1)
        assert counts.max() <= getattr(configuration.quotas, name)
    again = candidates(retrieval, histories, als_users, tower_users, configuration, limits)
    np.testing.assert_array_equal(again.positions, found.positions)
    np.testing.assert_array_equal(again.scores, found.scores)


@pytest.mark.parametrize("source", ["towers", "als", "item_item", "content", "trending", "next_episode", "new_title"])
def test_without_a_source_nothing_comes_from_it(source: str) -> None:
    retrieval, histories, als_users, tower_users, _ = world(3, 40, 120)
    with_all = candidates(retrieval, histories, als_users, tower_users, SMALL)
    without = candidates(retrieval, histories, als_users, tower_users, SMALL.without(source))
    assert (with_all.sources == SOURCES.index(source)).any()
    assert not (without.sources == SOURCES.index(source)).any()
    assert (np.diff(without.offsets) == np.diff(with_all.offsets)).all(), "the others fill its places"


def test_a_source_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="'most_popular' is not a source"):
        CandidateConfiguration().without("most_popular")


def test_a_user_of_whom_nothing_is_known_gets_what_trends_is_new_and_is_popular() -> None:
    retrieval, _, als_users, tower_users, _ = world(1, 1, 120)
    nothing = histories_of([[]])
    found = candidates(retrieval, nothing, als_users * 0, tower_users * 0, SMALL)
    assert len(found.positions) == 30
    assert {SOURCES[code] for code in found.sources} == {"trending", "new_title", "most_popular"}
    assert (found.reasons == -1).all()


def test_a_small_catalogue_is_proposed_whole() -> None:
    retrieval, histories, als_users, tower_users, _ = world(2, 3, 120)
    found = candidates(retrieval, histories, als_users, tower_users, CandidateConfiguration())
    for user in range(3):
        seen = retrieval.catalogue.positions(histories.item_ids[histories.offsets[user] : histories.offsets[user + 1]])
        expected = np.flatnonzero(retrieval.catalogue.may_be_shown & ~np.isin(np.arange(120), seen))
        assert sorted(of_user(found, user)[0]) == expected.tolist()


def test_the_next_episode_of_a_finished_one_is_proposed_and_says_why() -> None:
    retrieval, _, als_users, tower_users, _ = world(4, 1, 120)
    retrieval = replace(retrieval, catalogue=replace(retrieval.catalogue, may_be_shown=np.ones(120, np.bool_)))
    # Of series: finished the first of one, left that of another, finished the first of a third.
    history = histories_of([[11, 15, 112, 19, 114]], [0.9, 0.5, 1, 0.8, 1])
    # Whose taste is not known otherwise.
    found = candidates(retrieval, history, als_users * 0, tower_users * 0, SMALL.without("item_item"))
    positions, sources, reasons, _ = of_user(found, 0)
    places = [place for place, name in enumerate(sources) if name == "next_episode"]
    assert [(positions[place], reasons[place]) for place in places] == [(9, 1), (1, 4)]
    assert places == [0, 1], "they lead"


def test_an_episode_finished_long_ago_is_followed_and_gives_no_reason_that_the_list_does_not_carry() -> None:
    retrieval, _, als_users, tower_users, _ = world(4, 1, 120)
    retrieval = replace(retrieval, catalogue=replace(retrieval.catalogue, may_be_shown=np.ones(120, np.bool_)))
    history = histories_of([[11, *range(80, 120)]])
    found = candidates(retrieval, history, als_users * 0, tower_users * 0, SMALL)
    positions, sources, reasons, _ = of_user(found, 0)
    place = sources.index("next_episode")
    assert (positions[place], reasons[place]) == (1, -1)


def test_no_users_have_no_candidates() -> None:
    retrieval, _, als_users, tower_users, _ = world(5, 1, 40)
    found = candidates(retrieval, histories_of([]), als_users[:0], tower_users[:0], SMALL)
    assert found.offsets.tolist() == [0]
    assert len(found.positions) == len(found.scores) == 0


def test_what_does_not_fit_is_refused() -> None:
    retrieval, histories, als_users, tower_users, _ = world(6, 3, 40)
    with pytest.raises(DataError, match="ALS vectors of width 5"):
        candidates(retrieval, histories, tower_users, tower_users, SMALL)
    with pytest.raises(DataError, match="tower vectors of users are not all finite"):
        candidates(retrieval, histories, als_users, tower_users * np.nan, SMALL)
    with pytest.raises(DataError, match="text vectors of titles are not all finite"):
        replace(retrieval, text_items=retrieval.text_items * np.nan)
    with pytest.raises(DataError, match="other vectors"):
        replace(retrieval, tower_items=retrieval.tower_items[::-1].copy())
    with pytest.raises(DataError, match="40 titles, and there are plays of 39"):
        replace(retrieval, popularity=retrieval.popularity[1:])


def test_what_is_kept_of_titles_belongs_to_the_interests_that_are_asked_for() -> None:
    kept, rows = world(1, 4, 30)[0], pa.table({"item_id": np.arange(30)})
    one, other = no_interests(), no_interests()
    assert kept.titles(rows, one) is kept.titles(rows, one)
    assert kept.titles(rows, other).interests is other
