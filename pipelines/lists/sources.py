"""What each source proposes to users: their best titles that are not forbidden, best first, ties by position.

Every function returns int64 [B, C], positions in the catalogue, -1 where a source has no more.
Shapes: B users, I titles, C places, W width of a vector, H newest titles.
"""

from datetime import date

import numba
import numpy as np
from numpy.typing import NDArray

from feature_defs.interactions import COMPLETE_SHARE
from pipelines.catalogue import Catalogue
from pipelines.histories import Histories
from pipelines.largest import BINS, largest, write_largest
from pipelines.models.item_item import Neighbours
from pipelines.models.nearest import NearestIndex
from pipelines.models.recent import Recent

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Blocked = NDArray[np.bool_]


def by_vectors(users: Floats, items: Floats, is_known: NDArray[np.bool_], blocked: Blocked, count: int) -> Integers:
    """The titles with the largest inner products.

    Args:
        users: float32 [B, W]; nothing for a zero row.
        items: float32 [I, W].
        is_known: bool [I], the titles that have a vector.
        blocked: bool [B, I].
        count: places, C.
    """
    scores = users @ items.T
    found = np.full((len(users), min(count, len(items))), -1, np.int64)
    if found.size:
        _write_best(found, scores, np.asarray(users.any(1)), is_known, blocked)
    return found


@numba.njit(cache=True, nogil=True)
def _write_best(found, scores, is_asking, is_known, blocked):  # type: ignore[no-untyped-def]
    """The best of each row that are known and not blocked; `scores` are lost."""
    titles = scores.shape[1]
    bins, counts, taken = np.empty(titles, np.int16), np.empty(BINS + 1, np.int32), np.empty(titles, np.int32)
    for user in range(len(scores)):
        if not is_asking[user]:
            continue
        row, closed = scores[user], blocked[user]
        for title in range(titles):
            row[title] = row[title] if is_known[title] & (not closed[title]) else np.float32(-np.inf)
        write_largest(row, found[user], bins, counts, taken)


def by_index(index: NearestIndex, users: Floats, is_known: NDArray[np.bool_], blocked: Blocked, count: int) -> Integers:
    """The same by an index: more are asked for than needed, and more again for users left short by what is blocked."""
    found = np.full((len(users), min(count, index.count)), -1, np.int64)
    asking = np.flatnonzero(users.any(1))
    wide = min(2 * count, index.count)
    while len(asking) and wide:
        _, positions = index.search(users[asking], wide)
        at = np.maximum(positions, 0)
        is_open = (positions >= 0) & is_known[at] & ~blocked[asking[:, None], at]
        found[asking] = _first(positions, is_open, found.shape[1])
        if wide == index.count:
            break
        asking = asking[(found[asking] < 0).any(1)]
        wide = min(wide * 4, index.count)
    return found


def by_neighbours(neighbours: Neighbours, recent: Recent, blocked: Blocked, count: int) -> Integers:
    """The neighbours of what a user watched lately, by the sum of their weights, each by the share watched."""
    found = np.full((len(blocked), min(count, blocked.shape[1])), -1, np.int64)
    if found.size:
        _write_near(found, neighbours.positions, neighbours.weights, recent.positions, recent.shares, blocked)
    return found


@numba.njit(cache=True, nogil=True)
def _write_near(found, neighbours, weights, watched, shares, blocked):  # type: ignore[no-untyped-def]
    titles = blocked.shape[1]
    sums, row = np.zeros(titles, np.float64), np.full(titles, -np.inf, np.float32)
    bins, counts, taken = np.empty(titles, np.int16), np.empty(BINS + 1, np.int32), np.empty(titles, np.int32)
    for user in range(len(found)):
        for back in range(watched.shape[1]):
            title = watched[user, back]
            if title < 0:
                continue
            for place in range(neighbours.shape[1]):
                other = neighbours[title, place]
                if other >= 0 and not blocked[user, other]:
                    sums[other] += weights[title, place] * shares[user, back]
        for title in range(titles):
            row[title] = sums[title] if sums[title] > 0 else -np.inf
        sums[:] = 0
        write_largest(row, found[user], bins, counts, taken)


