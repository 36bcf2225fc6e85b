"""A title as the endpoint knows it, and the little of it that every candidate of a list is asked for."""

from datetime import datetime

import msgspec

# Least age, countries (None: all), codes of the main genre, the creator and the series (-1: none; no two share a code).
Entry = tuple[int, frozenset[str] | None, int, int, int]


class Title(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A title, as the catalogue of the snapshot has it; `maturity` is the least age in years, 0 where nobody said."""

    item_id: int
    name: str
    genres: tuple[str, ...]
    kind: str
    language: str | None
    creator: str | None
    maturity: int
    series_id: int | None
    season: int | None
    episode: int | None
    published_at: datetime
    withdrawn_at: datetime | None
    licence_from: datetime | None
    licence_until: datetime | None
    territories: tuple[str, ...] | None
    moderation_state: str
