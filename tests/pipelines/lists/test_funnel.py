"""From titles to lists: every stage keeps its promises, for users of every kind."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import small_catalogue as small
import small_models

from feature_defs.ranking import HEADS
from feature_defs.recommendations import NO_REASON, RECOMMENDATIONS, SOURCES
from pipelines.arrow_schemas import arrow_schema
from pipelines.checks import breaches
from pipelines.errors import DataError
from pipelines.histories import Histories
from pipelines.lists.funnel import knowledge_of, recommend, retrieval_for
from pipelines.lists.funnel_configuration import FunnelConfiguration
from pipelines.lists.people import in_memory
from pipelines.lists.ranking import ListConfiguration, slots
from pipelines.lists.scoring import list_rows
from pipelines.models.ranker import Ranker
from pipelines.models.ranker_configuration import RankerConfiguration
from pipelines.models.ranker_inputs import pair_inputs, usual_context
from pipelines.models.ranker_training import train

FUNNEL = FunnelConfiguration()
MODELS = small_models.model_set()
TITLES = small_models.catalogue()
PAST = small_models.past()


def retrieval(catalogue=TITLES, text=None):
    return retrieval_for(MODELS, catalogue, small_models.text() if text is None else text, small_models.popularity())


def knowledge(found, past=PAST, users=None):
    people, titles = small_models.no_features()
    return knowledge_of(MODELS, found, past, users or small_models.users(), people, titles)


@pytest.fixture(scope="module")
def ranker() -> Ranker:
    """Learned on pairs of which those of the titles 1 to 20 are watched, whoever it is."""
    known = knowledge(retrieval())
    owners = np.repeat(np.arange(small_models.USERS), small_models.ITEMS)
    positions = np.tile(np.arange(small_models.ITEMS), small_models.USERS)
    context = usual_context(known, owners, np.full(small_models.USERS, 20), np.zeros(small_models.USERS, np.int64))
    inputs = pair_inputs(known, owners, positions, context, np.full(len(owners), -1))
    labels = np.full((len(owners), len(HEADS)), np.nan, np.float32)
    labels[:, :2] = (positions < 20)[:, None]
    days = np.where(np.arange(len(owners)) % 5 == 0, np.datetime64("2026-02-02"), np.datetime64("2026-02-01"))
    # They are known by their codes alone, in few rows.
    configuration = RankerConfiguration(
        epochs=30, patience=30, batch_size=128, learning_rate=1e-2, code_dropout=0.05, least_code_count=20
    )
    return train(inputs, labels, days.astype("datetime64[D]"), small.DAY, configuration).ranker


def test_users_get_titles_of_their_own_kind_that_are_new_to_them_with_reasons_from_their_history() -> None:
    found = retrieval()
    lists = recommend(MODELS, found, knowledge(found), 0, FUNNEL)
    for user in range(small_models.USERS):
        watched = PAST.item_ids[PAST.offsets[user] : PAST.offsets[user + 1]].tolist()
        ids = [int(TITLES.item_ids[at]) for at in lists.final[user] if at >= 0]
        assert len(ids) == len(set(ids)) == small_models.ITEMS - len(watched)
        assert not set(ids) & set(watched)
        reasons = lists.reasons[user][lists.final[user] >= 0]
        assert (reasons < max(len(watched), 1)).all()
    warm = np.arange(small_models.USERS - 10)
    own = (TITLES.item_ids[lists.retrieved[warm, :10]] - 1) % 2 == warm[:, None] % 2
    assert own.mean() > 0.8


def test_each_stage_gives_the_same_titles_to_a_catalogue_smaller_than_a_list() -> None:
    found = retrieval()
    lists = recommend(MODELS, found, knowledge(found), 0, FUNNEL)
    for user in range(small_models.USERS - 10):
        assert set(lists.retrieved[user]) == set(lists.ranked[user]) == set(lists.final[user])


def test_no_page_holds_more_than_five_titles_of_a_main_genre_while_there_are_others() -> None:
    found = retrieval()
    lists = recommend(MODELS, found, knowledge(found), 0, FUNNEL)
    first = TITLES.main_genres[lists.final[:, :20]]
    assert max(np.bincount(row, minlength=6).max() for row in first) <= 5


def test_users_with_a_short_history_are_proposed_what_suits_their_cohort_and_others_are_not() -> None:
    found = retrieval()
    lists = recommend(MODELS, found, knowledge(found), 0, FUNNEL)
    cold = np.arange(small_models.USERS - 10, small_models.USERS)
    nobody = np.flatnonzero(np.diff(PAST.offsets) == 0)
    assert (lists.sources[nobody, :20] == SOURCES.index("cohort")).any()
    assert (lists.sources[: small_models.USERS - 10] != SOURCES.index("cohort")).all()
    own = (TITLES.item_ids[lists.retrieved[cold, :8]] - 1) % 2 == cold[:, None] % 2
    assert own.mean() > 0.7


def test_the_ranker_decides_the_order_of_what_was_retrieved(ranker: Ranker) -> None:
    found = retrieval()
    lists = recommend(replace(MODELS, ranker=ranker), found, knowledge(found), 0, FUNNEL)
    warm = small_models.USERS - 10
    assert (lists.ranked[:warm, :8] < 20).mean() > 0.9
    assert (lists.retrieved[:warm, :8] < 20).mean() < 0.6


def test_a_title_published_since_is_placed_by_its_content_and_one_that_was_withdrawn_is_in_no_list() -> None:
    genres = ["Comedy", "Drama", "War", "Crime", "Music", "Sport"]
    withdrawn = [None] * 61
    withdrawn[3] = small._EARLY
    today = small.catalogue(61, genres=[[genres[item % 6]] for item in range(61)], withdrawn_at=withdrawn)
    text = np.concatenate([small_models.text(), small_models.text()[:1]])
    found = retrieval(today, text)
    np.testing.assert_array_equal(found.tower_items[:60], MODELS.item_vectors)
    people, titles = small_models.no_features()
    known = knowledge_of(MODELS, found, PAST, small_models.users(), people, titles.take(pa.array([*range(60), 0])))
    lists = recommend(MODELS, found, known, 0, FUNNEL)
    warm = small_models.USERS - 10
    assert (lists.final[:warm] == 60).any(1).all()
    assert not (lists.final == 3).any()


def test_a_history_of_one_title_an_unknown_user_and_a_user_without_attributes_have_lists() -> None:
    found = retrieval()
    past = Histories(np.array([1, 2, 999]), np.array([0, 1, 1, 2]), np.array([5, 7]), np.ones(2, np.float32))
    bare = small.users(2)
    lists = recommend(MODELS, found, knowledge(found, past, bare), 0, replace(FUNNEL, cold_below=0))
    assert ((lists.final >= 0).sum(1) >= small_models.ITEMS - 1).all()


def test_titles_above_the_limit_of_a_profile_are_in_no_list_of_it() -> None:
    grown_up = [18 if item < 30 else 0 for item in range(small_models.ITEMS)]
    genres = ["Comedy", "Drama", "War", "Crime", "Music", "Sport"]
    found = retrieval(small.catalogue(60, maturity=grown_up, genres=[[genres[item % 6]] for item in range(60)]))
    limits = [7 if user % 2 else None for user in range(small_models.USERS)]
    users = small.users(small_models.USERS, maturity_limit=limits)
    lists = recommend(MODELS, found, knowledge(found, PAST, users), 0, FUNNEL)
    young = np.arange(small_models.USERS) % 2 == 1
    assert not ((lists.final[young] >= 0) & (lists.final[young] < 30)).any()
    assert (lists.final[~young] < 30).any(1).all()


def test_rows_fit_their_declaration_and_their_reasons_point_into_the_history() -> None:
    people, titles = small_models.no_features()
    configuration = replace(FUNNEL, lists=ListConfiguration(length=20, history_length=4))
    batches = list_rows(
        "r",
        "0/1",
        MODELS,
        retrieval(),
        in_memory(PAST, small_models.users(), people),
        titles,
        small.DAY,
        configuration,
    )
    rows = pa.Table.from_batches(batches, arrow_schema(RECOMMENDATIONS))
    assert breaches(RECOMMENDATIONS, rows) == []
    assert rows.num_rows == small_models.USERS
    for user, row in enumerate(rows.to_pylist()):
        watched = PAST.item_ids[PAST.offsets[user] : PAST.offsets[user + 1]].tolist()
        assert row["history"] == watched[::-1][:4]
        assert {len(row[name]) for name in ("item_ids", "scores", "sources", "reasons")} == {20}
        assert all(reason == NO_REASON or reason < len(row["history"]) for reason in row["reasons"])
    assert slots(rows).num_rows == 20 * small_models.USERS


def test_lists_do_not_depend_on_how_many_threads_make_them(ranker: Ranker) -> None:
    people, titles = small_models.no_features()
    models = replace(MODELS, ranker=ranker)
    one, three = (
        pa.Table.from_batches(
            list_rows(
                "r",
                "0/1",
                models,
                retrieval(),
                in_memory(PAST, small_models.users(), people, 7),
                titles,
                small.DAY,
                FUNNEL,
                threads,
            ),
            arrow_schema(RECOMMENDATIONS),
        )
        for threads in (1, 3)
    )
    assert one.equals(three)
    assert one.column("user_id").to_pylist() == PAST.user_ids.tolist()


def test_an_error_in_making_lists_is_raised_where_they_are_read() -> None:
    people, titles = small_models.no_features()
    with pytest.raises(DataError, match="item_features has 59 rows"):
        list(
            list_rows(
                "r",
                "0/1",
                MODELS,
                retrieval(),
                in_memory(PAST, small_models.users(), people),
                titles[:59],
                small.DAY,
                FUNNEL,
            )
        )


def test_no_users_make_no_rows() -> None:
    people, titles = small_models.no_features()
    nobody = PAST.of(np.zeros(0, np.int64))
    none = in_memory(nobody, small_models.users(), people)
    assert list(list_rows("r", "0/1", MODELS, retrieval(), none, titles, small.DAY, FUNNEL)) == []
