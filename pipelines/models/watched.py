"""What users watched, counted by genre, language, kind, creator and series: what a title is held against.

Shapes: U users, I titles, N titles in all histories.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_defs.interactions import COMPLETE_SHARE
from feature_defs.ranking import CONTENT_LENGTH, FATIGUE_LENGTHS
from pipelines.catalogue import Catalogue
from pipelines.histories import Histories

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class SparseCounts:
    """Numbers by sparse key: `keys` int64 ascending, `values` float32; 0 for other keys."""

    keys: Integers
    values: Floats

    def of(self, keys: Integers) -> Floats:
        """The number of each key."""
        if not len(self.keys):
            return np.zeros(len(keys), np.float32)
        at = np.searchsorted(self.keys, keys)
        np.minimum(at, len(self.keys) - 1, out=at)
        return np.where(self.keys[at] == keys, self.values[at], np.float32(0))


def _counts(keys: Integers) -> SparseCounts:
    distinct, counts = np.unique(keys, return_counts=True)
    return SparseCounts(distinct, counts.astype(np.float32))


@dataclass(frozen=True)
class Watched:
    """What users watched, by kind of thing. Shares have a last column of zeros, where the code -1 finds it.

    `recent`: int64 [U, CONTENT_LENGTH], last completed titles, -1 where there are no more. `next_episodes`: keys
    user x (I + 1) + title. `series`, `series_completed`: titles by user x (I + 1) + series; `creators` alike.
    """

    recent: Integers
    genre_shares: Floats
    lately: tuple[Floats, ...]
    language_shares: Floats
    kind_shares: Floats
    creators: SparseCounts
    series: SparseCounts
    series_completed: SparseCounts
    next_episodes: SparseCounts
    series_lengths: Floats


def watched_by(catalogue: Catalogue, histories: Histories) -> Watched:
    """What is counted of the histories of U users; titles that are not in the catalogue count for nothing."""
    users, base = len(histories.user_ids), len(catalogue) + 1
    known = histories.where(catalogue.positions(histories.item_ids) >= 0)
    titles, owners = catalogue.positions(known.item_ids), known.owners()
    back = known.positions_from_newest()
    is_complete = known.shares >= COMPLETE_SHARE
    completed = known.where(is_complete)
    completed_titles, completed_owners = titles[is_complete], completed.owners()
    completed_back = completed.positions_from_newest()
    recent = np.full((users, CONTENT_LENGTH), -1, np.int64)
    is_recent = completed_back < CONTENT_LENGTH
    recent[completed_owners[is_recent], completed_back[is_recent]] = completed_titles[is_recent]
    genres = np.zeros((users, len(catalogue.genre_names)), np.float32)
    for genre in range(genres.shape[1]):
        genres[:, genre] = np.bincount(completed_owners[catalogue.has_genre[completed_titles, genre]], minlength=users)
    genres /= np.maximum(np.diff(completed.offsets), 1)[:, None].astype(np.float32)
    series = catalogue.series[titles]
    following = catalogue.next_episodes[completed_titles]
    following_keys = (completed_owners * base + following)[following >= 0]
    played = np.unique(owners * base + titles)
    creators = catalogue.creators[titles]
    in_series = catalogue.series[catalogue.series >= 0]
    return Watched(
        recent=recent,
        genre_shares=genres,
        lately=tuple(
            _shares(owners[back < length], catalogue.main_genres[titles[back < length]], users, genres.shape[1])
            for length in FATIGUE_LENGTHS
        ),
        language_shares=_shares(owners, catalogue.languages[titles], users, len(catalogue.language_names)),
        kind_shares=_shares(owners, catalogue.kinds[titles], users, len(catalogue.kind_names)),
        creators=_counts((owners * base + creators)[creators >= 0]),
        series=_counts((owners * base + series)[series >= 0]),
        series_completed=_counts((owners * base + series)[is_complete & (series >= 0)]),
        next_episodes=_counts(np.setdiff1d(following_keys, played)),
        series_lengths=np.bincount(in_series, minlength=1).astype(np.float32),
    )


def _shares(owners: Integers, codes: Integers, users: int, names: int) -> Floats:
    """Which part of each user's titles has each code: float32 [U, names + 1]; the last column is zero."""
    is_known = codes >= 0
    flat = np.bincount(owners[is_known] * (names + 1) + codes[is_known], minlength=users * (names + 1))
    totals = np.maximum(np.bincount(owners, minlength=users), 1)
    return np.asarray(flat.reshape(users, names + 1) / totals[:, None], np.float32)
