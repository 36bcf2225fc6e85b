"""The index finds the nearest vectors, belongs to the vectors it was built from, and says so."""

from collections.abc import Iterator

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import DataError
from pipelines.models.nearest import NearestIndex, build, centres_of


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(before)


def clustered(seed: int, count: int, width: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((200, width))
    vectors = centres[generator.integers(0, 200, count)] + 0.5 * generator.standard_normal((count, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 70), st.integers(1, 40))
@settings(max_examples=100, deadline=None)
def test_an_exact_search_is_a_sort_by_score_and_then_by_position(seed: int, count: int, k: int, queries: int) -> None:
    generator = np.random.default_rng(seed)
    # Small whole numbers: many equal scores, and no rounding.
    vectors = generator.integers(-2, 3, (count, 3)).astype(np.float32)
    asked = generator.integers(-2, 3, (queries, 3)).astype(np.float32)
    scores, positions = build(vectors).search(asked, k)
    products = asked @ vectors.T
    for row in range(queries):
        expected = sorted(range(count), key=lambda position: (-products[row, position], position))[:k]
        assert positions[row].tolist() == expected
        assert scores[row].tolist() == products[row, expected].tolist()


def test_a_graph_finds_what_an_exact_search_finds() -> None:
    vectors, queries = clustered(1, 20_000, 32), clustered(2, 200, 32)
    exact, graph = build(vectors), build(vectors, exact_up_to=1000)
    assert exact.is_exact
    assert not graph.is_exact
    wanted, found = exact.search(queries, 100)[1], graph.search(queries, 100)[1]
    recall = np.mean([np.isin(row, other).mean() for row, other in zip(wanted, found, strict=True)])
    assert recall >= 0.95
    again = build(vectors, exact_up_to=1000)
    assert again.to_bytes() == graph.to_bytes(), "on one thread the same vectors give the same graph"


@pytest.mark.parametrize("exact_up_to", [1000, 10])
def test_an_index_comes_back_from_its_bytes(exact_up_to: int) -> None:
    vectors, queries = clustered(3, 300, 16), clustered(4, 20, 16)
    index = build(vectors, exact_up_to)
    again = NearestIndex.from_bytes(index.to_bytes())
    again.check_belongs(vectors)
    assert again.is_exact == index.is_exact == (exact_up_to == 1000)
    for one, other in zip(index.search(queries, 30), again.search(queries, 30), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_index_of_other_vectors_is_refused() -> None:
    vectors = clustered(5, 50, 8)
    index = build(vectors)
    index.check_belongs(vectors.copy())
    other = vectors.copy()
    other[3, 2] += 1e-4
    with pytest.raises(DataError, match="other vectors"):
        index.check_belongs(other)
    with pytest.raises(DataError, match="50 vectors of width 8"):
        index.check_belongs(vectors[:-1])
    with pytest.raises(DataError, match="50 vectors of width 8"):
        index.check_belongs(vectors[:, :-1])
    with pytest.raises(DataError, match="width 8"):
        index.search(vectors[:, :-1], 3)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_refused(value: float) -> None:
    vectors = clustered(6, 20, 4)
    index = build(vectors)
    vectors[7, 1] = value
    with pytest.raises(DataError, match="not all finite"):
        build(vectors)
    with pytest.raises(DataError, match="not all finite"):
        index.search(vectors, 2)


def test_bytes_that_are_no_index_are_refused() -> None:
    content = build(clustered(7, 20, 4)).to_bytes()
    with pytest.raises(DataError, match="not an index"):
        NearestIndex.from_bytes(b"something else")
    with pytest.raises(DataError, match="damaged"):
        NearestIndex.from_bytes(content[:-40])


def test_an_empty_index_finds_nothing() -> None:
    scores, positions = build(np.zeros((0, 4), np.float32)).search(np.ones((3, 4), np.float32), 5)
    assert scores.shape == positions.shape == (3, 0)


def test_middles_of_planted_groups_are_found() -> None:
    generator = np.random.default_rng(8)
    middles = np.eye(10, 24, dtype=np.float32)
    vectors = middles[generator.permutation(np.repeat(np.arange(10), 40))]
    vectors = vectors + 0.05 * generator.standard_normal(vectors.shape).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    near = centres_of(vectors, 10, 1) @ middles.T
    assert sorted(near.argmax(1)) == list(range(10))
    assert near.max(1).min() > 0.95


def test_middles_are_the_same_with_any_number_of_threads_and_others_with_another_seed() -> None:
    vectors = clustered(5, 3000, 48)
    found = centres_of(vectors, 60, 1)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    faiss.omp_set_num_threads(2)
    np.testing.assert_array_equal(centres_of(vectors, 60, 1), found)
    assert not np.array_equal(centres_of(vectors, 60, 2), found)