def text_profiles(text_items: Floats, recent: Recent, length: int) -> Floats:
    """The mean text vector of the newest titles of users, by the share watched: float32 [B, D]."""
    positions = recent.positions[:, :length]
    shares = np.where(positions >= 0, recent.shares[:, :length], 0)
    vectors = text_items[np.maximum(positions, 0)] if len(text_items) else np.zeros((*positions.shape, 0), np.float32)
    profiles: Floats = np.matmul(shares[:, None, :], vectors)[:, 0]
    return profiles


def first_open(order: Integers, blocked: Blocked, count: int) -> Integers:
    """The first titles of an order, the same for all users, that are open to each.

    Args:
        order: int64 [R], positions.
        blocked: bool [B, I].
        count: places, C.
    """
    found = np.full((len(blocked), min(count, len(order))), -1, np.int64)
    _write_first_open(found, order, blocked)
    return found


@numba.njit(cache=True, nogil=True)
def _write_first_open(found, order, blocked):  # type: ignore[no-untyped-def]
    for user in range(len(found)):
        place = 0
        for title in order:
            if place == found.shape[1]:
                break
            if not blocked[user, title]:
                found[user, place] = title
                place += 1


def next_episodes(
    catalogue: Catalogue, histories: Histories, blocked: Blocked, count: int, *, ahead: int = 0
) -> Integers:
    """The episodes that follow those watched to the end, those of the newest first; then those after these.

    Args:
        catalogue: of I titles.
        histories: of the users, B, oldest first.
        blocked: bool [B, I].
        count: places, C.
        ahead: how many episodes after the next one are proposed too.
    """
    found = np.full((len(blocked), count), -1, np.int64)
    positions = catalogue.positions(histories.item_ids)
    may_continue = (positions >= 0) & (histories.shares >= COMPLETE_SHARE)
    following = np.where(may_continue, catalogue.next_episodes[positions], -1) if len(catalogue) else positions
    _write_following(found, np.array(histories.offsets, np.int64), following, blocked, catalogue.next_episodes, ahead)
    return found


@numba.njit(cache=True, nogil=True)
def _write_following(found, offsets, following, blocked, next_episodes, ahead):  # type: ignore[no-untyped-def]
    for user in range(len(found)):
        place = 0
        for at in range(offsets[user + 1] - 1, offsets[user] - 1, -1):
            if place == found.shape[1]:
                break
            if following[at] >= 0 and not blocked[user, following[at]]:
                found[user, place] = following[at]
                place += 1
        chains = found[user, :place].copy()
        for _ in range(ahead):
            for chain in range(len(chains)):
                if chains[chain] >= 0:
                    chains[chain] = next_episodes[chains[chain]]
                title = chains[chain]
                if title < 0 or place == found.shape[1] or blocked[user, title] or title in found[user, :place]:
                    continue
                found[user, place] = title
                place += 1


def new_titles(
    catalogue: Catalogue,
    users: Floats,
    items: Floats,
    blocked: Blocked,
    count: int,
    *,
    days: int,
    bonus: float,
) -> Integers:
    """The titles published lately, by tower score and a bonus that falls with their age.

    Args:
        catalogue: of I titles.
        users: float32 [B, W]; for a zero row the newest come first.
        items: float32 [I, W].
        blocked: bool [B, I].
        count: places, C.
        days: how long a title is new.
        bonus: of a title published today, in standard deviations of the user's scores of new titles.
    """
    # What is published on the day that lists are for, planned as it is, is as new as what was published today.
    ages = np.maximum((catalogue.day - date(1970, 1, 1)).days - catalogue.published_days, 0)
    new = np.flatnonzero(ages < days)
    if not len(new):
        return np.full((len(blocked), 0), -1, np.int64)
    scores = users @ items[new].T
    spread = scores.std(1, keepdims=True)
    fresh = (1 - ages[new] / days).astype(np.float32) * np.float32(bonus)
    scores += np.where(spread > 0, spread, 1) * fresh
    scores[blocked[:, new]] = -np.inf
    best = largest(scores, count)
    return np.where(best >= 0, new[best], -1)


def _first(positions: Integers, is_open: NDArray[np.bool_], count: int) -> Integers:
    """The first open ones of each row: int64 [B, count], -1 where there are fewer."""
    found = np.full((len(positions), count), -1, np.int64)
    ranks = np.cumsum(is_open, axis=1, dtype=np.int32) - 1
    rows, columns = np.nonzero(is_open & (ranks < count))
    found[rows, ranks[rows, columns]] = positions[rows, columns]
    return found
