"""Which titles are explored, and how much: Thompson sampling over what came of showing them.

Each title's rate of being taken up has a Beta posterior: what is usual, counted as some impressions, and what came of
its own. A title's weight is the probability that it is the best of all (Chapelle and Li, "An Empirical Evaluation of
Thompson Sampling", 2011), estimated by drawing all rates many times, with a floor, so that none is ever given up and
every logged probability can be divided by. The endpoint draws by these weights, renormalised for each user.

Shapes: E explorable titles.
"""

from dataclasses import dataclass
from datetime import date, timedelta

import duckdb
import numpy as np
from numpy.typing import NDArray

from feature_defs.events import EVENTS
from pipelines.catalogue import Catalogue
from pipelines.histories import Popularity
from pipelines.lake import Lake
from pipelines.snapshot_files import ExplorableColumns
from pipelines.sorted_ids import positions_among

# Days of outcomes that count: tastes move on.
_DAYS = 28
# Titles that are explored at a time; more could not be learned of.
_MOST = 1000
# Days that a title is new.
_NEW_DAYS = 7
# The share of plays that goes to the head; all other titles are the long tail.
_HEAD_SHARE = 0.8
# How many impressions the usual rate counts as.
_PRIOR_IMPRESSIONS = 20
# The share of draws that is even among all, so that no weight is 0.
_EVEN_SHARE = 0.1
_ROUNDS = 4000
_ROUNDS_AT_ONCE = 500


@dataclass(frozen=True)
class Outcomes:
    """How often titles were shown, and taken up when they were: `item_ids` int64 [I] ascending, counts int64 [I]."""

    item_ids: NDArray[np.int64]
    impressions: NDArray[np.int64]
    successes: NDArray[np.int64]

    def of(self, item_ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Impressions and successes of these titles, 0 of those never shown."""
        at = positions_among(self.item_ids, item_ids)
        return np.append(self.impressions, 0)[at], np.append(self.successes, 0)[at]


def read_outcomes(lake: Lake, last_day: date) -> Outcomes:
    """What came of the slots of the last 28 days: a slot was shown if its impression was received, and taken up if a
    click or a play of the same title was received for the same answer.
    """
    dataset = lake.dataset(EVENTS)
    empty = np.zeros(0, np.int64)
    if dataset is None:
        return Outcomes(empty, empty, empty)
    with duckdb.connect() as database:
        database.register("events", dataset)
        rows = database.sql(
            """
            SELECT item_id, count(*)::BIGINT AS impressions, count_if(is_taken)::BIGINT AS successes
            FROM (
                SELECT item_id, bool_or(kind IN ('click', 'play')) AS is_taken
                FROM events
                WHERE day > $before AND day <= $day AND request_id IS NOT NULL
                  AND kind IN ('impression', 'click', 'play')
                GROUP BY request_id, user_id, item_id
                HAVING bool_or(kind = 'impression')
            )
            GROUP BY item_id ORDER BY item_id
            """,
            params={"day": last_day, "before": last_day - timedelta(days=_DAYS)},
        ).fetchnumpy()
    return Outcomes(*(rows[name].astype(np.int64) for name in ("item_id", "impressions", "successes")))


def explorable(catalogue: Catalogue, popularity: Popularity, outcomes: Outcomes) -> ExplorableColumns:
    """The titles that may be drawn, with their weights: those that are new, then the least shown of the long tail.

    Args:
        catalogue: of the day.
        popularity: of all titles, through the day.
        outcomes: of the slots they were shown in.
    """
    at = positions_among(popularity.item_ids, catalogue.item_ids)
    plays = np.append(popularity.play_counts, 0)[at]
    order = np.argsort(-plays, kind="stable")
    in_head = np.zeros(len(catalogue), np.bool_)
    before = np.cumsum(plays[order]) - plays[order]
    in_head[order] = (before < _HEAD_SHARE * plays.sum()) & (plays[order] > 0)
    ages = (catalogue.day - date(1970, 1, 1)).days - catalogue.published_days
    # What is published on the day that lists are for is as new as what was published on theirs.
    is_new = (ages < _NEW_DAYS) & (ages >= -1)
    shown, taken = outcomes.of(catalogue.item_ids)
    # By the least shown; among equals another choice every day, the same on the same day.
    turn = np.random.default_rng(catalogue.day.toordinal()).permutation(len(catalogue))
    ranked = np.lexsort((turn, shown, ~is_new))
    open_ = catalogue.may_be_shown | (is_new & (ages < 0))
    chosen = np.sort(ranked[(open_ & (is_new | ~in_head))[ranked]][:_MOST])
    return with_weights(catalogue.item_ids[chosen], shown[chosen], taken[chosen])


def with_weights(
    item_ids: NDArray[np.int64], impressions: NDArray[np.int64], successes: NDArray[np.int64]
) -> ExplorableColumns:
    """Explorable titles with the weights that follow from what came of showing them."""
    weights = draw_shares(impressions, successes)
    return ExplorableColumns(item_ids.tolist(), impressions.tolist(), successes.tolist(), weights.tolist())


def draw_shares(impressions: NDArray[np.int64], successes: NDArray[np.int64], seed: int = 0) -> NDArray[np.float64]:
    """The probability of each title to be drawn: float64 [E], none 0, of sum 1; the same each time.

    Args:
        impressions: int64 [E].
        successes: int64 [E], at most as many.
        seed: of the rounds in which rates are drawn.
    """
    count = len(impressions)
    if not count:
        return np.zeros(0)
    # One success in twenty where nothing is known yet.
    rate = (successes.sum() + 1) / (impressions.sum() + 20)
    taken = successes + rate * _PRIOR_IMPRESSIONS
    left = impressions - successes + (1 - rate) * _PRIOR_IMPRESSIONS
    generator = np.random.default_rng(seed)
    wins = np.zeros(count, np.int64)
    for _ in range(0, _ROUNDS, _ROUNDS_AT_ONCE):
        rates = generator.beta(taken, left, (_ROUNDS_AT_ONCE, count))
        wins += np.bincount(rates.argmax(1), minlength=count)
    shares: NDArray[np.float64] = (1 - _EVEN_SHARE) * wins / _ROUNDS + _EVEN_SHARE / count
    return shares
