"""Who is audited, and by what: users with their lists, what they went on to watch, and their groups.

User ids stay in this object: nothing that an audit says holds one.

Shapes: U users, k places of a list, I titles, G genres.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from pipelines.catalogue import Catalogue
from pipelines.errors import DataError
from pipelines.histories import Histories, Popularity

UNKNOWN = "unknown"
TIERS = ("head", "middle", "tail")
_TIER_SHARES = (0.5, 0.8)
# What titles are told apart by, with all its labels where these are known beforehand.
CLASSES: Mapping[str, tuple[str, ...]] = {
    "creator": (),
    "creator_tier": (*TIERS, UNKNOWN),
    "language": (),
    "origin": (),
    "is_new": ("new", "not_new"),
}
Labels = NDArray[np.object_]


@dataclass(frozen=True)
class Titles:
    """The titles of the day, a position each, and what exposure is told apart by.

    `item_ids`: int64 [I], ascending. `may_be_shown`: bool [I]. `has_genre`: bool [I, G]. `play_counts`: int64 [I],
    plays before the truth, by anybody. `classes`: by what titles are told apart (CLASSES), a label each, object [I].
    """

    item_ids: NDArray[np.int64]
    may_be_shown: NDArray[np.bool_]
    has_genre: NDArray[np.bool_]
    play_counts: NDArray[np.int64]
    classes: Mapping[str, Labels]


@dataclass(frozen=True)
class Served:
    """What only a month as served can tell, in the order of the users.

    `fallback_shares`: float64 [U], share of a user's answers that came from a fallback. `list_ages`: float64 [U], mean
    age in days of the lists answered from. `is_exploration`: bool [U, k], which places were explored.
    `propensities`: float64 [U, k], with what probability a place showed this title; NaN where unknown. `rewards`:
    float64 [U, k], 1 where the title was watched to the end. `weeks`: for each 7 days, the distinct titles shown.
    """

    fallback_shares: NDArray[np.float64]
    list_ages: NDArray[np.float64]
    is_exploration: NDArray[np.bool_]
    propensities: NDArray[np.float64]
    rewards: NDArray[np.float64]
    weeks: tuple[NDArray[np.int64], ...]


@dataclass(frozen=True)
class Subjects:
    """Who is audited: U users in one order, ascending by id.

    `user_ids`: int64 [U]. `rankings`: int64 [U, k], item ids as they would be (or were) served, best first, -1 padded.
    `champion_rankings`: the champion's for the same users, or `None`. `truth`: what the same users went on to watch.
    `histories`: what they had watched before. `groups`: attribute -> label of each user, object [U]; "unknown" where
    it is missing. `served`: for a month as served.
    """

    user_ids: NDArray[np.int64]
    rankings: NDArray[np.int64]
    champion_rankings: NDArray[np.int64] | None
    truth: Histories
    histories: Histories
    groups: Mapping[str, Labels]
    titles: Titles
    served: Served | None = None


def titles_of(
    catalogue: Catalogue, popularity: Popularity, origins: Mapping[int, str], *, new_title_days: int
) -> Titles:
    """The titles of a catalogue as an audit reads them.

    Creators are told apart by the plays of all their titles: those who hold the first half of all plays are the
    `head`, of the next 30 % the `middle`, of the rest the `tail`.

    Args:
        catalogue: of the day, as known before the truth.
        popularity: of all titles before the truth.
        origins: country of origin by item id; others are "unknown".
        new_title_days: titles published at most so many days before the catalogue's day are new.
    """
    plays = np.zeros(len(catalogue), np.int64)
    at = catalogue.positions(popularity.item_ids)
    plays[at[at >= 0]] = popularity.play_counts[at >= 0]
    has_creator = catalogue.creators >= 0
    by_creator = np.bincount(catalogue.creators[has_creator], plays[has_creator], len(catalogue.creator_names))
    creator_tiers = np.append(np.array(TIERS, object)[tiers(by_creator.astype(np.int64))], UNKNOWN)
    today = (catalogue.day - date(1970, 1, 1)).days
    is_new = catalogue.published_days > today - new_title_days
    labels = (
        np.array([*catalogue.creator_names, UNKNOWN], object)[catalogue.creators],
        creator_tiers[catalogue.creators],
        np.array([*catalogue.language_names, UNKNOWN], object)[catalogue.languages],
        np.array([origins.get(int(item), UNKNOWN) for item in catalogue.item_ids], object),
        np.where(is_new, "new", "not_new").astype(object),
    )
    return Titles(
        item_ids=catalogue.item_ids,
        may_be_shown=catalogue.may_be_shown,
        has_genre=catalogue.has_genre,
        play_counts=plays,
        classes=dict(zip(CLASSES, labels, strict=True)),
    )


def tiers(play_counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """By plays, an index of TIERS each: those that hold the first half of all plays, the next 30 %, and the rest.

    Abdollahpouri et al., "User-centered evaluation of popularity bias in recommender systems" (2021), whose shares
    are 20, 60 and 20 %.
    """
    order = np.lexsort((np.arange(len(play_counts)), -play_counts))
    before = np.cumsum(play_counts[order]) - play_counts[order]
    found = np.empty(len(play_counts), np.int64)
    found[order] = np.searchsorted(_TIER_SHARES, before / max(int(play_counts.sum()), 1), "right")
    return found


def check_subjects(subjects: Subjects) -> None:
    """Refuse subjects that cannot be audited.

    Raises:
        DataError: if there is nobody, nothing was shown, or shapes do not agree.
    """
    user_count = len(subjects.user_ids)
    if not user_count:
        raise DataError("there is nobody to audit: no user has a list and something to find")
    if not (subjects.rankings >= 0).any():
        what = "the month has no impressions" if subjects.served is not None else "no user has a list"
        raise DataError(f"{what}: there is nothing to audit")
    lengths = {
        "lists": len(subjects.rankings),
        "lists of the champion": user_count if subjects.champion_rankings is None else len(subjects.champion_rankings),
        "users with something to find": len(subjects.truth.user_ids),
        "histories": len(subjects.histories.user_ids),
    }
    for name, length in lengths.items():
        if length != user_count:
            raise DataError(f"{length:,} {name} for {user_count:,} users: they are not the same users")
