"""Scores of the candidates of many users, by the function that `RankerNetwork` is and with less arithmetic.

A layer is linear before its activation, so what it makes of the columns of a user, and of those of a title, is worked
out once for each of them and added to what it makes of the pair; the same with the dot products of two vectors of a
user, or of two of a title. What is left for each of N pairs: the columns of the pair in the first layer, the dot
products of vectors of different sides, and the layers above.

Shapes: U users, I titles, N pairs, A vectors of a user, B vectors of a title, C vectors of a pair, W their width,
F units of the first layer below, T and S units of the two layers above, H heads, D dot products of a pair.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from feature_defs.ranking import (
    CATEGORICALS,
    CONTEXT_CATEGORICALS,
    CONTEXT_DENSE,
    CROSSED_CATEGORICALS,
    ITEM_CATEGORICALS,
    ITEM_DENSE,
    PAIR_DENSE,
    USER_CATEGORICALS,
    USER_DENSE,
)
from pipelines.models.ranker import ALMOST_CERTAIN, FARTHEST, Ranker
from pipelines.models.ranker_codes import crossed_codes
from pipelines.models.ranker_inputs import CROSSED, Knowledge, moments, pair_inputs, pairs_of, usual_context

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

# Pairs scored at once: what they need stays in the processor's cache.
_PAIRS_AT_ONCE = 2048
# Beyond it a probability is 0 or 1 to the last digit of a score, and its exponential is still a number.
_LARGEST_LOGIT = 80
_USER_COLUMNS = np.r_[: len(USER_DENSE), len(USER_DENSE) + len(ITEM_DENSE) + np.arange(len(CONTEXT_DENSE))]
_ITEM_COLUMNS = len(USER_DENSE) + np.arange(len(ITEM_DENSE))
_PAIR_COLUMNS = len(USER_DENSE) + len(ITEM_DENSE) + len(CONTEXT_DENSE) + np.arange(len(PAIR_DENSE))
# Vectors of each side by their place: 0 is made of the dense features, then come CATEGORICALS in order.
_BOTTOM = 0
_PLACES = np.split(
    1 + np.arange(len(CATEGORICALS)),
    np.cumsum([len(USER_CATEGORICALS), len(ITEM_CATEGORICALS), len(CONTEXT_CATEGORICALS)]),
)
_OF_USERS = [*_PLACES[0].tolist(), *_PLACES[2].tolist()]
_OF_ITEMS, _OF_PAIRS = _PLACES[1].tolist(), _PLACES[3].tolist()


class _Layers(NamedTuple):
    """Weights as matrix products want them, [in, out]; `first` of the columns of a pair, and what they add to heads."""

    first: Floats
    bottom: Floats
    bottom_bias: Floats
    top: Floats
    second: Floats
    second_bias: Floats
    heads: Floats
    means: Floats
    scales: Floats


class _Sides(NamedTuple):
    """What is known of users, or of titles, before any pair: what they add to the first layer below [F], to the first
    above [T] and to the heads [H]; float32, a row each.
    """

    first: Floats
    top: Floats
    heads: Floats


class _Vectors(NamedTuple):
    """Rows of the embedding: `users` float32 [U, A, W] and `titles` float32 [I, B, W]; `crossed` float32
    [C, codes of users, codes of titles, W], padded, the vector of two codes together, where `user_codes` int64 [U, C]
    and `title_codes` int64 [I, C] say which of these codes each has.
    """

    users: Floats
    titles: Floats
    crossed: Floats
    user_codes: Integers
    title_codes: Integers


class _Heads(NamedTuple):
    """How logits become a score: float32 [H] each; a masked head has weight 0."""

    slopes: Floats
    intercepts: Floats
    weights: Floats


def score(
    ranker: Ranker, knowledge: Knowledge, offsets: Integers, positions: Integers, hours: Integers, weekdays: Integers
) -> Floats:
    """What each candidate is worth to its user, as `Ranker.score` says but for rounding: float32 [N].

    Args:
        ranker: scores; one on an accelerator does so by its network.
        knowledge: of U users.
        offsets: int64 [U + 1], where the candidates of each user begin.
        positions: int64 [N], of the candidates in the catalogue.
        hours: int64 [U], the hour to score for.
        weekdays: int64 [U], the day of the week to score for.
    """
    owners = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    if ranker.device.type != "cpu":
        context = usual_context(knowledge, owners, hours, weekdays)
        return ranker.score(pair_inputs(knowledge, owners, positions, context, np.full(len(owners), -1)))
    factored = _Factored(ranker)
    users, titles = factored.users(knowledge, hours, weekdays), factored.titles(knowledge)
    vectors = factored.vectors(knowledge)
    scores = np.empty(len(positions), np.float32)
    start = 0
    while start < len(offsets) - 1:
        end = max(int(np.searchsorted(offsets, offsets[start] + _PAIRS_AT_ONCE, side="right")) - 1, start + 1)
        part = slice(int(offsets[start]), int(offsets[end]))
        if part.stop > part.start:
            pairs = pairs_of(knowledge, owners[part], positions[part])
            factored.write(scores[part], pairs, owners[part], positions[part], users, titles, vectors)
        start = end
    return scores


class _Factored:
    """The weights of a ranker, taken apart by what they are multiplied with."""

    def __init__(self, ranker: Ranker) -> None:
        facts = ranker.facts
        weights = {name: values.detach().numpy() for name, values in ranker.network.state_dict().items()}
        self._weights = weights
        self._means, self._scales = facts.means, facts.scales
        self._starts = ranker.network.starts.numpy()
        width, vectors = weights["bottom.2.weight"].shape[0], len(CATEGORICALS) + 1
        self._units = weights["heads.weight"].shape[1] - len(facts.means)
        # In which column of the first layer above each dot product stands.
        left, right = np.tril_indices(vectors, -1)
        column = np.zeros((vectors, vectors), np.int64)
        column[left, right] = column[right, left] = width + np.arange(len(left))
        self._dot_columns = column
        others = [*_OF_ITEMS, *_OF_USERS, *_OF_PAIRS]
        across = [(_BOTTOM, other) for other in others]
        across += [(item, user) for item in _OF_ITEMS for user in _OF_USERS]
        across += [(pair, other) for pair in _OF_PAIRS for other in others[: others.index(pair)]]
        top = weights["top.0.weight"]
        columns = [*range(width), *(int(column[pair]) for pair in across)]
        self._heads_of_dense = weights["heads.weight"][:, self._units :]
        first = np.concatenate([weights["bottom.0.weight"], self._heads_of_dense])[:, _PAIR_COLUMNS]
        self._layers = _Layers(
            first=np.ascontiguousarray(first.T),
            bottom=np.ascontiguousarray(weights["bottom.2.weight"].T),
            bottom_bias=np.array(weights["bottom.2.bias"]),
            top=np.ascontiguousarray(top[:, columns].T),
            second=np.ascontiguousarray(weights["top.2.weight"].T),
            second_bias=np.array(weights["top.2.bias"]),
            heads=np.ascontiguousarray(weights["heads.weight"][:, : self._units].T),
            means=facts.means[_PAIR_COLUMNS],
            scales=facts.scales[_PAIR_COLUMNS],
        )
        self._embedding = np.array(weights["embedding.weight"])
        self._neutral = facts.neutral
        self._heads = _Heads(
            facts.calibration.slopes.astype(np.float32),
            facts.calibration.intercepts.astype(np.float32),
            np.where(facts.is_masked, 0, facts.weights).astype(np.float32),
        )

    def users(self, knowledge: Knowledge, hours: Integers, weekdays: Integers) -> _Sides:
        """What users add before any pair; also all that does not depend on the pair, such as what is constant."""
        dense = np.concatenate([knowledge.user_dense, moments(hours, weekdays)], axis=1)
        side = self._side(dense, self._user_codes(knowledge), _USER_COLUMNS, _OF_USERS)
        side.first[:] += self._weights["bottom.0.bias"]
        side.top[:] += self._weights["top.0.bias"]
        side.heads[:] += self._weights["heads.bias"] + self._neutral
        return side

    def titles(self, knowledge: Knowledge) -> _Sides:
        """What titles add before any pair."""
        return self._side(knowledge.titles.dense, knowledge.titles.codes, _ITEM_COLUMNS, _OF_ITEMS)

    def vectors(self, knowledge: Knowledge) -> _Vectors:
        """The vectors whose dot products are taken."""
        tables, user_codes, title_codes = [], [], []
        for (user_column, title_column), categorical in zip(CROSSED, CROSSED_CATEGORICALS, strict=True):
            of_user, user_code = np.unique(knowledge.user_codes[:, user_column], return_inverse=True)
            of_title, title_code = np.unique(knowledge.titles.codes[:, title_column], return_inverse=True)
            pairs = np.broadcast_arrays(of_user[:, None], of_title[None])
            tables.append(crossed_codes(pairs[0], pairs[1], categorical.name))
            user_codes.append(user_code)
            title_codes.append(title_code)
        shape = np.max([table.shape for table in tables], axis=0)
        crossed = np.zeros((len(tables), *shape), np.int64)
        for number, table in enumerate(tables):
            crossed[number, : table.shape[0], : table.shape[1]] = table
        return _Vectors(
            self._embedded(self._user_codes(knowledge), _OF_USERS),
            self._embedded(knowledge.titles.codes, _OF_ITEMS),
            self._embedding[crossed + self._starts[np.array(_OF_PAIRS) - 1][:, None, None]],
            np.stack(user_codes, axis=1),
            np.stack(title_codes, axis=1),
        )

    def write(
        self,
        scores: Floats,
        pairs: Floats,
        owners: Integers,
        positions: Integers,
        users: _Sides,
        titles: _Sides,
        vectors: _Vectors,
    ) -> None:
        """Write the scores of some pairs; `pairs` [N, columns of PAIR_DENSE] are standardised in place."""
        layers = self._layers
        _standardise(pairs, layers.means, layers.scales, np.float32(FARTHEST))
        below = pairs @ layers.first
        hidden = _below(below, owners, positions, users, titles)
        bottom = hidden @ layers.bottom
        above = _above(bottom, layers.bottom_bias, owners, positions, vectors, len(layers.top)) @ layers.top
        _add(above, owners, positions, users, titles)
        second = above @ layers.second
        _activate(second, layers.second_bias)
        logits = second @ layers.heads
        _oppose(logits, below, owners, positions, users, titles, self._heads, np.float32(_LARGEST_LOGIT))
        _weigh(scores, np.exp(logits, out=logits), self._heads, ALMOST_CERTAIN)

    def _user_codes(self, knowledge: Knowledge) -> Integers:
        """Codes of the vectors of users: int64 [U, A]."""
        return np.concatenate([knowledge.user_codes, knowledge.device_codes[:, None]], axis=1)

    def _embedded(self, codes: Integers, places: list[int]) -> Floats:
        vectors: Floats = self._embedding[codes + self._starts[np.array(places) - 1]]
        return vectors

    def _side(self, dense: Floats, codes: Integers, columns: Integers, places: list[int]) -> _Sides:
        standardised = (dense - self._means[columns]) / self._scales[columns]
        np.clip(standardised, -FARTHEST, FARTHEST, out=standardised)
        vectors = self._embedded(codes, places)
        left, right = np.tril_indices(len(places), -1)
        dots = np.matmul(vectors, vectors.transpose(0, 2, 1))[:, left, right]
        within = self._weights["top.0.weight"][:, self._dot_columns[np.array(places)[left], np.array(places)[right]]]
        return _Sides(
            first=standardised @ self._weights["bottom.0.weight"][:, columns].T,
            top=dots @ within.T,
            heads=standardised @ self._heads_of_dense[:, columns].T,
        )


@numba.njit(cache=True, nogil=True)
def _standardise(pairs, means, scales, farthest):  # type: ignore[no-untyped-def]
    for row in range(len(pairs)):
        for column in range(len(means)):
            value = (pairs[row, column] - means[column]) / scales[column]
            pairs[row, column] = min(max(value, -farthest), farthest)


@numba.njit(cache=True, nogil=True)
def _below(below, owners, positions, users, titles):  # type: ignore[no-untyped-def]
    """What the first layer says, of pair, user and title together: [N, F]."""
    units = users.first.shape[1]
    hidden = np.empty((len(below), units), np.float32)
    for row in range(len(below)):
        of_pair, of_user, of_title = below[row], users.first[owners[row]], titles.first[positions[row]]
        out = hidden[row]
        for unit in range(units):
            out[unit] = max(of_pair[unit] + of_user[unit] + of_title[unit], np.float32(0))
    return hidden


# Terms of a dot product may be added in any order, so that eight are at a time; it is the same order every time.
@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _dots(out, row, at, met, one, start, end):  # type: ignore[no-untyped-def]
    """Write from `out[row, at]` the dot products of the vector `one` with those from `start` to `end`; four at a time,
    so that none waits for the sum of another.
    """
    width = met.shape[1]
    other = start
    while other + 4 <= end:
        first = second = third = fourth = np.float32(0)
        for k in range(width):
            value = met[one, k]
            first += value * met[other, k]
            second += value * met[other + 1, k]
            third += value * met[other + 2, k]
            fourth += value * met[other + 3, k]
        out[row, at], out[row, at + 1], out[row, at + 2], out[row, at + 3] = first, second, third, fourth
        other += 4
        at += 4
    while other < end:
        total = np.float32(0)
        for k in range(width):
            total += met[one, k] * met[other, k]
        out[row, at] = total
        other += 1
        at += 1


@numba.njit(cache=True, nogil=True)
def _above(bottom, bias, owners, positions, vectors, columns):  # type: ignore[no-untyped-def]
    """What the first layer above reads of pairs: the vector of the dense features, and dot products: [N, W + D]."""
    count, width = bottom.shape
    out = np.empty((count, columns), np.float32)
    of_users, of_titles, of_pairs = vectors.users.shape[1], vectors.titles.shape[1], len(vectors.crossed)
    crossed_from = of_titles + of_users
    dense = crossed_from + of_pairs
    # Of the title, of the user, of the pair and of the dense features, beneath each other; filled number by number, as
    # assigned slices and views cost more than the dot products.
    met = np.empty((dense + 1, width), np.float32)
    owner = -1
    for row in range(count):
        title = positions[row]
        for place in range(of_titles):
            for k in range(width):
                met[place, k] = vectors.titles[title, place, k]
        if owners[row] != owner:
            owner = owners[row]
            for place in range(of_users):
                for k in range(width):
                    met[of_titles + place, k] = vectors.users[owner, place, k]
        for place in range(of_pairs):
            of_user, of_title = vectors.user_codes[owner, place], vectors.title_codes[title, place]
            for k in range(width):
                met[crossed_from + place, k] = vectors.crossed[place, of_user, of_title, k]
        for k in range(width):
            met[dense, k] = bottom[row, k] + bias[k]
            out[row, k] = met[dense, k]
        _dots(out, row, width, met, dense, 0, dense)
        at = width + dense
        # A title's vectors meet those of the user; a pair's meet both, and the pair's before it.
        for one in range(of_titles):
            _dots(out, row, at, met, one, of_titles, crossed_from)
            at += of_users
        for one in range(crossed_from, dense):
            _dots(out, row, at, met, one, 0, one)
            at += one
    return out


@numba.njit(cache=True, nogil=True)
def _add(above, owners, positions, users, titles):  # type: ignore[no-untyped-def]
    for row in range(len(above)):
        of_pair, of_user, of_title = above[row], users.top[owners[row]], titles.top[positions[row]]
        for unit in range(len(of_pair)):
            of_pair[unit] = max(of_pair[unit] + of_user[unit] + of_title[unit], np.float32(0))


@numba.njit(cache=True, nogil=True)
def _activate(values, bias):  # type: ignore[no-untyped-def]
    for row in range(len(values)):
        of_row = values[row]
        for unit in range(len(bias)):
            of_row[unit] = max(of_row[unit] + bias[unit], np.float32(0))


@numba.njit(cache=True, nogil=True)
def _oppose(logits, below, owners, positions, users, titles, heads, largest):  # type: ignore[no-untyped-def]
    """Make what the layers say of heads the opposite of calibrated logits, in place."""
    units = users.first.shape[1]
    for row in range(len(logits)):
        of_user, of_title = users.heads[owners[row]], titles.heads[positions[row]]
        for head in range(len(heads.weights)):
            logit = logits[row, head] + below[row, units + head] + of_user[head] + of_title[head]
            logit = logit * heads.slopes[head] + heads.intercepts[head]
            logits[row, head] = min(max(-logit, -largest), largest)


@numba.njit(cache=True, nogil=True)
def _weigh(scores, odds, heads, almost_certain):  # type: ignore[no-untyped-def]
    """Write scores from the odds against each head: float32 [N, H]."""
    for row in range(len(scores)):
        total = np.float32(0)
        for head in range(len(heads.weights)):
            if heads.weights[head] == 0:
                continue
            likely = np.float32(1) / (np.float32(1) + odds[row, head])
            total += heads.weights[head] * min(likely, almost_certain)
        scores[row] = total
