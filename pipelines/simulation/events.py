"""Rows of EVENTS from what happened on a day."""

from collections.abc import Iterator
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_defs.events import EVENTS, KINDS
from pipelines.arrow_schemas import arrow_schema
from pipelines.simulation.profiles import DEVICES
from pipelines.simulation.sessions import DAY_SECONDS, SURFACES, DayLog, simulate_day
from pipelines.simulation.state import first_state
from pipelines.simulation.world import World

_LATE_SHARE = 0.01
_LATE_BY_DAYS_SHARE = 0.4


def event_days(world: World) -> Iterator[pa.RecordBatch]:
    """Events of the log, a batch a day of happening, in order; those received after the last day are left out."""
    state = first_state(world)
    for day in range(world.configuration.day_count):
        yield event_rows(world, day, simulate_day(world, state, day))


def event_rows(world: World, day: int, log: DayLog) -> pa.RecordBatch:
    """A day's events in the declared columns.

    Most are received within minutes; one in a hundred comes hours or days late. What a session reports late it reports
    event by event.
    """
    configuration, titles = world.configuration, world.titles
    generator = np.random.default_rng([configuration.seed, 5, day])
    count = len(log.users)
    delay = 1 + generator.exponential(30, count)
    late = generator.random(count) < _LATE_SHARE
    by_days = late & (generator.random(count) < _LATE_BY_DAYS_SHARE)
    delay = np.where(late, 600 + generator.exponential(5 * 3600, count), delay)
    delay = np.where(by_days, DAY_SECONDS * generator.uniform(1, 6, count), delay)
    midnight = microseconds(configuration.first_day + timedelta(days=day))
    happened = midnight + (log.seconds * 1e6).astype(np.int64)
    received = happened + (delay * 1e6).astype(np.int64)
    keep = received < microseconds(configuration.last_day + timedelta(days=1))
    numbers = np.arange(count)[keep]
    is_play = (log.kinds == KINDS.index("play"))[keep]
    shares, slots = log.shares[keep], log.slots[keep]
    is_shown = slots >= 0
    chosen = log.titles[keep]
    prefix = f"sim-{configuration.seed}-{day}-"
    columns = {
        "event_id": _numbered(prefix, numbers),
        "request_id": pc.if_else(pa.array(is_shown), _numbered(prefix + "r", log.sessions[keep]), None),
        "user_id": pa.array(log.users[keep] + 1),
        "item_id": pa.array(chosen + 1),
        "kind": named(KINDS, log.kinds[keep]),
        "happened_at": _times(happened[keep]),
        "received_at": _times(received[keep]),
        "watched_share": pa.array(shares, pa.float32(), mask=~is_play),
        "position": pa.array(
            (np.nan_to_num(shares) * titles.durations[chosen]).astype(np.int32), pa.int32(), mask=~is_play
        ),
        "surface": named(SURFACES, log.surfaces[keep]),
        "device": named(DEVICES, log.devices[keep]),
        "run_id": pa.nulls(len(numbers), pa.string()),
        "slot": pa.array(slots.astype(np.int32), pa.int32(), mask=~is_shown),
        "propensity": pa.array(log.propensities[keep], pa.float32(), mask=~is_shown),
    }
    schema = arrow_schema(EVENTS)
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def microseconds(day: date) -> int:
    """Midnight of a day in microseconds since 1970."""
    return (day - date(1970, 1, 1)).days * DAY_SECONDS * 1_000_000


def named(names: tuple[str, ...], codes: NDArray[np.int64]) -> pa.Array:
    """The names that codes stand for."""
    return pa.array(names, pa.string()).take(pa.array(codes))


def _numbered(prefix: str, numbers: NDArray[np.int64]) -> pa.Array:
    return pc.binary_join_element_wise(prefix, pa.array(numbers).cast(pa.string()), "")


def _times(values: NDArray[np.int64]) -> pa.Array:
    return pa.array(values, pa.int64()).cast(pa.timestamp("us", tz="UTC"))
