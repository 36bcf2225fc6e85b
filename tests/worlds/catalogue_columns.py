"""A catalogue of which a test says only the columns that it is about."""

from datetime import date
from typing import Any

import numpy as np

from pipelines.catalogue import Catalogue

DAY = date(2026, 1, 31)


def catalogue_columns(count: int, *, first_id: int = 1, **columns: Any) -> Catalogue:
    """Titles with ids from `first_id` on: all may be shown, in one genre, and long published."""
    nothing = np.full(count, -1, np.int64)
    said = {
        "may_be_shown": np.ones(count, np.bool_),
        "genre_names": ("Drama",),
        "has_genre": np.ones((count, 1), np.bool_),
        "main_genres": np.zeros(count, np.int64),
        "language_names": ("en",),
        "languages": np.zeros(count, np.int64),
        "kind_names": ("video",),
        "kinds": np.zeros(count, np.int64),
        "creator_names": (),
        "creators": nothing,
        "series": nothing,
        "next_episodes": nothing,
        "release_years": np.full(count, 2020, np.int64),
        "published_days": np.zeros(count, np.int64),
        "maturities": np.zeros(count, np.int64),
    }
    return Catalogue(day=DAY, item_ids=np.arange(first_id, first_id + count, dtype=np.int64), **(said | columns))
