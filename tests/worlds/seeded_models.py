"""Models and users of any number, made from a seed without learning: for benchmarks of what is done with them.

Titles and tastes lie near a few genres, so that neighbours, texts and vectors agree as far as those of a service do.
What depends on the number of users is made a part of them at a time.

Shapes: U users, I titles, K factors of ALS, W width of a tower vector, D width of a text vector.
"""

from dataclasses import dataclass
from datetime import date
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import torch
from catalogue_columns import DAY, catalogue_columns

from feature_defs.features import ITEM_FEATURES, USER_FEATURES
from feature_defs.ranking import HEADS, POLICY_WEIGHTS
from feature_defs.recommendations import VECTOR_WIDTH
from feature_defs.users import USERS
from pipelines.arrow_schemas import arrow_schema
from pipelines.catalogue import Catalogue
from pipelines.histories import Histories
from pipelines.lists.candidates import Retrieval
from pipelines.models.calibration import no_calibration
from pipelines.models.interests import learn_interests
from pipelines.models.item_item import content_neighbours
from pipelines.models.nearest import build
from pipelines.models.ranker import Ranker, RankerFacts, RankerNetwork
from pipelines.models.ranker_configuration import RankerConfiguration

GENRES, LANGUAGES, CREATORS = 20, 12, 800
ALS_WIDTH, TOWER_WIDTH, TEXT_WIDTH = 64, VECTOR_WIDTH, 384
_TODAY = (DAY - date(1970, 1, 1)).days
_USERS_AT_ONCE = 10_000


@dataclass(frozen=True)
class SeededNight:
    """All that lists are made from. `histories` hold some 50 titles of each user."""

    retrieval: Retrieval
    histories: Histories
    users: pa.Table
    user_features: pa.Table
    item_features: pa.Table
    model_set: SimpleNamespace


def seeded_night(users: int, titles: int, seed: int) -> SeededNight:
    """A night of U users and I titles."""
    generator = np.random.default_rng(seed)
    catalogue, tastes = _catalogue(titles, generator)
    plays = (1e5 / np.arange(1, titles + 1) ** 0.8).astype(np.int64)[generator.permutation(titles)]
    als, towers, text = (
        _near(tastes, width, generator, noise)
        for width, noise in ((ALS_WIDTH, 0.5), (TOWER_WIDTH, 0.5), (TEXT_WIDTH, 0.7))
    )
    als *= (0.3 + 0.1 * np.log1p(plays)[:, None] / 10).astype(np.float32)
    text[generator.random(titles) < 0.02] = 0
    retrieval = Retrieval(
        catalogue=catalogue,
        als_items=als,
        tower_items=towers,
        index=build(towers),
        text_items=text,
        neighbours=content_neighbours(als, may_be_shown=catalogue.may_be_shown),
        popularity_recent=plays // 50,
        popularity=plays,
    )
    histories = _histories(users, catalogue, plays, generator)
    return SeededNight(
        retrieval,
        histories,
        _users(users, catalogue, generator),
        _features(USER_FEATURES.table, "user_id", histories.user_ids, 40, generator),
        _features(ITEM_FEATURES.table, "item_id", catalogue.item_ids, 5000, generator),
        SimpleNamespace(
            als=SimpleNamespace(encode=lambda past: _encoded(past, catalogue, als, 30)),
            towers=SimpleNamespace(encode_users=lambda past, *_: _encoded(past, catalogue, towers, 8), temperature=0.1),
            cohorts=SimpleNamespace(vectors_of=lambda rows: np.tile(als[:1], (rows.num_rows, 1))),
            interests=learn_interests(histories, catalogue, text, seed),
            ranker=seeded_ranker(seed),
        ),
    )


