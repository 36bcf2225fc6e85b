"""What the ranker reads of titles alone: worked out once, however many users are scored or learned from.

Shapes: I titles, G genres, K factors of ALS, D width of a text vector.
"""

from dataclasses import dataclass
from functools import cached_property
from threading import Lock

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_defs.ranking import ITEM_CATEGORICALS, ITEM_DENSE
from pipelines.catalogue import Catalogue
from pipelines.models.interests import Interests
from pipelines.models.ranker_codes import indexed_codes, number_codes
from pipelines.models.ranker_counts import EPOCH, PLAY_COUNTS, drawn_share, numbers

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

# What a similarity of 1 is as a 16-bit integer.
SIMILARITY_ONE = 32767
# Titles whose similarities are worked out together, always the same ones: a product is then the same to the last bit,
# whichever of them is asked for first.
_ROWS_AT_ONCE = 128


class Similarities:
    """Similarities of the texts of titles: `table` int16 [I, I], 1 being `SIMILARITY_ONE`, its rows filled when wanted.

    Memory is taken row by row as they are filled.
    """

    def __init__(self, text_items: Floats) -> None:
        self._text_items = text_items
        self._is_filled = np.zeros(-(-len(text_items) // _ROWS_AT_ONCE), np.bool_)
        self._filling = Lock()
        self.table = np.empty((len(text_items), len(text_items)), np.int16)

    def fill(self, titles: Integers) -> None:
        """See that the rows of these titles are there."""
        wanted = np.unique(titles // _ROWS_AT_ONCE)
        with self._filling:
            for part in wanted[~self._is_filled[wanted]]:
                rows = slice(part * _ROWS_AT_ONCE, (part + 1) * _ROWS_AT_ONCE)
                products = self._text_items[rows] @ self._text_items.T
                self.table[rows] = np.rint(np.clip(products, -1, 1) * np.float32(SIMILARITY_ONE))
                self._is_filled[part] = True


@dataclass(frozen=True)
class Titles:
    """What is known of I titles at the end of a day, aligned with the catalogue.

    `item_features`: rows of ITEM_FEATURES, null where there are none. `als_items`: float32 [I, K]. `text_items`:
    float32 [I, D], of unit length, zeros where a title has no text. `interests`: in whose themes they fall.
    """

    catalogue: Catalogue
    item_features: pa.Table
    als_items: Floats
    text_items: Floats
    interests: Interests

    @cached_property
    def dense(self) -> Floats:
        """Dense features: float32 [I, columns of ITEM_DENSE]."""
        catalogue, features = self.catalogue, self.item_features
        day = catalogue.day.toordinal() - EPOCH
        years = np.where(catalogue.release_years > 0, catalogue.day.year - catalogue.release_years, 0)
        recent, month = numbers(features, "play_count_7d"), numbers(features, "play_count_28d")
        columns = {
            **{f"item_{name}": np.log1p(numbers(features, name)) for name in PLAY_COUNTS},
            "item_trend": np.log((4 * recent + 1) / (month + 1)),
            "item_watched_share": drawn_share(features, "mean_watched_share_28d"),
            "item_complete_share": drawn_share(features, "complete_count_28d"),
            "item_published_days": np.log1p((day - catalogue.published_days).clip(0)),
            "item_release_years": np.log1p(years.clip(0)),
            "item_maturity": catalogue.maturities / 18,
            "item_is_episode": catalogue.series >= 0,
            "item_has_text": self.has_text,
        }
        return np.stack([columns[feature.name] for feature in ITEM_DENSE], axis=1).astype(np.float32)

    @cached_property
    def codes(self) -> Integers:
        """Codes: int64 [I, columns of ITEM_CATEGORICALS]."""
        catalogue = self.catalogue
        columns = {
            "main_genre": indexed_codes(catalogue.genre_names, catalogue.main_genres, "main_genre"),
            "language": indexed_codes(catalogue.language_names, catalogue.languages, "language"),
            "kind": indexed_codes(catalogue.kind_names, catalogue.kinds, "kind"),
            "creator": indexed_codes(catalogue.creator_names, catalogue.creators, "creator"),
            "item_id": number_codes(catalogue.item_ids, "item_id"),
        }
        return np.stack([columns[categorical.name] for categorical in ITEM_CATEGORICALS], axis=1)

    @cached_property
    def has_text(self) -> NDArray[np.bool_]:
        """Which titles have a text vector: bool [I]."""
        return np.asarray(self.text_items.any(1))

    @cached_property
    def themes(self) -> Integers:
        """The theme of each title: int64 [I], -1 where it has no text."""
        return self.interests.themes_of(self.text_items)

    @cached_property
    def genre_weights(self) -> Floats:
        """Genres of each title, adding up to 1: float32 [I, G]."""
        has_genre = self.catalogue.has_genre.astype(np.float32)
        return np.asarray(has_genre / np.maximum(has_genre.sum(1, keepdims=True), 1), np.float32)

    @cached_property
    def series_lengths(self) -> Integers:
        """How many titles each series has: int64, by code."""
        series = self.catalogue.series
        return np.bincount(series[series >= 0], minlength=1)

    @cached_property
    def als_moments(self) -> tuple[Floats, Floats]:
        """Mean of the ALS vectors, float32 [K], and their covariance, float32 [K, K]."""
        mean = self.als_items.mean(0)
        centred = self.als_items - mean
        return mean, centred.T @ centred / np.float32(max(len(centred), 1))

    @cached_property
    def similarities(self) -> Similarities:
        """Of the texts of all titles, filled when wanted."""
        return Similarities(self.text_items)
