"""A model set of a small world, trained in seconds, for tests of what is done with one."""

from dataclasses import replace
from functools import cache

import numpy as np
import pyarrow as pa
import small_catalogue as small

from feature_defs.features import ITEM_FEATURES, USER_FEATURES
from pipelines.arrow_schemas import arrow_schema
from pipelines.histories import Histories, Popularity
from pipelines.lists.cohorts import cohort_vectors
from pipelines.models.als import AlsModel
from pipelines.models.interests import learn_interests
from pipelines.models.item_item import item_item_neighbours
from pipelines.models.model_set import ModelSet
from pipelines.models.nearest import build
from pipelines.models.towers_configuration import TowersConfiguration
from pipelines.models.towers_inputs import item_inputs, vocabularies, windows
from pipelines.models.towers_training import train_towers

ITEMS, USERS = 60, 40
TOWERS = TowersConfiguration(width=16, blocks=1, history_length=10, epochs=3, batch_tokens=512, creator_buckets=8)


def past() -> Histories:
    """Users like titles of their own parity; the last ten have watched two titles or none."""
    rows = [
        [1 + 2 * ((user + 3 * step) % (ITEMS // 2)) + user % 2 for step in range(9)]
        if user < USERS - 10
        else [1 + user % 2 + 2 * step for step in range(user % 3)]
        for user in range(USERS)
    ]
    return small.histories(*rows)


def text() -> np.ndarray:
    vectors = np.random.default_rng(5).standard_normal((ITEMS, 8)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def catalogue():
    genres = ["Comedy", "Drama", "War", "Crime", "Music", "Sport"]
    return small.catalogue(ITEMS, genres=[[genres[item % 6]] for item in range(ITEMS)])


def users() -> pa.Table:
    return small.users(
        USERS, age_band=["18_24" if user % 2 else "55_up" for user in range(USERS)], device=["tv"] * USERS
    )


def popularity() -> Popularity:
    items, counts = np.unique(past().item_ids, return_counts=True)
    return Popularity(items, counts, counts)


def no_features() -> tuple[pa.Table, pa.Table]:
    """No user features, and a row of nulls for each title."""
    people = arrow_schema(USER_FEATURES.table).empty_table()
    return people, arrow_schema(ITEM_FEATURES.table).empty_table().take(pa.nulls(ITEMS, pa.int64()))


@cache
def model_set() -> ModelSet:
    histories, titles, people = past(), catalogue(), users()
    # Item factors by which each user prefers their own parity.
    generator = np.random.default_rng(7)
    factors = generator.standard_normal((ITEMS, 6)).astype(np.float32) * 0.1
    factors[:, 0] += np.arange(ITEMS) % 2
    factors[:, 1] += 1 - np.arange(ITEMS) % 2
    als = AlsModel(titles.item_ids, factors, 0.1, 1.0)
    known = vocabularies(titles, histories.item_ids, people, 8, TOWERS.creator_buckets, TOWERS.user_buckets)
    towers = train_towers(
        windows(histories, titles, people, known, TOWERS.history_length),
        item_inputs(titles, text(), known),
        known,
        TOWERS,
    ).with_taste(histories, titles, text())
    vectors = towers.encode_items(titles, text())
    return ModelSet(
        als=als,
        towers=towers,
        item_ids=titles.item_ids,
        item_vectors=vectors,
        index=build(vectors),
        neighbours=item_item_neighbours(histories, titles, 10),
        cohorts=cohort_vectors(als.encode(histories), people, np.diff(histories.offsets) >= 5),
        interests=learn_interests(histories, titles, text(), 1),
        ranker=None,
        text_encoder="planted",
        learned_until=small.DAY,
    )


def with_ranker(ranker) -> ModelSet:
    return replace(model_set(), ranker=ranker)
