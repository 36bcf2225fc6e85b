"""What the ranker reads of pairs is what is known of them: columns held against a plain reading of a small world."""

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_defs.features import ITEM_FEATURES, USER_FEATURES
from feature_defs.items import ITEMS
from feature_defs.ranking import CATEGORICALS, DENSE_FEATURES
from feature_defs.users import USERS
from pipelines.arrow_schemas import arrow_schema
from pipelines.catalogue import catalogue_from
from pipelines.errors import DataError
from pipelines.histories import Histories
from pipelines.models import ranker_inputs
from pipelines.models.interests import Interests, no_interests
from pipelines.models.item_item import Neighbours
from pipelines.models.ranker_codes import name_codes
from pipelines.models.ranker_inputs import Context, Knowledge, RankerInputs, joined, pair_inputs, usual_context

DAY = date(2026, 1, 31)
ITEM_ROWS: list[dict[str, Any]] = [
    # A series of three, by one creator.
    *(
        {"genres": ["drama", "crime"], "language": "da", "creator": "Ann", "series_id": 7, "season": 1, "episode": n}
        for n in (1, 2, 3)
    ),
    {"genres": ["comedy"], "language": "en", "creator": "Bob", "release_year": 2020, "maturity": 12},
    {"genres": ["crime"], "language": "en", "creator": "Ann", "kind": "audio"},
    # A title of which nothing is known.
    {},
]
USER_ROWS: list[dict[str, Any]] = [
    {"age_band": "25_34", "city": "Aarhus", "country": "DK", "device": "tv", "onboarding_genres": ["comedy", "noir"]},
    {},
    {"country": "DK", "device": "phone", "onboarding_genres": []},
]
# Item ids are 10, 20, ...; 99 is not in the catalogue. Oldest first.
PAST: list[list[tuple[int, float]]] = [[(40, 1.0), (99, 1.0), (10, 0.9), (50, 0.3)], [], [(20, 0.8)]]


def table(declared: Any, rows: list[dict[str, Any]]) -> pa.Table:
    schema = arrow_schema(getattr(declared, "table", declared))
    return pa.table({name: pa.array([row.get(name) for row in rows], schema.field(name).type) for name in schema.names})


def interests(text: np.ndarray) -> Interests:
    """Two themes, about the first title and about the fourth, and an interest in each of them."""
    shares = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    return Interests(text[[0, 3]], shares, np.array([0.5, 0.5], np.float32), np.array([0.5, 0.5], np.float32))


def world() -> Knowledge:
    moment = datetime(2026, 1, 21, tzinfo=UTC)
    items = [
        {"item_id": 10 * n, "title": "t", "kind": "video", "published_at": moment, "moderation_state": "approved"} | row
        for n, row in enumerate(ITEM_ROWS, 1)
    ]
    users = [{"user_id": n} | row for n, row in enumerate(USER_ROWS, 1)]
    users[0]["signup_at"] = moment
    lengths = [len(past) for past in PAST]
    histories = Histories(
        np.arange(1, 4),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.array([item for past in PAST for item, _ in past], np.int64),
        np.array([share for past in PAST for _, share in past], np.float32),
    )
    generator = np.random.default_rng(5)
    text = generator.standard_normal((6, 12)).astype(np.float32)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    text[5] = 0
    played = {"play_count_7d": 3, "play_count_28d": 5, "complete_count_28d": 4, "mean_watched_share_28d": 0.6}
    played |= {"play_count": 9, "last_played_at": moment}

    def vectors(rows: int, width: int) -> Any:
        return generator.standard_normal((rows, width)).astype(np.float32)

    return Knowledge(
        catalogue_from(table(ITEMS, items), DAY),
        table(USERS, users),
        histories,
        table(USER_FEATURES, [played, {}, {}]),
        table(ITEM_FEATURES, [played, {}, {}, played | {"play_count_28d": 50}, {}, {}]),
        vectors(3, 8),
        vectors(6, 8),
        vectors(3, 64),
        vectors(6, 64),
        text,
        Neighbours(np.full((6, 2), -1, np.int32), np.zeros((6, 2), np.float32)),
        interests(text),
        0.1,
    )


