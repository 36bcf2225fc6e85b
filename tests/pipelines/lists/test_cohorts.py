"""Users without a history get what people like them watch, as far as it is known."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from catalogue_columns import catalogue_columns
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_defs.recommendations import SOURCES
from pipelines.catalogue import Catalogue
from pipelines.errors import DataError
from pipelines.histories import Histories
from pipelines.lists.cohorts import Cohorts, cohort_lists, cohort_vectors
from pipelines.models.als import AlsModel

GENRES = ("comedy", "crime", "drama", "nature")


def users(rows: list[tuple[str | None, str | None, list[str] | None]]) -> pa.Table:
    ages, cities, genres = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table(
        {
            "age_band": pa.array(ages, pa.string()),
            "city": pa.array(cities, pa.string()),
            "onboarding_genres": pa.array(genres, pa.list_(pa.string())),
        }
    )


def catalogue(count: int, hidden: tuple[int, ...] = ()) -> Catalogue:
    shown = ~np.isin(np.arange(count), hidden)
    return catalogue_columns(count, may_be_shown=shown, maturities=np.where(np.arange(count) == 0, 18, 0))


def empty(count: int) -> Histories:
    none = np.zeros(0, np.int64)
    return Histories(np.arange(count), np.zeros(count + 1, np.int64), none, np.zeros(0, np.float32))


def plain(cohorts_of: list[tuple], vectors: np.ndarray, who: tuple, m: float) -> np.ndarray:
    """Shrink from everyone to city, genre, age and genre, all three."""
    answer = vectors.mean(0)
    for picked in ((1,), (2,), (0, 2), (0, 1, 2)):
        members = [row for row, other in enumerate(cohorts_of) if all(other[place] == who[place] for place in picked)]
        answer = (vectors[members].sum(0) + m * answer) / (len(members) + m)
    return answer


attribute = st.sampled_from([None, "a", "b"])


@given(
    st.lists(st.tuples(attribute, attribute, attribute), min_size=1, max_size=30),
    st.tuples(attribute, attribute, st.sampled_from([None, "a", "never seen"])),
    st.integers(0, 10**6),
)
@settings(max_examples=100, deadline=None)
def test_a_vector_is_shrunk_level_by_level(rows: list[tuple], who: tuple, seed: int) -> None:
    vectors = np.random.default_rng(seed).standard_normal((len(rows), 3)).astype(np.float32)

    def table(entries: list[tuple]) -> pa.Table:
        return users([(age, city, None if genre is None else [genre, "z"]) for age, city, genre in entries])

    cohorts = cohort_vectors(vectors, table(rows), np.ones(len(rows), np.bool_), 7.0)
    found = cohorts.vectors_of(table([who]))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], plain(rows, vectors, who, 7.0), rtol=1e-4, atol=1e-5)


def test_a_cold_user_gets_the_taste_of_the_cohort_rather_than_what_is_most_popular() -> None:
    generator = np.random.default_rng(5)
    titles, members = 80, 600
    rows, watched = [], []
    for _ in range(members):
        genre = int(generator.choice(4, p=[0.7, 0.1, 0.1, 0.1]))
        rows.append(
            (str(generator.choice(["18_24", "35_44"])), str(generator.choice(["Oslo", "Rome"])), [GENRES[genre]])
        )
        watched.append(genre * 20 + generator.permutation(20)[:8])
    offsets = np.arange(members + 1) * 8
    histories = Histories(np.arange(members), offsets, np.concatenate(watched) + 1, np.ones(members * 8, np.float32))
    factors = trained(histories, titles)
    als = AlsModel(np.arange(1, titles + 1), factors, 0.1, 1.0)
    cohorts = cohort_vectors(als.encode(histories), users(rows), np.ones(members, np.bool_))
    cold = users([("18_24", "Oslo", [name, "other"]) for name in GENRES])
    lists = cohort_lists(cohorts.vectors_of(cold), factors, catalogue(titles), empty(4), length=10)
    assert (lists.sources == SOURCES.index("cohort")).all()
    assert (lists.reasons == -1).all()
    for genre in range(4):
        mine = lists.positions[lists.offsets[genre] : lists.offsets[genre + 1]]
        assert len(mine) == 10
        assert (mine // 20 == genre).mean() >= 0.9
    popular = np.argsort(-np.bincount(histories.item_ids - 1, minlength=titles))[:10]
    assert (popular // 20 == 0).all(), "most popular knows one taste alone"


def trained(histories: Histories, titles: int) -> np.ndarray:
    watched = np.zeros((len(histories.user_ids), titles), np.float32)
    watched[histories.owners(), histories.item_ids - 1] = 1
    _, weights, axes = np.linalg.svd(watched, full_matrices=False)
    return (axes[:6].T * np.sqrt(weights[:6])).astype(np.float32)


def test_a_user_without_attributes_is_of_a_cohort_of_their_own() -> None:
    table = users([(None, None, None), (None, None, []), ("18_24", "Oslo", ["drama"])])
    vectors = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    cohorts = cohort_vectors(vectors, table, np.ones(3, np.bool_), 0.5)
    nobody, somebody = cohorts.vectors_of(users([(None, None, []), ("18_24", "Oslo", ["drama"])]))
    assert nobody[0] > 0.9
    assert somebody[1] > 0.9


def test_attributes_that_are_nan_or_null_throughout_are_unknown() -> None:
    odd = pa.table(
        {
            "age_band": pa.array([float("nan"), float("nan")]),
            "city": pa.nulls(2),
            "onboarding_genres": pa.nulls(2),
        }
    )
    vectors = np.array([[1, 2], [3, 4]], np.float32)
    cohorts = cohort_vectors(vectors, odd, np.ones(2, np.bool_))
    np.testing.assert_allclose(cohorts.vectors_of(users([(None, None, None)])), [[2, 3]])
    np.testing.assert_allclose(cohorts.vectors_of(odd), [[2, 3]] * 2)


def test_only_users_with_a_history_count() -> None:
    table = users([("18_24", "Oslo", ["drama"])] * 2)
    vectors = np.array([[1, 1], [np.nan, 0]], np.float32)
    cohorts = cohort_vectors(vectors, table, np.array([True, False]))
    np.testing.assert_allclose(cohorts.vectors_of(table), [[1, 1]] * 2)
    with pytest.raises(DataError, match="not all finite"):
        cohort_vectors(vectors, table, np.array([True, True]))
    with pytest.raises(DataError, match="2 users have 1 vectors"):
        cohort_vectors(vectors[:1], table, np.array([True, True]))


def test_with_nobody_to_learn_from_there_are_no_lists() -> None:
    cohorts: Cohorts = cohort_vectors(np.zeros((0, 2), np.float32), users([]), np.zeros(0, np.bool_))
    vectors = cohorts.vectors_of(users([("18_24", "Oslo", None)]))
    assert vectors.tolist() == [[0, 0]]
    lists = cohort_lists(vectors, np.ones((3, 2), np.float32), catalogue(3), empty(1))
    assert lists.offsets.tolist() == [0, 0]


def test_a_list_holds_nothing_seen_hidden_unknown_or_above_the_limit() -> None:
    items = np.array([[9], [8], [7], [6], [5], [0]], np.float32)
    histories = Histories(np.array([4, 5]), np.array([0, 1, 1]), np.array([3]), np.ones(1, np.float32))
    lists = cohort_lists(
        np.ones((2, 1), np.float32), items, catalogue(6, hidden=(3,)), histories, np.array([16, 99]), length=3
    )
    assert lists.offsets.tolist() == [0, 2, 5]
    assert lists.positions.tolist() == [1, 4, 0, 1, 2]
    assert lists.scores.tolist() == [8, 5, 9, 8, 7]


def test_cohorts_come_back_from_their_files() -> None:
    table = users([("18_24", "Oslo", ["drama"]), (None, "Rome", None), ("18_24", None, ["crime"])])
    vectors = np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32)
    cohorts = cohort_vectors(vectors, table, np.ones(3, np.bool_))
    files = cohorts.to_files()
    again = Cohorts.from_files(files)
    assert again.to_files() == files
    np.testing.assert_array_equal(again.vectors_of(table), cohorts.vectors_of(table))
    nobody = cohort_vectors(vectors[:0], table[:0], np.zeros(0, np.bool_))
    assert Cohorts.from_files(nobody.to_files()).vectors_of(table).tolist() == [[0] * 4] * 3


@pytest.mark.parametrize("name", ["cohorts.json", "cohorts.parquet"])
def test_files_that_are_not_those_of_cohorts_are_refused(name: str) -> None:
    cohorts = cohort_vectors(np.ones((1, 2), np.float32), users([(None, None, None)]), np.ones(1, np.bool_))
    files = cohorts.to_files()
    for bad in ({**files, name: b"nonsense"}, {key: content for key, content in files.items() if key != name}):
        with pytest.raises(DataError, match="files of the cohorts"):
            Cohorts.from_files(bad)
    level = replace(cohorts.levels[0], sums=np.full((1, 2), np.nan))
    with pytest.raises(DataError, match="not all finite"):
        Cohorts.from_files(replace(cohorts, levels=(level, *cohorts.levels[1:])).to_files())
