"""How good ranked lists are, a value a user.

Shapes: U users, k places. A ranking is int64 [U, k] of item ids, best first, -1 where a list is shorter.
"""

import numpy as np
from numpy.typing import NDArray

from pipelines.histories import Histories

Ranking = NDArray[np.int64]
PerUser = NDArray[np.float64]


def hits(ranking: Ranking, truth: Histories) -> NDArray[np.bool_]:
    """Whether the title in each place is one the user went on to watch: bool [U, k]."""
    users = np.arange(len(ranking))
    wanted = truth.owners() << 32 | truth.item_ids  # an item id has 32 bits
    shown = users[:, None] << 32 | np.maximum(ranking, 0)
    return np.isin(shown, wanted) & (ranking >= 0)


def recall_at(found: NDArray[np.bool_], truth_counts: NDArray[np.int64], k: int) -> PerUser:
    """Share of the wanted titles among the first k: float64 [U]."""
    values: PerUser = found[:, :k].sum(1) / np.maximum(truth_counts, 1)
    return values


def ndcg_at(found: NDArray[np.bool_], truth_counts: NDArray[np.int64], k: int) -> PerUser:
    """Normalised discounted cumulative gain with binary relevance, the ideal cut at k: float64 [U].

    Jaervelin and Kekaelaeinen, "Cumulated gain-based evaluation of IR techniques" (2002), with the log2 discount.
    """
    discount = 1 / np.log2(np.arange(2, k + 2))
    found = found[:, :k]
    gain = found @ discount[: found.shape[1]]
    ideal = np.concatenate([[0], np.cumsum(discount)])[np.minimum(truth_counts, k)]
    values: PerUser = np.where(ideal > 0, gain / np.maximum(ideal, 1e-12), 0.0)
    return values


def hit_rate_at(found: NDArray[np.bool_], k: int) -> PerUser:
    """Whether any wanted title is among the first k: float64 [U]."""
    return np.asarray(found[:, :k].any(1), np.float64)


def coverage(ranking: Ranking, catalogue_size: int) -> float:
    """Share of the catalogue that is in any list."""
    shown = np.unique(ranking[ranking >= 0])
    return len(shown) / max(catalogue_size, 1)


def head_share(ranking: Ranking, most_popular: NDArray[np.int64]) -> float:
    """Share of all recommendations that are among the given most popular titles."""
    shown = ranking[ranking >= 0]
    return float(np.isin(shown, most_popular).mean()) if len(shown) else 0.0


def novelty(ranking: Ranking, item_ids: NDArray[np.int64], play_counts: NDArray[np.int64], user_count: int) -> float:
    """Mean self-information of the recommended titles, in bits: -log2 of the share of users who played each.

    Zhou et al., "Solving the apparent diversity-accuracy dilemma of recommender systems" (2010). A title never played
    counts as played once.
    """
    shown = ranking[ranking >= 0]
    if not len(shown) or not len(item_ids):
        return 0.0
    at = np.searchsorted(item_ids, shown).clip(max=len(item_ids) - 1)
    plays = np.where(item_ids[at] == shown, play_counts[at], 1).clip(min=1)
    return float(-np.log2(np.minimum(plays / max(user_count, 1), 1)).mean())


def intra_list_diversity(positions: Ranking, has_genre: NDArray[np.bool_]) -> float:
    """Mean over users of the mean Jaccard distance between the genres of two titles of a list.

    Ziegler et al., "Improving recommendation lists through topic diversification" (2005), with Jaccard's distance.
    Pairs of titles without any genre are left out.

    Args:
        positions: int64 [U, k], rows of `has_genre`, -1 where a list is shorter.
        has_genre: bool [I, G].
    """
    distances = []
    for start in range(0, len(positions), 4096):
        part = positions[start : start + 4096]
        genres = (has_genre[np.maximum(part, 0)] & (part >= 0)[..., None]).astype(np.float32)
        both = genres @ genres.transpose(0, 2, 1)
        counts = genres.sum(2)
        either = counts[:, :, None] + counts[:, None, :] - both
        is_pair = np.triu(np.ones(both.shape[1:], np.bool_), 1) & (either > 0)
        is_pair &= (part >= 0)[:, :, None] & (part >= 0)[:, None, :]
        apart = np.where(is_pair, 1 - both / np.maximum(either, 1), 0).sum((1, 2))
        pairs = is_pair.sum((1, 2))
        distances.append((apart / np.maximum(pairs, 1))[pairs > 0])
    found = np.concatenate(distances) if distances else np.zeros(0)
    return float(found.mean()) if len(found) else 0.0


def genres_at(positions: Ranking, main_genres: NDArray[np.int64], k: int) -> PerUser:
    """How many main genres there are among the first k titles: float64 [U].

    Args:
        positions: int64 [U, k], indices of `main_genres`, -1 where a list is shorter.
        main_genres: int64 [I], -1 where a title has none.
        k: places.
    """
    shown = positions[:, :k]
    codes = np.where(shown >= 0, main_genres[np.maximum(shown, 0)], -1)
    ordered = np.sort(codes, axis=1)
    is_first = np.ones(ordered.shape, np.bool_)
    is_first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return np.asarray((is_first & (ordered >= 0)).sum(1), np.float64)
