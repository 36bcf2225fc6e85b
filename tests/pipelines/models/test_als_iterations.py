"""Our rounds of ALS, without Spark: held against normal equations solved one by one in double precision."""

import numpy as np
import pytest

from pipelines.models.als import AlsConfiguration
from pipelines.models.als_blocks import ItemSums, UserBlock, lay_out, solve_block
from pipelines.models.als_iterations import ItemTotals, learn_items

USERS, ITEMS, FACTORS = 400, 120, 8


def plays(seed: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A long tail with planted tastes; each pair once."""
    generator = np.random.default_rng(seed)
    tastes = generator.standard_normal((USERS, 4)) @ generator.standard_normal((4, ITEMS))
    watched = generator.random((USERS, ITEMS)) < 1 / (1 + np.exp(2 + np.arange(ITEMS) / 30 - tastes))
    users, items = np.nonzero(watched)
    return users, items, generator.uniform(0.05, 1, len(users)).astype(np.float32)


def exact(matrix: np.ndarray, factors: np.ndarray, alpha: float, regularization: float) -> np.ndarray:
    """The other half [rows, K], in double precision, of shares [rows, columns]."""
    solved = []
    for row in matrix:
        rows, confidence = factors[row > 0], alpha * row[row > 0][:, None]
        system = factors.T @ factors + (rows * confidence).T @ rows + regularization * len(rows) * np.eye(FACTORS)
        solved.append(np.linalg.solve(system, (rows * (1 + confidence)).sum(0)))
    return np.array(solved)


def objective(users: np.ndarray, items: np.ndarray, matrix: np.ndarray, alpha: float, regularization: float) -> float:
    """Over all pairs, as it is written."""
    error = ((1 + alpha * matrix) * ((matrix > 0) - users @ items.T) ** 2).sum()
    counts = [(matrix > 0).sum(1), (matrix > 0).sum(0)]
    return error + regularization * sum((n * (f**2).sum(1)).sum() for n, f in zip(counts, (users, items), strict=True))


def dense(block: UserBlock) -> np.ndarray:
    matrix = np.zeros((len(block.offsets) - 1, len(block.item_ids)))
    matrix[np.repeat(np.arange(len(matrix)), np.diff(block.offsets)), block.items] = block.shares
    return matrix


@pytest.mark.parametrize(("alpha", "regularization"), [(1.0, 0.1), (10.0, 0.05), (40.0, 0.01), (0.0, 0.1)])
def test_what_a_block_gives_back_is_the_sum_over_its_users(alpha: float, regularization: float) -> None:
    block = lay_out(*plays())
    matrix = dense(block)
    axes = np.linalg.svd(np.random.default_rng(3).standard_normal((len(block.item_ids), FACTORS)), full_matrices=False)
    factors = axes.U * axes.S
    sums = solve_block(
        block, factors.astype(np.float32), (axes.S**2).astype(np.float32), alpha=alpha, regularization=regularization
    )
    users = exact(matrix, factors, alpha, regularization)
    confidence = alpha * matrix
    weight = (matrix > 0) * (1 + confidence) - confidence * (users @ factors.T)
    for found, true in (
        (sums.residual, weight.T @ users),
        (sums.mean, confidence.T @ users),
        (sums.spread, confidence.T @ (users**2).sum(1)),
        (sums.gram, users.T @ users),
        (sums.weighted, (users * confidence.sum(1)[:, None]).T @ users),
    ):
        np.testing.assert_allclose(found, true, atol=0.02 * max(np.abs(true).max(), 1e-9))
    ridge = regularization * ((matrix > 0).sum(0) * (factors**2).sum(1)).sum()
    assert sums.objective + ridge == pytest.approx(objective(users, factors, matrix, alpha, regularization), rel=1e-4)


@pytest.mark.parametrize(
    ("alpha", "regularization", "share"),
    # The larger alpha, the more of an item's equations is the term that is not taken whole.
    [(1.0, 0.1, 1.01), (10.0, 0.05, 1.01), (40.0, 0.01, 1.01), (200.0, 0.05, 1.04)],
)
def test_rounds_end_where_exact_half_steps_end(alpha: float, regularization: float, share: float) -> None:
    block = lay_out(*plays())
    matrix = dense(block)
    configuration = AlsConfiguration(FACTORS, 15, regularization, alpha)
    ours = learn_items(*over([block], configuration), configuration).astype(np.float64)
    theirs = np.random.default_rng(1).standard_normal(ours.shape) / np.sqrt(FACTORS)
    for _ in range(configuration.iterations):
        theirs = exact(matrix.T, exact(matrix, theirs, alpha, regularization), alpha, regularization)
    reached, to_reach = (
        objective(exact(matrix, items, alpha, regularization), items, matrix, alpha, regularization)
        for items in (ours, theirs)
    )
    assert reached < share * to_reach


def over(blocks: list[UserBlock], configuration: AlsConfiguration):
    def sums_over_users(items: np.ndarray, eigenvalues: np.ndarray) -> ItemSums:
        parts = [
            solve_block(
                block, items, eigenvalues,
                alpha=configuration.alpha, regularization=configuration.regularization,
            )
            for block in blocks
        ]  # fmt: skip
        names = ("residual", "mean", "spread", "gram", "weighted", "objective")
        return ItemSums(*(sum(getattr(part, name) for part in parts) for name in names))

    counts, shares = (sum(of) for of in zip(*((b.item_counts(), b.item_shares()) for b in blocks), strict=True))
    return ItemTotals(counts, shares), sums_over_users


def test_a_round_that_went_too_far_is_taken_half_back() -> None:
    asked = []

    def rising(items: np.ndarray, eigenvalues: np.ndarray) -> ItemSums:
        asked.append(items.copy())
        width = items.shape[1]
        eye = np.eye(width, dtype=np.float32)
        zeros = np.zeros_like(items)
        return ItemSums(zeros + 1, zeros, zeros[:, 0], eye, eye, float(len(asked)))

    configuration = AlsConfiguration(factors=2, iterations=3, regularization=0.0)
    learn_items(ItemTotals(np.ones(5, np.int64), np.ones(5)), rising, configuration)
    first, second, third = (items @ items.T for items in asked)
    # Axes are turned from round to round, lengths and angles are not.
    assert np.abs(third - first).sum() < np.abs(second - first).sum()


def test_rows_are_laid_out_once_each_in_the_order_of_ids_and_come_back_from_their_bytes() -> None:
    users = np.array([9, 2, 9, 2, 9, 4], np.int64)
    items = np.array([30, 10, 20, 10, 20, 40], np.int64)
    shares = np.array([0.5, 0.25, 0.75, 1.0, 0.5, 0.0], np.float32)
    block = lay_out(users, items, shares)
    assert block.item_ids.tolist() == [10, 20, 30, 40]
    assert block.offsets.tolist() == [0, 1, 1, 3]
    assert block.items.tolist() == [0, 1, 2]
    assert block.shares.tolist() == [1.0, 0.75, 0.5]
    assert block.item_counts().tolist() == [1, 1, 1, 0]
    again = UserBlock.from_bytes(block.to_bytes())
    for name in ("item_ids", "offsets", "items", "shares"):
        np.testing.assert_array_equal(getattr(again, name), getattr(block, name))


def test_a_block_without_users_adds_nothing() -> None:
    empty = lay_out(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
    sums = solve_block(empty, np.zeros((0, 3), np.float32), np.ones(3, np.float32), alpha=1.0, regularization=0.1)
    assert sums.objective == 0 and not sums.gram.any()