def inputs(knowledge: Knowledge, owners: list[int], positions: list[int]) -> RankerInputs:
    count = len(owners)
    context = Context(np.full(count, 6), np.full(count, 5), ["tv"] * count)
    return pair_inputs(
        knowledge, np.array(owners, np.int64), np.array(positions, np.int64), context, np.full(count, -1)
    )


def everything(knowledge: Knowledge) -> RankerInputs:
    return inputs(knowledge, np.repeat(np.arange(3), 6).tolist(), list(range(6)) * 3)


def column(found: RankerInputs, name: str) -> Any:
    return found.dense[:, [feature.name for feature in DENSE_FEATURES].index(name)].reshape(3, 6)


def code(found: RankerInputs, name: str) -> Any:
    return found.codes[:, [categorical.name for categorical in CATEGORICALS].index(name)].reshape(3, 6)


def test_every_input_is_finite_and_every_code_in_its_bucket_whatever_is_unknown() -> None:
    found = everything(world())
    assert np.isfinite(found.dense).all()
    assert (found.codes >= 0).all()
    assert (found.codes < [categorical.bucket_count for categorical in CATEGORICALS]).all()


def test_scores_of_retrieval_are_dot_products() -> None:
    knowledge = world()
    found = everything(knowledge)
    np.testing.assert_allclose(column(found, "als_score"), knowledge.als_users @ knowledge.als_items.T, rtol=1e-5)
    np.testing.assert_allclose(
        column(found, "tower_score"), knowledge.tower_users @ knowledge.tower_items.T, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("cells", [0, 1_000_000])
def test_content_is_held_against_the_completed_titles_kept_or_not(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranker_inputs, "_SIMILARITY_CELLS", cells)
    knowledge = world()
    found = everything(knowledge)
    text = knowledge.text_items
    # Of the first user's history, 40 and 10 were completed, 99 is unknown, 50 was left.
    similar = text[[3, 0]] @ text.T
    similar[:, 5] = 0
    np.testing.assert_allclose(column(found, "content_mean")[0], similar.mean(0), atol=1e-3)
    np.testing.assert_allclose(column(found, "content_best")[0], similar.max(0), atol=1e-3)
    assert not column(found, "content_best")[1].any()
    np.testing.assert_allclose(column(found, "content_best")[2, :5], text[1] @ text[:5].T, atol=1e-3)


def test_a_series_in_progress_is_told_by_its_next_episode() -> None:
    found = everything(world())
    np.testing.assert_array_equal(column(found, "is_next_episode"), [[0, 1, 0, 0, 0, 0], [0] * 6, [0, 0, 1, 0, 0, 0]])
    np.testing.assert_allclose(
        column(found, "episodes_ahead"), [[0, 1, 1 / 2, 0, 0, 0], [0] * 6, [0, 0, 1, 0, 0, 0]], rtol=1e-6
    )
    np.testing.assert_array_equal(
        column(found, "is_out_of_turn"), [[0, 0, 1, 0, 0, 0], [0, 1, 1, 0, 0, 0], [0, 1] + [0] * 4]
    )
    np.testing.assert_allclose(column(found, "series_watched")[0], np.log1p([1, 1, 1, 0, 0, 0]), rtol=1e-6)
    np.testing.assert_allclose(column(found, "series_completed_share")[2], [1 / 3] * 3 + [0] * 3, rtol=1e-6)


def test_a_series_is_told_by_when_it_was_last_played(monkeypatch: pytest.MonkeyPatch) -> None:
    second_series = [ITEM_ROWS[at] | {"series_id": 8, "season": 1, "episode": at - 2} for at in (3, 4)]
    monkeypatch.setitem(globals(), "ITEM_ROWS", [*ITEM_ROWS[:3], *second_series, ITEM_ROWS[5]])
    # The first user went over to the second series, the others went back from the second episode to the first, and
    # left the second one unfinished.
    pasts = [[(10, 1.0), (60, 1.0), (40, 1.0)], [(20, 1.0), (10, 0.9)], [(10, 1.0), (20, 0.3)]]
    monkeypatch.setitem(globals(), "PAST", pasts)
    found = everything(world())
    np.testing.assert_array_equal(column(found, "is_where_left_off"), [[0, 1, 0, 0, 1, 0], [0] * 6, [0] * 6])
    np.testing.assert_array_equal(column(found, "is_next_episode"), [[0, 1, 0, 0, 1, 0], [0, 0, 1, 0, 0, 0], [0] * 6])
    np.testing.assert_allclose(
        column(found, "series_recency"), [[1 / 3] * 3 + [1] * 2 + [0], [1] * 3 + [0] * 3, [1] * 3 + [0] * 3], rtol=1e-6
    )
    np.testing.assert_allclose(
        column(found, "series_turn"), [[1 / 2] * 3 + [1] * 2 + [0], [1] * 3 + [0] * 3, [1] * 3 + [0] * 3], rtol=1e-6
    )


def test_tastes_are_shares_of_what_was_watched() -> None:
    found = everything(world())
    # Known titles of the first user: comedy, drama+crime, crime; of the completed, comedy and drama+crime.
    np.testing.assert_allclose(column(found, "genre_share_5")[0], [1 / 3, 1 / 3, 1 / 3, 1 / 3, 1 / 3, 0], rtol=1e-6)
    np.testing.assert_allclose(column(found, "genre_affinity")[0], [0.5, 0.5, 0.5, 0.5, 0.5, 0], rtol=1e-6)
    np.testing.assert_allclose(column(found, "language_share")[0], [1 / 3] * 3 + [2 / 3] * 2 + [0], rtol=1e-6)
    np.testing.assert_allclose(column(found, "kind_share")[0], [2 / 3] * 4 + [1 / 3, 2 / 3], rtol=1e-6)
    np.testing.assert_allclose(column(found, "creator_watched")[0], np.log1p([2, 2, 2, 1, 2, 0]), rtol=1e-6)
    np.testing.assert_array_equal(column(found, "onboarding_match")[0], [0, 0, 0, 1, 0, 0])
    for name in ("genre_share_5", "genre_share_20", "genre_affinity", "language_share", "kind_share"):
        assert not column(found, name)[1].any()


def test_a_theme_is_worth_what_those_of_a_users_interests_make_of_it() -> None:
    knowledge = world()
    found = column(everything(knowledge), "interest_lift")
    themes = knowledge.interests.themes_of(knowledge.text_items)
    assert (themes[0], themes[3], themes[5]) == (0, 1, -1)
    # Of the first user's titles three have a text: one of each theme, and another; the third user's is an episode
    # whose series began before it, and the second watched nothing.
    watched = np.bincount(themes[[3, 0, 4]], minlength=2).astype(np.float32)
    lifts = knowledge.interests.lifts(np.stack([watched, np.zeros(2, np.float32), np.zeros(2, np.float32)]))
    np.testing.assert_allclose(found[:, :5], lifts[:, themes[:5]], rtol=1e-5)
    assert not found[:, 5].any(), "a title without a text is of no theme"


def test_only_the_last_plays_make_tired_of_a_genre() -> None:
    knowledge = world()
    # The comedy before five others.
    items = np.array([40, 10, 20, 30, 50, 60], np.int64)
    histories = Histories(np.arange(1, 4), np.array([0, 6, 6, 6]), items, np.ones(6, np.float32))
    found = everything(replace(knowledge, histories=histories))
    assert column(found, "genre_share_5")[0, 3] == 0
    assert column(found, "genre_share_20")[0, 3] == pytest.approx(1 / 6)


def test_counts_and_clocks_are_read_as_of_the_day() -> None:
    found = everything(world())
    assert column(found, "user_play_count_7d")[0, 0] == pytest.approx(np.log1p(3))
    assert column(found, "user_idle_days")[:, 0] == pytest.approx(np.log1p([10, 365, 365]))
    assert column(found, "user_age_days")[:, 0] == pytest.approx(np.log1p([10, 0, 0]))
    assert column(found, "item_published_days")[0] == pytest.approx(np.log1p([10] * 6))
    assert column(found, "item_release_years")[0] == pytest.approx(np.log1p([0, 0, 0, 6, 0, 0]))
    # Drawn to the mean of all titles, .6: where nothing is known, it is the mean itself.
    assert column(found, "item_watched_share")[0] == pytest.approx([0.6] * 6)
    assert column(found, "item_trend")[0, :2] == pytest.approx([np.log(13 / 6), 0])
    assert column(found, "hour_sine") == pytest.approx(1)
    assert column(found, "is_weekend") == pytest.approx(1)


def test_codes_know_names_and_not_their_neighbours() -> None:
    knowledge = world()
    found = everything(knowledge)
    assert code(found, "country")[0, 0] == code(found, "country")[2, 0] > 0
    assert code(found, "country")[1, 0] == 0
    assert (code(found, "language")[0, :3] == code(found, "language")[0, 0]).all()
    assert code(found, "language")[0, 0] != code(found, "language")[0, 3]
    assert code(found, "main_genre")[0, 5] == code(found, "creator")[0, 5] == 0
    assert code(found, "item_id")[0, 5] > 0
    assert not code(found, "age_band_x_main_genre")[1:].any()
    # The same language on a day whose catalogue knows only that one.
    alone = name_codes("language", pa.array(["da"]))
    assert code(found, "language")[0, 0] == alone[0]


def test_what_is_declared_is_told_apart() -> None:
    for name, values in (
        ("age_band", ["under_18", "18_24", "25_34", "35_44", "45_54", "55_up"]),
        ("device", ["tv", "phone", "tablet", "web"]),
        ("kind", ["video", "audio"]),
    ):
        assert len(set(name_codes(name, pa.array(values)))) == len(values)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), max_size=12))
