"""What the ranker reads of a user and a title together: compiled, one user at a time.

What a user watched is counted once, into rows as long as the catalogue has titles, series or names, when their first
pair comes; each of their pairs then reads what it needs, and the rows are emptied again. So memory does not grow with
users, and nothing is searched for.

Shapes: U users, I titles, G genres, N pairs, M titles in all histories, K factors of ALS, W width of a tower vector,
D width of a text vector, C themes of texts, P columns of PAIR_DENSE.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from feature_defs.ranking import CONTENT_LENGTH, FATIGUE_LENGTHS, MOST_AHEAD, PAIR_DENSE
from pipelines.models.ranker_titles import SIMILARITY_ONE

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


class Pasts(NamedTuple):
    """Histories of U users, oldest first.

    `offsets`: int64 [U + 1]. `titles`: int64 [M], positions in the catalogue, -1 for titles that are not there.
    `shares`: float32 [M], 0 to 1, how much of each title was watched. `is_complete`: bool [M].
    """

    offsets: Integers
    titles: Integers
    shares: Floats
    is_complete: NDArray[np.bool_]


class UserSides(NamedTuple):
    """Of U users: vectors `als` [U, K] and `towers` [U, W]; mean and standard deviation of their ALS scores of all
    titles, the logarithm of the sum of their exponentiated tower logits, all float32 [U]; the genres they picked at
    sign-up, float32 [U, G]; and what their interests say of themes, float32 [U, C].
    """

    als: Floats
    towers: Floats
    als_means: Floats
    als_spreads: Floats
    tower_normalisers: Floats
    picked_genres: Floats
    interest_lifts: Floats


class TitleSides(NamedTuple):
    """Of I titles: vectors `als` [I, K], `towers` [I, W] and `texts` [I, D]; `similarities` of texts, int16 [I, I], or
    without rows where they are too many to be kept; `neighbours` int32 [I, J] and their weights float32 [I, J];
    `genre_weights` float32 [I, G]; codes int64 [I], -1 where nothing is known; `series_lengths` by code of series.
    """

    als: Floats
    towers: Floats
    texts: Floats
    similarities: NDArray[np.int16]
    has_text: NDArray[np.bool_]
    neighbours: NDArray[np.int32]
    neighbour_weights: Floats
    genre_weights: Floats
    has_genre: NDArray[np.bool_]
    themes: Integers
    main_genres: Integers
    languages: Integers
    kinds: Integers
    creators: Integers
    series: Integers
    next_episodes: Integers
    previous_episodes: Integers
    series_lengths: Integers


_AT = {feature.name: column for column, feature in enumerate(PAIR_DENSE)}
_ALS_SCORE, _ALS_STANDING = _AT["als_score"], _AT["als_standing"]
_TOWER_SCORE, _TOWER_LOG_SHARE = _AT["tower_score"], _AT["tower_log_share"]
_ITEM_ITEM_SCORE = _AT["item_item_score"]
_CONTENT_MEAN, _CONTENT_BEST = _AT["content_mean"], _AT["content_best"]
_IS_NEXT_EPISODE, _SERIES_WATCHED = _AT["is_next_episode"], _AT["series_watched"]
_EPISODES_AHEAD, _IS_OUT_OF_TURN = _AT["episodes_ahead"], _AT["is_out_of_turn"]
_SERIES_COMPLETED_SHARE = _AT["series_completed_share"]
_IS_WHERE_LEFT_OFF, _SERIES_RECENCY, _SERIES_TURN = _AT["is_where_left_off"], _AT["series_recency"], _AT["series_turn"]
_SHORT, _LONG = FATIGUE_LENGTHS
_GENRE_SHARE_SHORT, _GENRE_SHARE_LONG = _AT[f"genre_share_{_SHORT}"], _AT[f"genre_share_{_LONG}"]
_LANGUAGE_SHARE, _KIND_SHARE = _AT["language_share"], _AT["kind_share"]
_CREATOR_WATCHED = _AT["creator_watched"]
_GENRE_AFFINITY, _ONBOARDING_MATCH = _AT["genre_affinity"], _AT["onboarding_match"]
_INTEREST_LIFT = _AT["interest_lift"]
_SIMILARITY = np.float32(1 / SIMILARITY_ONE)
_PLACES_OF_A_CACHE_LINE = 32
_ZERO, _MINUS_ONE = np.float32(0), np.float32(-1)


def pair_dense(
    owners: Integers,
    positions: Integers,
    pasts: Pasts,
    users: UserSides,
    titles: TitleSides,
    temperature: float,
    recent_length: int,
) -> Floats:
    """The columns of PAIR_DENSE: float32 [N, P].

    Args:
        owners: int64 [N], rows of users; those of one user are best kept together.
        positions: int64 [N], of titles.
        pasts: of the users.
        users: what is known of them.
        titles: what is known of titles.
        temperature: by which a cosine of the towers is divided to be a logit.
        recent_length: newest titles of a history that neighbours are counted of.
    """
    out = np.empty((len(owners), len(PAIR_DENSE)), np.float32)
    _write(out, owners, positions, pasts, users, titles, np.float32(temperature), recent_length)
    return out


@numba.njit(cache=True, nogil=True)
def _write(  # type: ignore[no-untyped-def]  # noqa: PLR0915
    out, owners, positions, pasts, users, titles, temperature, recent_length
):
    items, genres = titles.genre_weights.shape
    series_watched = np.zeros(len(titles.series_lengths) + 1, np.int32)
    series_completed = np.zeros(len(titles.series_lengths) + 1, np.int32)
    # Of each series in a history the title played last, how many titles were played since, and how many other series.
    last_of_series = np.zeros((len(titles.series_lengths) + 1, 3), np.int64)
    creators = np.zeros(max(titles.creators.max() + 1 if items else 0, 1), np.int32)
    languages = np.zeros(max(titles.languages.max() + 1 if items else 0, 1), np.int32)
    kinds = np.zeros(max(titles.kinds.max() + 1 if items else 0, 1), np.int32)
    # Of the last completed titles, the last genre standing for none.
    tastes = np.zeros((1, genres), np.float32)
    short = np.zeros(genres + 1, np.float32)
    long = np.zeros(genres + 1, np.float32)
    near = np.zeros(items, np.float64)
    is_played = np.zeros(items, np.bool_)
    # How many episodes after a completed one, 0 for none.
    ahead = np.zeros(items, np.int64)
    recent = np.empty(CONTENT_LENGTH, np.int64)
    sums = np.empty(len(owners), np.float32)
    bests = np.empty(len(owners), np.float32)
    known = completed = recents = 0
    owner = -1
    for pair in range(len(owners)):
        if owners[pair] != owner:
            if owner >= 0:
                _forget(
                    pasts, owner, titles, series_watched, series_completed, creators, languages, kinds, near, is_played,
                    ahead,
                )  # fmt: skip
            owner = owners[pair]
            known, completed, recents = _remember(
                pasts, owner, titles, recent_length, series_watched, series_completed, last_of_series, creators,
                languages, kinds, tastes, short, long, near, is_played, ahead, recent,
            )  # fmt: skip
            _compare(sums, bests, owners, positions, pair, titles, recent, recents)
        title = positions[pair]
        row = out[pair]

        als = _dot(users.als, owner, titles.als, title)
        row[_ALS_SCORE] = als
        row[_ALS_STANDING] = (als - users.als_means[owner]) / users.als_spreads[owner] if als != 0 else _ZERO
        towers = _dot(users.towers, owner, titles.towers, title)
        row[_TOWER_SCORE] = towers
        row[_TOWER_LOG_SHARE] = towers / temperature - users.tower_normalisers[owner]
        row[_ITEM_ITEM_SCORE] = np.float32(np.log1p(near[title])) if near[title] != 0 else _ZERO

        row[_CONTENT_MEAN] = sums[pair] / np.float32(max(recents, 1))
        row[_CONTENT_BEST] = bests[pair] if recents > 0 and titles.has_text[title] else _ZERO

        # In place: a call that is given the sides of titles costs as much as all other columns.
        series = titles.series[title]
        row[_IS_NEXT_EPISODE] = np.float32(1) if ahead[title] == 1 else _ZERO
        row[_EPISODES_AHEAD] = np.float32(1) / np.float32(ahead[title]) if ahead[title] > 0 else _ZERO
        row[_IS_OUT_OF_TURN] = np.float32(1) if _is_out_of_turn(titles.previous_episodes[title], is_played) else _ZERO
        row[_IS_WHERE_LEFT_OFF] = row[_SERIES_RECENCY] = row[_SERIES_TURN] = _ZERO
        if series >= 0 and series_watched[series] > 0:
            if ahead[title] == 1 and titles.previous_episodes[title] == last_of_series[series, 0]:
                row[_IS_WHERE_LEFT_OFF] = np.float32(1)
            row[_SERIES_RECENCY] = np.float32(1) / np.float32(1 + last_of_series[series, 1])
            row[_SERIES_TURN] = np.float32(1) / np.float32(1 + last_of_series[series, 2])
        row[_SERIES_WATCHED] = np.float32(np.log1p(series_watched[series])) if series >= 0 else _ZERO
        row[_SERIES_COMPLETED_SHARE] = (
            np.float32(series_completed[series]) / np.float32(titles.series_lengths[series]) if series >= 0 else _ZERO
        )
        main_genre = titles.main_genres[title]
        row[_GENRE_SHARE_SHORT] = short[main_genre] / np.float32(max(min(known, _SHORT), 1))
        row[_GENRE_SHARE_LONG] = long[main_genre] / np.float32(max(min(known, _LONG), 1))
        language, kind, creator = titles.languages[title], titles.kinds[title], titles.creators[title]
        shown = np.float32(max(known, 1))
        row[_LANGUAGE_SHARE] = np.float32(languages[language]) / shown if language >= 0 else _ZERO
        row[_KIND_SHARE] = np.float32(kinds[kind]) / shown if kind >= 0 else _ZERO
        row[_CREATOR_WATCHED] = np.float32(np.log1p(creators[creator])) if creator >= 0 else _ZERO
        row[_GENRE_AFFINITY] = _dot(tastes, 0, titles.genre_weights, title) / np.float32(max(completed, 1))
        row[_ONBOARDING_MATCH] = _dot(users.picked_genres, owner, titles.genre_weights, title)
        theme = titles.themes[title]
        row[_INTEREST_LIFT] = users.interest_lifts[owner, theme] if theme >= 0 else _ZERO


@numba.njit(cache=True, nogil=True)
def _is_out_of_turn(previous, is_played):  # type: ignore[no-untyped-def]
    return previous >= 0 and not is_played[previous]


# Terms may be added in any order, so that eight are at a time; it is the same order every time.
@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _dot(left, of_left, right, of_right):  # type: ignore[no-untyped-def]
    """Dot product of a row of each; given by their numbers, as a view of a row costs as much as the product."""
    total = _ZERO
    for k in range(left.shape[1]):
        total += left[of_left, k] * right[of_right, k]
    return total


@numba.njit(cache=True, nogil=True)
def _compare(sums, bests, owners, positions, start, titles, recent, recents):  # type: ignore[no-untyped-def]
    """Write the sum and the largest of the similarities of the titles `recent` to those of the pairs of the user whose
    first is `start`; one of `recent` after the other, so that its row of the table is fetched once.
    """
    end = start
    while end < len(owners) and owners[end] == owners[start]:
        sums[end], bests[end] = _ZERO, _MINUS_ONE
        end += 1
    is_kept, items = len(titles.similarities) > 0, titles.similarities.shape[1]
    # A row read from end to end comes faster than many places of it, if most of its cache lines are wanted.
    is_copied = is_kept and (end - start) * _PLACES_OF_A_CACHE_LINE >= items
    line = np.empty(items if is_copied else 0, np.int16)
    for back in range(recents):
        seen = recent[back]
        if is_copied:
            for title in range(items):
                line[title] = titles.similarities[seen, title]
            for pair in range(start, end):
                similarity = np.float32(line[positions[pair]]) * _SIMILARITY
                sums[pair] += similarity
                bests[pair] = max(bests[pair], similarity)
        elif is_kept:
            for pair in range(start, end):
                similarity = np.float32(titles.similarities[seen, positions[pair]]) * _SIMILARITY
                sums[pair] += similarity
                bests[pair] = max(bests[pair], similarity)
        else:
            for pair in range(start, end):
                similarity = _dot(titles.texts, seen, titles.texts, positions[pair])
                sums[pair] += similarity
                bests[pair] = max(bests[pair], similarity)


@numba.njit(cache=True, nogil=True)
def _remember(  # type: ignore[no-untyped-def]  # noqa: PLR0912
    pasts, owner, titles, recent_length, series_watched, series_completed, last_of_series, creators, languages, kinds,
    tastes, short, long, near, is_played, ahead, recent,
):  # fmt: skip
    """Count what a user watched; how many titles are known and completed, and how many of `recent` have a text."""
    tastes[0, :] = 0
    short[:] = 0
    long[:] = 0
    known = completed = recents = begun = 0
    newest = pasts.offsets[owner + 1] - 1
    for at in range(newest, pasts.offsets[owner] - 1, -1):
        title = pasts.titles[at]
        if title < 0:
            continue
        is_played[title] = True
        series, main_genre = titles.series[title], titles.main_genres[title]
        if main_genre >= 0 and known < _SHORT:
            short[main_genre] += 1
        if main_genre >= 0 and known < _LONG:
            long[main_genre] += 1
        if series >= 0 and series_watched[series] == 0:
            last_of_series[series, 0], last_of_series[series, 1], last_of_series[series, 2] = title, known, begun
            begun += 1
        known += 1
        if titles.languages[title] >= 0:
            languages[titles.languages[title]] += 1
        if titles.kinds[title] >= 0:
            kinds[titles.kinds[title]] += 1
        if titles.creators[title] >= 0:
            creators[titles.creators[title]] += 1
        if series >= 0:
            series_watched[series] += 1
        if pasts.is_complete[at]:
            if completed < len(recent) and titles.has_text[title]:
                recent[recents] = title
                recents += 1
            completed += 1
            if series >= 0:
                series_completed[series] += 1
            for genre in range(tastes.shape[1]):
                if titles.has_genre[title, genre]:
                    tastes[0, genre] += 1
        if newest - at < recent_length:
            for place in range(titles.neighbours.shape[1]):
                other = titles.neighbours[title, place]
                if other >= 0:
                    near[other] += titles.neighbour_weights[title, place] * pasts.shares[at]
    for at in range(pasts.offsets[owner], newest + 1):
        if pasts.titles[at] < 0 or not pasts.is_complete[at]:
            continue
        title, distance = titles.next_episodes[pasts.titles[at]], 1
        while title >= 0 and distance <= MOST_AHEAD and not is_played[title]:
            ahead[title] = distance
            title, distance = titles.next_episodes[title], distance + 1
    return known, completed, recents


@numba.njit(cache=True, nogil=True)
def _forget(  # type: ignore[no-untyped-def]
    pasts, owner, titles, series_watched, series_completed, creators, languages, kinds, near, is_played, ahead
):
    """Empty what `_remember` filled."""
    languages[:] = 0
    kinds[:] = 0
    for at in range(pasts.offsets[owner], pasts.offsets[owner + 1]):
        title = pasts.titles[at]
        if title < 0:
            continue
        is_played[title] = False
        if titles.creators[title] >= 0:
            creators[titles.creators[title]] = 0
        if titles.series[title] >= 0:
            series_watched[titles.series[title]] = 0
            series_completed[titles.series[title]] = 0
        following, distance = titles.next_episodes[title], 1
        while following >= 0 and distance <= MOST_AHEAD:
            ahead[following] = 0
            following, distance = titles.next_episodes[following], distance + 1
        for place in range(titles.neighbours.shape[1]):
            if titles.neighbours[title, place] >= 0:
                near[titles.neighbours[title, place]] = 0
