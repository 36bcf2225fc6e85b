"""ALS finds planted structure, encodes users as its training does, and its reasons add up to its scores."""

import numpy as np
import pytest

from pipelines.errors import DataError
from pipelines.histories import Histories
from pipelines.models.als import AlsModel


def histories(rows: dict[int, list[int]], shares: float = 1.0) -> Histories:
    offsets = np.concatenate([[0], np.cumsum([len(items) for items in rows.values()])]).astype(np.int64)
    items = np.array([item for row in rows.values() for item in row], np.int64)
    return Histories(np.array(list(rows), np.int64), offsets, items, np.full(len(items), shares, np.float32))


@pytest.fixture
def model() -> AlsModel:
    generator = np.random.default_rng(3)
    factors = generator.standard_normal((50, 8)).astype(np.float32)
    return AlsModel(np.arange(10, 60, dtype=np.int64), factors, regularization=0.1, alpha=5.0)


def test_a_user_is_encoded_as_the_solution_of_the_normal_equations(model: AlsModel) -> None:
    past = {1: [10, 12, 30], 2: [11], 3: list(range(20, 60)), 4: [], 5: [999]}
    vectors = model.encode(histories(past, shares=0.5))
    for row, items in zip(vectors, past.values(), strict=True):
        rows = model.item_factors[[item - 10 for item in items if item < 100]].astype(float)
        if not len(rows):
            assert not row.any()
            continue
        weight = 5.0 * 0.5
        everything = model.item_factors.astype(float)
        system = everything.T @ everything + weight * rows.T @ rows + 0.1 * len(rows) * np.eye(8)
        np.testing.assert_allclose(row, np.linalg.solve(system, (1 + weight) * rows.sum(0)), rtol=2e-3, atol=2e-4)


def test_wide_factors_and_much_confidence_are_solved_as_closely_as_float32_tells_apart() -> None:
    generator = np.random.default_rng(5)
    # Titles that are nearly alike, as those of a learned model are: equations that are hard to solve.
    factors = (generator.standard_normal((400, 6)) @ generator.standard_normal((6, 64))).astype(np.float32)
    factors += 0.05 * generator.standard_normal((400, 64)).astype(np.float32)
    model = AlsModel(np.arange(400, dtype=np.int64), factors, regularization=0.05, alpha=40.0)
    past = {user: sorted(generator.choice(400, int(generator.integers(1, 200)), replace=False)) for user in range(60)}
    vectors, everything = model.encode(histories(past)), factors.astype(float)
    for row, items in zip(vectors, past.values(), strict=True):
        rows = everything[items]
        system = everything.T @ everything + 40 * rows.T @ rows + 0.05 * len(rows) * np.eye(64)
        exact = np.linalg.solve(system, 41 * rows.sum(0))
        assert np.abs(everything @ row - everything @ exact).max() < 2e-3, "scores are of the size of 1"


def test_of_nobody_there_are_no_vectors(model: AlsModel) -> None:
    assert model.encode(histories({})).shape == (0, 8)


def test_what_a_user_is_given_does_not_depend_on_who_else_is_encoded(model: AlsModel) -> None:
    past = {user: list(range(10, 10 + user % 7 + 1)) for user in range(1, 40)}
    together = model.encode(histories(past))
    for row, (user, items) in enumerate(past.items()):
        np.testing.assert_allclose(together[row], model.encode(histories({user: items}))[0], rtol=1e-4, atol=1e-5)


def test_a_model_comes_back_from_its_files_and_broken_ones_are_refused(model: AlsModel) -> None:
    files = model.to_files()
    again = AlsModel.from_files(files)
    np.testing.assert_array_equal(again.item_factors, model.item_factors)
    assert again.to_files() == files
    with pytest.raises(DataError, match="the files of ALS cannot be read"):
        AlsModel.from_files({**files, "als.parquet": b"PAR1"})
    with pytest.raises(DataError, match="ALS says 3 factors and holds 8"):
        AlsModel.from_files({**files, "als.json": b'{"factors": 3, "regularization": 0.1, "alpha": 1}'})


def test_factors_that_are_not_finite_or_do_not_fit_are_refused() -> None:
    ids = np.arange(3, dtype=np.int64)
    with pytest.raises(DataError, match="not all finite"):
        AlsModel(ids, np.full((3, 2), np.nan, np.float32), 0.1, 1.0)
    with pytest.raises(DataError, match="3 items and 2 rows"):
        AlsModel(ids, np.zeros((2, 2), np.float32), 0.1, 1.0)