def test_a_pair_reads_the_same_whatever_pairs_stand_beside_it(pairs: list[tuple[int, int]]) -> None:
    knowledge = world()
    whole = everything(knowledge)
    found = inputs(knowledge, [owner for owner, _ in pairs], [position for _, position in pairs])
    at = np.array([owner * 6 + position for owner, position in pairs], np.int64)
    np.testing.assert_allclose(found.dense, whole.dense[at], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(found.codes, whole.codes[at])


def test_scoring_reads_what_training_read() -> None:
    knowledge = world()
    owners, positions = np.array([0, 2, 2]), np.array([1, 3, 5])
    context = Context(np.full(3, 20), np.full(3, 4), ["tv", "phone", "phone"])
    shown = pair_inputs(knowledge, owners, positions, context, np.array([0, 3, 19]))
    usual = usual_context(knowledge, owners, np.full(3, 20), np.full(3, 4))
    scored = pair_inputs(knowledge, owners, positions, usual, np.full(3, -1))
    np.testing.assert_array_equal(shown.dense, scored.dense)
    np.testing.assert_array_equal(shown.codes, scored.codes)


def test_pairs_of_several_days_are_joined_in_order() -> None:
    found = everything(world())
    both = joined([found.rows(slice(0, 5)), found.rows(slice(5, None))])
    np.testing.assert_array_equal(both.dense, found.dense)


def test_what_does_not_fit_is_refused() -> None:
    knowledge = world()
    with pytest.raises(DataError, match="outside the 6"):
        inputs(knowledge, [0], [6])
    with pytest.raises(DataError, match="outside the 3"):
        inputs(knowledge, [-1], [0])
    with pytest.raises(DataError, match="not equally long"):
        inputs(knowledge, [0, 1], [0])
    with pytest.raises(DataError, match="als_items has 2 rows where 6"):
        replace(knowledge, als_items=np.zeros((2, 8), np.float32))
    with pytest.raises(DataError, match="dense inputs are"):
        RankerInputs(np.zeros((2, 1)), np.zeros((2, len(CATEGORICALS)), np.int64), np.zeros(2, np.int64))


def test_a_world_without_users_plays_or_texts_still_has_inputs() -> None:
    knowledge = world()
    bare = replace(
        knowledge,
        histories=Histories(np.arange(1, 4), np.zeros(4, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)),
        text_items=np.zeros((6, 0), np.float32),
        interests=no_interests(),
        user_features=table(USER_FEATURES, [{}, {}, {}]),
        item_features=table(ITEM_FEATURES, [{}] * 6),
    )
    assert np.isfinite(everything(bare).dense).all()
    assert len(inputs(bare, [], [])) == 0
