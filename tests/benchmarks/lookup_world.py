"""The world that the endpoint is measured in: a catalogue in which every rule has something to do, lists of 200
candidates, and users who said and watched something since the night.
"""

import random
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1] / "worlds"))
from planted_snapshot import title, write_snapshot

from feature_defs.recommendations import SOURCES
from pipelines.lists.codec import pack
from pipelines.stores.interface import ListStore
from pipelines.stores.user_state import UserState

RUN_ID = "20260131-0123456789ab"
TITLES, LIST_LENGTH, HISTORY, WIDTH = 8000, 200, 40, 64
GENERATED_AT = datetime(2026, 2, 1, tzinfo=UTC)
_SEED = 20260131
_GENRES, _CREATORS, _COUNTRIES = 14, 1500, ("DE", "US", "FR", "JP", "BR", "IN")
_FRESH, _EXPLORABLE, _NEIGHBOURS = 100, 1500, 20
# One title in a hundred is a next episode; the retrievers give most.
_CODES = np.arange(len(SOURCES))
_SHARES = np.where(SOURCES.index("next_episode") == _CODES, 0.01, 0.99 / (len(SOURCES) - 1))


def _popularity() -> np.ndarray:
    weights = 1 / np.arange(1, TITLES + 1) ** 0.6
    return np.cumsum(weights / weights.sum())


def lists(users: int) -> Iterator[tuple[int, bytes]]:
    """A packed list for each user from 1: popular titles more often, as lists are."""
    rng, cumulated = np.random.default_rng(_SEED), _popularity()
    for user_id in range(1, users + 1):
        drawn = np.unique(np.searchsorted(cumulated, rng.random(2 * LIST_LENGTH + 2 * HISTORY)) + 1)
        drawn = rng.permutation(drawn)[: LIST_LENGTH + HISTORY]
        ids, history = drawn[:LIST_LENGTH], drawn[LIST_LENGTH:]
        reasons = rng.integers(0, len(history), len(ids)) if len(history) else np.full(len(ids), 255)
        yield (
            user_id,
            pack(
                item_ids=ids,
                scores=np.sort(rng.random(len(ids)))[::-1],
                sources=rng.choice(_CODES, len(ids), p=_SHARES),
                reasons=np.where(rng.random(len(ids)) < 0.6, reasons, 255),
                history=history,
                vector=rng.normal(size=WIDTH),
                generated_at=GENERATED_AT,
            ),
        )


def trending() -> bytes:
    """The most popular, packed."""
    return pack(
        item_ids=range(1, LIST_LENGTH + 1),
        scores=np.linspace(1, 0.1, LIST_LENGTH),
        sources=[1] * LIST_LENGTH,
        reasons=[255] * LIST_LENGTH,
        generated_at=GENERATED_AT,
    )


def lay_down_snapshot(place: str) -> None:
    """A snapshot of the run: a fifth of the titles episodes, some in few countries, some whose licence is over, some
    withdrawn, waiting for moderation or for adults alone; the last were published today.
    """
    rng, now = random.Random(_SEED), datetime.now(UTC)
    ids = range(1, TITLES + 1)
    titles = []
    for item_id in ids:
        is_fresh = item_id > TITLES - _FRESH
        is_episode = rng.random() < 0.2
        titles.append(
            title(
                item_id,
                genres=tuple(f"Genre {rng.randint(1, _GENRES)}" for _ in range(rng.randint(1, 3))),
                creator=f"Creator {rng.randint(1, _CREATORS)}",
                kind=rng.choice(("video", "video", "video", "audio")),
                maturity=rng.choice((0, 0, 7, 13, 16, 18)) if rng.random() < 0.99 else 21,
                series_id=item_id // 10 if is_episode else None,
                season=1 if is_episode else None,
                episode=item_id % 10 + 1 if is_episode else None,
                published_at=now - timedelta(hours=rng.randint(1, 20) if is_fresh else rng.randint(30, 20_000)),
                withdrawn_at=now - timedelta(days=1) if rng.random() < 0.02 else None,
                licence_from=now - timedelta(days=400) if rng.random() < 0.3 else None,
                licence_until=now + timedelta(days=rng.choice((-3, 30, 300))) if rng.random() < 0.1 else None,
                territories=tuple(rng.sample(_COUNTRIES, 3)) if rng.random() < 0.15 else None,
                moderation_state="approved" if rng.random() < 0.99 else "pending",
            )
        )
    vectors = np.random.default_rng(_SEED).normal(size=(_FRESH, WIDTH))
    write_snapshot(
        place,
        titles,
        run_id=RUN_ID,
        neighbours={item_id: tuple(rng.sample(ids, _NEIGHBOURS)) for item_id in ids},
        cohorts={(None, None, f"Genre {number}"): trending() for number in range(1, _GENRES + 1)},
        trending=range(1, LIST_LENGTH + 1),
        explorable={item_id: rng.random() for item_id in rng.sample(ids, _EXPLORABLE)},
        fresh=dict(zip(ids[-_FRESH:], vectors, strict=True)),
        generated_at=now,
    )


def state_of(user_id: int) -> UserState:
    """What a user said and watched since the night: some titles that stand in the list, some that do not."""
    rng = random.Random(user_id)
    titles = rng.sample(range(1, TITLES + 1), 8)
    return UserState(
        maturity_limit=rng.choice([None, None, None, 16, 13]),
        not_interested=tuple(titles[:2]),
        watched=tuple(titles[2:]),
    )


def publish(store: ListStore, users: int) -> None:
    """Make a run live with these lists; every fifth user said or watched something since."""
    attempt = store.open_attempt(RUN_ID)
    store.put_many(RUN_ID, attempt, lists(users))
    store.put_trending(RUN_ID, attempt, trending())
    store.commit_manifest(RUN_ID, attempt, {})
    store.go_live(RUN_ID, attempt)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda user_id: store.put_state(user_id, state_of(user_id), 0), range(1, users + 1, 5)))
