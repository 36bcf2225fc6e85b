"""The list for users we know nothing of: what trends, packed."""

from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from feature_defs.recommendations import LIST_LENGTH, NO_REASON, SOURCES
from pipelines.histories import Popularity
from pipelines.lists.codec import pack


def pack_trending(popularity: Popularity, eligible: NDArray[np.int64], generated_at: datetime) -> bytes:
    """The titles most played in the last 7 days that may be shown; the score is the share of those plays.

    Args:
        popularity: of all titles, through the day.
        eligible: titles that may be shown, int64 ascending.
        generated_at: the moment up to which plays are counted.
    """
    ordered = popularity.trending()
    chosen = ordered[np.isin(ordered, eligible)][:LIST_LENGTH]
    recent = popularity.recent_counts[np.searchsorted(popularity.item_ids, chosen)]
    return pack(
        item_ids=chosen,
        scores=recent / max(int(popularity.recent_counts.sum()), 1),
        sources=np.full(len(chosen), SOURCES.index("trending")),
        reasons=np.full(len(chosen), NO_REASON),
        generated_at=generated_at,
    )
