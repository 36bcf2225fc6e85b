"""A simulated service as the declared tables of the warehouse."""

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_defs.declarations import Table
from feature_defs.events import EVENTS
from feature_defs.items import ITEMS
from feature_defs.users import PROTECTED_ATTRIBUTES, USERS
from pipelines.arrow_schemas import arrow_schema
from pipelines.simulation.configuration import WorldConfiguration
from pipelines.simulation.events import event_days, microseconds, named
from pipelines.simulation.places import CITIES, COUNTRIES, LANGUAGES
from pipelines.simulation.profiles import AGE_BANDS, DEVICES, GENDERS, LIMITS
from pipelines.simulation.sessions import signup_seconds
from pipelines.simulation.titles import NEVER
from pipelines.simulation.vocabulary import GENRES
from pipelines.simulation.world import World, make_world

_DAY_US = 86_400_000_000


def simulated_tables(configuration: WorldConfiguration) -> Mapping[Table, Iterator[pa.RecordBatch]]:
    """The tables of a simulated world; events come a day at a time."""
    world = make_world(configuration)
    return {
        EVENTS: event_days(world),
        ITEMS: iter([item_rows(world)]),
        USERS: iter([user_rows(world)]),
        PROTECTED_ATTRIBUTES: iter([protected_rows(world)]),
    }


def item_rows(world: World) -> pa.RecordBatch:
    """Rows of ITEMS, in order of id: all titles of the log, those of later days included."""
    titles = world.titles
    start = microseconds(world.configuration.first_day)
    is_episode = titles.series >= 0
    leaves = titles.withdrawn_days < NEVER
    gone = start + np.where(leaves, titles.withdrawn_days, 0) * _DAY_US
    genres = [
        [GENRES[one]] if other < 0 else [GENRES[one], GENRES[other]]
        for one, other in zip(titles.genres.tolist(), titles.second_genres.tolist(), strict=True)
    ]
    columns = {
        "item_id": pa.array(np.arange(1, len(titles) + 1)),
        "title": pa.array(titles.names, pa.string()),
        "synopsis": pa.array(titles.synopses, pa.string()),
        "genres": pa.array(genres, pa.list_(pa.string())),
        "language": named(LANGUAGES, titles.languages),
        "cast": pa.array([list(cast) for cast in titles.casts], pa.list_(pa.string())),
        "creator": named(titles.creator_names, titles.creators),
        "release_year": pa.array(titles.release_years.astype(np.int32)),
        "kind": named(("video", "audio"), titles.kinds),
        "duration_seconds": pa.array(titles.durations.astype(np.int32)),
        "series_id": pa.array(titles.series, mask=~is_episode),
        "season": pa.array(titles.seasons.astype(np.int32), mask=~is_episode),
        "episode": pa.array(titles.episodes.astype(np.int32), mask=~is_episode),
        "maturity": pa.array(titles.maturities.astype(np.int32)),
        "published_at": _times(start + titles.published_days * _DAY_US),
        "withdrawn_at": _times(gone, ~(leaves & ~titles.is_licence)),
        "licence_from": pa.nulls(len(titles), pa.timestamp("us", tz="UTC")),
        "licence_until": _times(gone, ~(leaves & titles.is_licence)),
        "territories": pa.array(
            [None if one < 0 else [COUNTRIES[one]] for one in titles.home_countries.tolist()], pa.list_(pa.string())
        ),
        "moderation_state": pa.array(["approved"] * len(titles), pa.string()),
        "origin_country": named(COUNTRIES, titles.origins),
    }
    return _batch(ITEMS, columns)


def user_rows(world: World) -> pa.RecordBatch:
    """Rows of USERS, in order of id."""
    profiles = world.profiles
    first_day = microseconds(world.configuration.first_day)
    users = np.arange(len(profiles))
    limit = np.array(LIMITS)[profiles.limits]
    picks = [[GENRES[genre] for genre in np.flatnonzero(row)] or None for row in profiles.onboarding]
    columns = {
        "user_id": pa.array(users + 1),
        "age_band": named(AGE_BANDS, profiles.age_bands),
        "city": named(tuple(city[0] for city in CITIES), profiles.cities),
        "country": named(COUNTRIES, profiles.countries),
        "device": named(DEVICES, profiles.devices),
        "onboarding_genres": pa.array(picks, pa.list_(pa.string())),
        "signup_at": _times(first_day + profiles.signup_days * _DAY_US + signup_seconds(users) * 1_000_000),
        "maturity_limit": pa.array(limit.astype(np.int32), mask=profiles.limits == len(LIMITS) - 1),
        "is_opted_out": pa.array(profiles.is_opted_out),
    }
    return _batch(USERS, columns)


def protected_rows(world: World) -> pa.RecordBatch:
    """Rows of PROTECTED_ATTRIBUTES, in order of id."""
    profiles = world.profiles
    columns = {
        "user_id": pa.array(np.arange(1, len(profiles) + 1)),
        "gender": named(GENDERS, profiles.genders),
        "age": pa.array(profiles.ages.astype(np.int32)),
    }
    return _batch(PROTECTED_ATTRIBUTES, columns)


def _batch(table: Table, columns: dict[str, pa.Array]) -> pa.RecordBatch:
    schema = arrow_schema(table)
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _times(values: NDArray[np.int64], mask: NDArray[np.bool_] | None = None) -> pa.Array:
    return pa.array(values, pa.int64(), mask=mask).cast(pa.timestamp("us", tz="UTC"))
