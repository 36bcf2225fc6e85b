"""Users with lists, histories and groups, made from a seed: nothing in how they are made depends on a group.

Titles are watched and listed by their popularity; lists of a share of the users hold what they will watch, at a place
drawn alike for all. The champion finds nearly the same.
"""

from dataclasses import replace

import numpy as np

from pipelines.audit.subjects import Subjects, Titles
from pipelines.histories import Histories

GENRES = 12
# Share of users for whom champion and challenger find the same.
AGREEMENT = 0.85
ATTRIBUTES = {
    "activity_tier": (("new", "light", "regular", "heavy"), (0.1, 0.3, 0.4, 0.2)),
    "tenure": (("under_month", "under_year", "over_year"), (0.15, 0.4, 0.45)),
    "age_band": (("under_18", "18_24", "25_34", "35_44", "45_54", "55_up"), (0.06, 0.2, 0.28, 0.2, 0.15, 0.11)),
    "gender": (("female", "male", "other"), (0.47, 0.5, 0.03)),
    "country": (
        ("AT", "BE", "CH", "CZ", "DE", "ES", "FR", "GB", "IT", "PL"),
        (0.02, 0.03, 0.05, 0.05, 0.3, 0.1, 0.15, 0.15, 0.1, 0.05),
    ),
    "language": (("de", "en", "es", "fr", "it", "pl"), (0.3, 0.3, 0.1, 0.15, 0.1, 0.05)),
    "device": (("phone", "tablet", "tv", "web"), (0.3, 0.1, 0.45, 0.15)),
}


def audit_subjects(
    users: int, titles: int = 400, places: int = 40, *, seed: int = 1, found_share: float = 0.35
) -> Subjects:
    """Users with a champion's lists beside them, on the whole as good."""
    generator = np.random.default_rng(seed)
    catalogue = audit_titles(titles, generator)
    user_ids = np.arange(1, users + 1) * 3
    popular = 1 / (generator.permutation(titles) + 10) ** 0.6
    popular /= popular.sum()
    # Lists are drawn whole, up to two thousand of them, and shared out.
    whole = np.stack([generator.choice(titles, places + 2, replace=False, p=popular) for _ in range(min(users, 2000))])
    drawn = generator.permuted(whole[generator.integers(0, len(whole), users)], axis=1)
    rankings, wanted = drawn[:, :places].copy(), drawn[:, places:]
    champion = generator.permuted(rankings, axis=1)
    at, is_found = _found(generator, users, places, found_share)
    _put(rankings, wanted, at, is_found)
    agrees = generator.random(users) < AGREEMENT
    other_at, other_found = _found(generator, users, places, found_share)
    _put(champion, wanted, np.where(agrees, at, other_at), np.where(agrees, is_found, other_found))
    truth = Histories(
        user_ids, np.arange(users + 1) * 2, catalogue.item_ids[wanted.ravel()], np.ones(2 * users, np.float32)
    )
    lengths = generator.integers(1, 20, users)
    watched = generator.choice(titles, int(lengths.sum()), p=popular)
    histories = Histories(
        user_ids,
        np.concatenate([[0], np.cumsum(lengths)]),
        catalogue.item_ids[watched],
        np.ones(len(watched), np.float32),
    )
    return Subjects(
        user_ids,
        catalogue.item_ids[rankings],
        catalogue.item_ids[champion],
        truth,
        histories,
        audit_groups(users, generator),
        replace(catalogue, play_counts=np.bincount(watched, minlength=titles)),
    )


def audit_groups(users: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        name: np.array(labels, object)[generator.choice(len(labels), users, p=shares)]
        for name, (labels, shares) in ATTRIBUTES.items()
    }


def audit_titles(count: int, generator: np.random.Generator) -> Titles:
    has_genre = np.zeros((count, GENRES), np.bool_)
    has_genre[np.arange(count), generator.integers(0, GENRES, count)] = True
    creators = np.array([f"creator {one}" for one in range(count // 4)], object)
    return Titles(
        item_ids=np.arange(1, count + 1) * 5,
        may_be_shown=np.ones(count, np.bool_),
        has_genre=has_genre,
        play_counts=np.zeros(count, np.int64),
        classes={
            "creator": creators[np.arange(count) % len(creators)],
            "creator_tier": np.array(["head", "middle", "tail"], object)[generator.integers(0, 3, count)],
            "language": np.array(["de", "en", "fr"], object)[generator.integers(0, 3, count)],
            "origin": np.array(["DE", "FR", "GB", "US"], object)[generator.integers(0, 4, count)],
            "is_new": np.where(generator.random(count) < 0.05, "new", "not_new").astype(object),
        },
    )


def starved(subjects: Subjects, attribute: str, label: str, share: float = 1.0, seed: int = 5) -> Subjects:
    """The same, but that this share of a group's users are given the list of somebody else."""
    generator = np.random.default_rng(seed)
    members = np.flatnonzero(subjects.groups[attribute] == label)
    losers = members[generator.random(len(members)) < share]
    rankings = subjects.rankings.copy()
    rankings[losers] = subjects.rankings[generator.integers(0, len(rankings), len(losers))]
    return replace(subjects, rankings=rankings)


def _found(generator: np.random.Generator, users: int, places: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    return np.minimum(generator.geometric(0.12, users), places) - 1, generator.random(users) < share


def _put(lists: np.ndarray, wanted: np.ndarray, at: np.ndarray, is_found: np.ndarray) -> None:
    rows = np.flatnonzero(is_found)
    lists[rows, at[rows]] = wanted[rows, 0]