def seeded_ranker(seed: int, configuration: RankerConfiguration | None = None) -> Ranker:
    """A ranker of the default configuration whose weights are random, the heads' too."""
    configuration = configuration or RankerConfiguration()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = RankerNetwork(configuration)
        torch.nn.init.normal_(network.heads.weight, std=0.1)
        torch.nn.init.normal_(network.embedding.weight, std=0.3)
    dense = network.bottom[0].in_features
    generator = np.random.default_rng(seed)
    facts = RankerFacts(
        configuration,
        generator.normal(1, 0.5, dense).astype(np.float32),
        generator.uniform(0.5, 2, dense).astype(np.float32),
        np.zeros(len(HEADS), np.bool_),
        generator.normal(0, 0.1, len(HEADS)).astype(np.float32),
        no_calibration(len(HEADS)),
        np.array(POLICY_WEIGHTS),
        DAY,
        DAY,
    )
    return Ranker(network, facts, torch.device("cpu"))


def _catalogue(titles: int, generator: np.random.Generator) -> tuple[Catalogue, np.ndarray]:
    """Titles, a fourth of them in series of eight, and where their genres put them: [I, GENRES]."""
    main = generator.integers(0, GENRES, titles)
    creators = generator.integers(0, CREATORS, titles)
    series = np.where(np.arange(titles) < titles // 4, np.arange(titles) // 8, -1)
    first = np.maximum(series, 0) * 8
    main, creators = (np.where(series >= 0, codes[first], codes) for codes in (main, creators))
    has_genre = generator.random((titles, GENRES)) < 0.05
    has_genre[np.arange(titles), main] = True
    following = np.where((series >= 0) & (np.arange(titles) % 8 < 7), np.arange(titles) + 1, -1)
    following[following >= titles] = -1
    catalogue = catalogue_columns(
        titles,
        may_be_shown=generator.random(titles) < 0.97,
        genre_names=tuple(f"genre {number:02}" for number in range(GENRES)),
        has_genre=has_genre,
        main_genres=main,
        language_names=tuple(f"language {number:02}" for number in range(LANGUAGES)),
        languages=np.minimum(generator.geometric(0.3, titles) - 1, LANGUAGES - 1),
        kind_names=("audio", "video"),
        kinds=generator.integers(0, 2, titles),
        creator_names=tuple(f"creator {number:03}" for number in range(CREATORS)),
        creators=creators,
        series=series,
        next_episodes=following,
        release_years=generator.integers(1970, 2026, titles),
        published_days=_TODAY - generator.integers(0, 600, titles),
        maturities=generator.choice([0, 0, 0, 7, 12, 18], titles),
    )
    return catalogue, has_genre.astype(np.float32)


def _near(tastes: np.ndarray, width: int, generator: np.random.Generator, noise: float) -> np.ndarray:
    """Unit vectors [I, width], near those of the genres."""
    centres = generator.standard_normal((tastes.shape[1], width)) / width**0.5
    vectors = tastes @ centres + noise * generator.standard_normal((len(tastes), width)) / width**0.5
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _histories(users: int, catalogue: Catalogue, plays: np.ndarray, generator: np.random.Generator) -> Histories:
    """About 50 titles each, by popularity, two thirds of them of three genres; one user in fifty is new."""
    by_genre = [np.flatnonzero(catalogue.main_genres == genre) for genre in range(GENRES)]
    of_genre = [np.cumsum(plays[titles] + 1.0) for titles in by_genre]
    of_all = np.cumsum(plays + 1.0)
    items, counts = [], []
    for start in range(0, users, _USERS_AT_ONCE):
        many = min(_USERS_AT_ONCE, users - start)
        lengths = np.where(generator.random(many) < 0.02, generator.integers(0, 4, many), generator.poisson(56, many))
        owners = np.repeat(np.arange(many), lengths)
        liked = generator.integers(0, GENRES, (many, 3))[owners, generator.integers(0, 3, len(owners))]
        drawn = generator.random(len(owners))
        titles = np.searchsorted(of_all, drawn * of_all[-1])
        is_liked = generator.random(len(owners)) < 0.67
        for genre in range(GENRES):
            at = np.flatnonzero(is_liked & (liked == genre))
            titles[at] = by_genre[genre][np.searchsorted(of_genre[genre], drawn[at] * of_genre[genre][-1])]
        # Each title once, where it came first.
        _, first = np.unique(owners * len(catalogue) + titles, return_index=True)
        first.sort()
        items.append(catalogue.item_ids[titles[first]])
        counts.append(np.bincount(owners[first], minlength=many))
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64)
    shares = np.minimum(generator.random(offsets[-1], np.float32) * np.float32(1.4), np.float32(1))
    return Histories(np.arange(1, users + 1), offsets, np.concatenate(items), shares)


