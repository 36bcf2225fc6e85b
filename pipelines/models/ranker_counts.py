"""Counts and clocks of the feature tables as the ranker reads them: nothing where nothing is known."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

# 1970-01-01 as a proleptic ordinal.
EPOCH = 719_163
PLAY_COUNTS = ("play_count_7d", "play_count_28d", "play_count")
# How many plays the mean of all weighs against what was seen of one.
_PRIOR_PLAYS = 5.0
_DAY_MICROSECONDS = 86_400_000_000


def numbers(table: pa.Table, name: str) -> NDArray[np.float64]:
    """A column as float64, 0 for null."""
    values: NDArray[np.float64] = pc.fill_null(table.column(name).cast(pa.float64()), 0.0).to_numpy()
    return values


def days(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Days since 1970 of timestamps: float64, NaN for null."""
    moments = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).cast(pa.float64(), safe=False)
    return np.asarray(pc.fill_null(moments, np.nan).to_numpy() // _DAY_MICROSECONDS, np.float64)


def drawn_share(table: pa.Table, name: str) -> NDArray[np.float64]:
    """A share of the plays of 28 days, drawn to that of all plays, the more so the fewer plays there are."""
    plays, values = numbers(table, "play_count_28d"), numbers(table, name)
    sums = values if name.endswith("_count_28d") else values * plays
    prior = sums.sum() / plays.sum() if plays.sum() else 0.5
    drawn: NDArray[np.float64] = (sums + prior * _PRIOR_PLAYS) / (plays + _PRIOR_PLAYS)
    return drawn
