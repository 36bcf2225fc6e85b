"""The files of a snapshot: how they are written at night and read by the endpoint, without any heavy library.

titles.msgpack       every title of the catalogue, as `pipelines.serving.title.Title`
neighbours.msgpack   columns: ids, and the nearest titles of each, nearest first
cohorts.msgpack      columns: age band, city, first genre, and a packed list for each such cohort
trending.bin         a packed list
explorable.msgpack   columns: ids, how often shown and taken up, the weight of each
fresh.msgpack        columns: ids, when published, and their vectors (float32, end to end)
rules.json           what answers keep to, and of which day and model set the snapshot is
"""

from collections.abc import Mapping
from datetime import datetime
from typing import TypeVar

import msgspec

from pipelines.errors import DataError
from pipelines.serving.title import Title

TITLES, NEIGHBOURS, COHORTS, TRENDING, EXPLORABLE, FRESH, RULES = (
    "titles.msgpack", "neighbours.msgpack", "cohorts.msgpack", "trending.bin", "explorable.msgpack", "fresh.msgpack",
    "rules.json",
)  # fmt: skip


class NeighbourColumns(msgspec.Struct, frozen=True):
    """Titles and the nearest of each."""

    item_ids: list[int]
    neighbours: list[tuple[int, ...]]


class CohortColumns(msgspec.Struct, frozen=True):
    """Cohorts and a packed list for each."""

    age_bands: list[str | None]
    cities: list[str | None]
    genres: list[str | None]
    lists: list[bytes]


class ExplorableColumns(msgspec.Struct, frozen=True):
    """Titles that may be drawn: how often each was shown in a slot and taken up, and its share of the draws."""

    item_ids: list[int]
    impressions: list[int]
    successes: list[int]
    weights: list[float]


class FreshColumns(msgspec.Struct, frozen=True):
    """Titles published lately or soon, digests of their texts, and what the towers make of them: vectors of `width`
    numbers, float32, little-endian, end to end.
    """

    item_ids: list[int]
    published_at: list[datetime]
    texts: list[str]
    width: int
    vectors: bytes


Columns = NeighbourColumns | CohortColumns | ExplorableColumns | FreshColumns | list[Title]
_Kind = TypeVar("_Kind")


def encoded(columns: Columns) -> bytes:
    """The bytes of a file."""
    return msgspec.msgpack.encode(columns)


def decoded(files: Mapping[str, bytes], name: str, kind: type[_Kind]) -> _Kind:
    """What a file holds.

    Raises:
        DataError: if it is missing or holds something else; names it.
    """
    try:
        return msgspec.msgpack.decode(files[name], type=kind)
    except (KeyError, msgspec.MsgspecError) as error:
        raise DataError(f"{name} of a snapshot cannot be read: {error}") from None