def _encoded(past: Histories, catalogue: Catalogue, items: np.ndarray, length: int) -> np.ndarray:
    """The mean vector of each user's newest titles, with some noise of their own: float32 [U, width]."""
    newest = past.newest(length)
    sums = np.zeros((len(past.user_ids) + 1, items.shape[1]), np.float32)
    vectors = items[catalogue.positions(newest.item_ids)]
    starts, has_any = newest.offsets[:-1], np.diff(newest.offsets) > 0
    if len(vectors):
        sums[:-1][has_any] = np.add.reduceat(vectors, starts[has_any], axis=0)
    sums = sums[:-1] / np.maximum(np.diff(newest.offsets), 1)[:, None].astype(np.float32)
    noise = np.random.default_rng(int(past.user_ids[0]) if len(past.user_ids) else 0)
    sums += 0.02 * noise.standard_normal(sums.shape, np.float32) * has_any[:, None]
    return sums.astype(np.float32)


def _users(users: int, catalogue: Catalogue, generator: np.random.Generator) -> pa.Table:
    def named(names: list[str], rate: float) -> pa.Array:
        codes = np.minimum(generator.geometric(rate, users) - 1, len(names) - 1).astype(np.int32)
        return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(names)).cast(pa.string())

    picked = generator.integers(0, GENRES, 2 * users).astype(np.int32)
    genres = pa.DictionaryArray.from_arrays(pa.array(picked), pa.array(catalogue.genre_names)).cast(pa.string())
    limits = generator.choice([-1, -1, -1, -1, -1, 7, 12, 18], users)
    columns = {
        "user_id": pa.array(np.arange(1, users + 1)),
        "age_band": named(["18_24", "25_34", "35_44", "45_54", "55_up", "under_18"], 0.3),
        "city": named([f"city {number}" for number in range(60)], 0.06),
        "country": named([f"C{number}" for number in range(20)], 0.2),
        "device": named(["tv", "phone", "tablet", "web"], 0.4),
        "onboarding_genres": pa.ListArray.from_arrays(pa.array(np.arange(users + 1, dtype=np.int32) * 2), genres),
        "signup_at": pa.array((_TODAY - generator.integers(0, 900, users)) * 86_400_000_000).cast(
            pa.timestamp("us", "UTC")
        ),
        "maturity_limit": pa.array(limits.astype(np.int32), mask=limits < 0),
        "is_opted_out": pa.array(np.zeros(users, np.bool_)),
    }
    return pa.table(columns, arrow_schema(USERS))


def _features(table: object, key: str, ids: np.ndarray, most: int, generator: np.random.Generator) -> pa.Table:
    """Rows of USER_FEATURES or ITEM_FEATURES; what is not said is null."""
    schema = arrow_schema(table)
    month = generator.integers(1, most, len(ids))
    days = _TODAY - generator.integers(0, 28, len(ids))
    said = {
        key: pa.array(ids),
        "play_count_7d": pa.array(month // 4),
        "play_count_28d": pa.array(month),
        "complete_count_28d": pa.array(month // 2),
        "mean_watched_share_28d": pa.array(generator.random(len(ids))),
        "play_count": pa.array(month * 3),
        "last_played_at": pa.array(days * 86_400_000_000).cast(pa.timestamp("us", "UTC")),
    }
    columns = [
        said[name].cast(schema.field(name).type) if name in said else pa.nulls(len(ids), schema.field(name).type)
        for name in schema.names
    ]
    return pa.Table.from_arrays(columns, schema=schema)
