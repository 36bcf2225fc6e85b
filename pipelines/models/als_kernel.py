"""The user half-step of ALS, and what it leaves behind for the item half-step, in one pass over users; compiled.

In the axes in which Y'Y is diagonal, the normal equations of a user are a diagonal matrix and one term for each title:
conjugate gradient, preconditioned by the diagonal, multiplies by them in 2 N K steps and needs few rounds. It starts
from the history alone, so a user's vector follows from Y and from nothing that a worker would have to keep.

Shapes: U users, I items, K factors, N interactions.
"""

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# Of the squared length of the solution, in the norm of its own equations: what is left when a user counts as solved.
# The next round asks again; of a user who is encoded, as little is left as float32 tells apart.
IN_A_ROUND, TO_THE_END = np.float32(1e-4), np.float32(1e-11)


# Sums may be taken in lanes: in which order is settled when compiled, not when run.
@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def solve_users(
    offsets: NDArray[np.int64],
    items: NDArray[np.int32],
    confidence: Floats,
    item_factors: Floats,
    eigenvalues: Floats,
    regularization: np.float32,
    tolerance: np.float32,
    user_factors: Floats,
    sums: tuple[Floats, Floats, Floats] | None,
) -> float:
    """Solve (Y'Y + sum c yy' + lambda n I) x = sum (1 + c) y for each user, and add to the sums of their items.

    Takacs, Pilaszy, Tikk, "Applications of the Conjugate Gradient Method for Implicit Feedback Collaborative Filtering"
    (2011), here with a preconditioner and without the last round's vectors.

    Args:
        offsets: int64 [U + 1], where each user's interactions stand.
        items: int32 [N], rows of `item_factors`.
        confidence: float32 [N], c: what an interaction weighs more than none.
        item_factors: float32 [I, K], Y, in axes in which Y'Y is diagonal.
        eigenvalues: float32 [K], that diagonal, greater than 0.
        regularization: lambda.
        tolerance: how closely to solve, `IN_A_ROUND` or `TO_THE_END`.
        user_factors: float32 [U, K], filled with x; zero for users without a title.
        sums: what is added to, of items: residual float32 [I, K], sum (1 + c - c x'y) x; mean float32 [I, K], sum c x;
            spread float32 [I], sum c x'x. None where nobody asks.

    Returns:
        The share of these users in the objective, without the ridge of items.
    """
    width = item_factors.shape[1]
    rows = np.empty((np.diff(offsets).max() if len(offsets) > 1 else 0, width), np.float32)
    right, ridge, diagonal = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    scratch = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    one = np.float32(1)
    objective = 0.0
    for user in range(len(offsets) - 1):
        begin, end = offsets[user], offsets[user + 1]
        x, own_items, own = user_factors[user], items[begin:end], confidence[begin:end]
        ridge[:] = eigenvalues + regularization * np.float32(end - begin)
        _gather(item_factors, own_items, own, ridge, rows, right, diagonal)
        objective += np.float64(own.sum() + np.float32(end - begin)) - _solve(
            ridge, rows, own, right, diagonal, tolerance, x, scratch
        )
        if sums is not None:
            residual, mean, spread = sums
            squared = np.float32(0)
            for k in range(width):
                squared += x[k] * x[k]
            for n in range(end - begin):
                row, item, c = rows[n], own_items[n], own[n]
                score = np.float32(0)
                for k in range(width):
                    score += row[k] * x[k]
                weight = one + c - c * score
                to_residual, to_mean = residual[item], mean[item]
                for k in range(width):
                    to_residual[k] += weight * x[k]
                    to_mean[k] += c * x[k]
                spread[item] += c * squared
    return objective


@numba.njit(cache=True, nogil=True, inline="always", fastmath={"reassoc", "contract", "nsz"})
def _gather(
    item_factors: Floats,
    items: NDArray[np.int32],
    confidence: Floats,
    ridge: Floats,
    rows: Floats,
    right: Floats,
    diagonal: Floats,
) -> None:
    """Fill the rows of a user's titles [N, K], and of the normal equations the right side and the diagonal [K]."""
    width = len(ridge)
    for k in range(width):
        right[k] = 0
        diagonal[k] = ridge[k]
    for n in range(len(items)):
        row, source, c = rows[n], item_factors[items[n]], confidence[n]
        for k in range(width):
            value = source[k]
            row[k] = value
            right[k] += (np.float32(1) + c) * value
            diagonal[k] += c * value * value


@numba.njit(cache=True, nogil=True, inline="always", fastmath={"reassoc", "contract", "nsz"})
def _solve(
    ridge: Floats,
    rows: Floats,
    confidence: Floats,
    right: Floats,
    diagonal: Floats,
    tolerance: np.float32,
    x: Floats,
    scratch: tuple[Floats, Floats, Floats],
) -> float:
    """Fill x [K] by conjugate gradient; gives what its right side and what is left of it are worth along x."""
    width = len(x)
    left, direction, product = scratch
    for k in range(width):
        x[k] = right[k] / diagonal[k]
    _multiply(ridge, rows, confidence, x, product)
    energy, worth = np.float32(0), np.float32(0)
    for k in range(width):
        left[k] = right[k] - product[k]
        direction[k] = left[k] / diagonal[k]
        energy += left[k] * direction[k]
        worth += right[k] * x[k]
    for _ in range(width):
        if not energy > tolerance * worth:
            break
        _multiply(ridge, rows, confidence, direction, product)
        curvature = np.float32(0)
        for k in range(width):
            curvature += direction[k] * product[k]
        step = energy / curvature
        before, energy = energy, np.float32(0)
        for k in range(width):
            x[k] += step * direction[k]
            left[k] -= step * product[k]
            energy += left[k] * left[k] / diagonal[k]
        for k in range(width):
            direction[k] = left[k] / diagonal[k] + energy / before * direction[k]
    worth = np.float32(0)
    for k in range(width):
        worth += (right[k] + left[k]) * x[k]
    return float(worth)


@numba.njit(cache=True, nogil=True, inline="always", fastmath={"reassoc", "contract", "nsz"})
def _multiply(ridge: Floats, rows: Floats, confidence: Floats, vector: Floats, product: Floats) -> None:
    """`product` [K] becomes the matrix of a user's normal equations times `vector` [K]."""
    width = len(vector)
    for k in range(width):
        product[k] = ridge[k] * vector[k]
    for n in range(len(confidence)):
        row = rows[n]
        score = np.float32(0)
        for k in range(width):
            score += row[k] * vector[k]
        score *= confidence[n]
        for k in range(width):
            product[k] += score * row[k]
