"""What histories say whatever their order, beside what the towers read from it: a factorisation of who watched what.

Attention over the newest titles predicts what comes next. Which titles go together over whole histories is said better
by squares over all pairs (Hu, Koren, Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", 2008): a title
has factors, made of unit length, and a user is their least squares over all that was watched, however long ago. A title
without factors gets them from its content, by what content says of the factors of others.

Shapes: U users, I titles, E width of the towers, K width of taste.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.histories import Histories
from pipelines.models.als import AlsConfiguration, AlsModel
from pipelines.models.als_blocks import lay_out, solve_block
from pipelines.models.als_iterations import ItemTotals, learn_items
from pipelines.sorted_ids import positions_among

Floats = NDArray[np.float32]

# Rounds, confidence and ridge by which titles' factors are learned, and those by which a user follows from them.
_ROUNDS, _LEARNED_ALPHA, _ALPHA, _RIDGE = 10, 2.0, 10.0, 0.1
# Of what content says of factors: what keeps few titles from saying much.
_RIDGE_OF_CONTENT = 1.0
# Plays learned from, at most, of users drawn evenly: titles' factors do not get better for more.
_PLAYS = 10_000_000


@dataclass(frozen=True)
class Taste:
    """Factors of titles, and what content says of them.

    `factors`: float32 [I, K], of unit length, or zero where nothing of the title was watched. `of_content`: float32
    [E, K], by which the vector of a title without its id becomes factors.
    """

    factors: Floats
    of_content: Floats

    def of_titles(self, positions: NDArray[np.int64], without_ids: Callable[[NDArray[np.int64]], Floats]) -> Floats:
        """Unit factors of titles: float32 [I, K].

        Args:
            positions: of the titles among those learned from, -1 for others: int64 [I].
            without_ids: gives the unit vectors [M, E] of M of these titles, as the towers place them by content alone.
        """
        # The last row is of titles that are not known.
        factors = np.concatenate([self.factors, np.zeros_like(self.factors[:1])])[positions]
        unknown = np.flatnonzero(~factors.any(1))
        if len(unknown):
            factors[unknown] = _unit(without_ids(unknown) @ self.of_content)
        return factors


def learn_taste(histories: Histories, item_ids: NDArray[np.int64], without_ids: Floats, width: int, seed: int) -> Taste:
    """Factorise what users watched.

    Args:
        histories: to learn from.
        item_ids: the titles learned from, ascending, int64 [I].
        without_ids: their unit vectors, as the towers place them by content alone, float32 [I, E]; a title of which
            content is not known any more has zeros, and says nothing of it.
        width: K.
        seed: of the first factors, and of which users are drawn where there are many.
    """
    configuration = AlsConfiguration(width, _ROUNDS, _RIDGE, _LEARNED_ALPHA, seed)
    plays = histories.where(np.isin(histories.item_ids, item_ids))
    share = _PLAYS / max(len(plays.item_ids), 1)
    if share < 1:
        drawn = np.random.default_rng(seed).random(len(plays.user_ids)) < share
        plays = plays.of(plays.user_ids[drawn])
    block = lay_out(plays.owners(), plays.item_ids, plays.shares)
    factors = np.zeros((len(item_ids), width), np.float32)
    at = positions_among(item_ids, block.item_ids)
    if len(at):
        factors[at] = learn_items(
            ItemTotals(block.item_counts(), block.item_shares()),
            lambda items, eigenvalues: solve_block(
                block, items, eigenvalues, alpha=_LEARNED_ALPHA, regularization=_RIDGE
            ),
            configuration,
        )
    factors = _unit(factors)
    known = without_ids[at].astype(np.float64)
    system = known.T @ known + _RIDGE_OF_CONTENT * np.eye(known.shape[1])
    return Taste(factors, np.linalg.solve(system, known.T @ factors[at]).astype(np.float32))


def users_by_taste(histories: Histories, item_ids: NDArray[np.int64], factors: Floats) -> Floats:
    """Users by all they watched: float32 [U, K]; titles that they watched score up to 1, zero without any.

    Args:
        histories: of the users.
        item_ids: titles, ascending, int64 [I].
        factors: theirs, of unit length, float32 [I, K].
    """
    return AlsModel(item_ids, factors, _RIDGE, _ALPHA).encode(histories)


def _unit(rows: Floats) -> Floats:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Floats = (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return unit
