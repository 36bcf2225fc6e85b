"""What may be shown, and what is known of titles, as known on a day."""

from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_defs.items import ITEMS
from pipelines.days import end_of
from pipelines.lake import Lake
from pipelines.sorted_ids import positions_among


def read_names(lake: Lake, day: date) -> dict[int, str]:
    """What the titles of a day are called, by item id."""
    rows = lake.read(ITEMS, day, day, columns=["item_id", "title"])
    return dict(zip(rows.column("item_id").to_pylist(), rows.column("title").to_pylist(), strict=True))


def may_be_shown(items: pa.Table, moment: datetime) -> pa.ChunkedArray:
    """Which titles are published, approved, not withdrawn and inside their licence window at a moment: bool [I]."""
    now = pa.scalar(moment, pa.timestamp("us", tz="UTC"))

    def not_yet(column: str) -> pa.ChunkedArray:
        return pc.fill_null(pc.greater(items.column(column), now), False)

    def over(column: str) -> pa.ChunkedArray:
        return pc.fill_null(pc.less_equal(items.column(column), now), False)

    hidden = pc.or_(pc.or_(not_yet("published_at"), not_yet("licence_from")), over("withdrawn_at"))
    hidden = pc.or_(hidden, over("licence_until"))
    return pc.and_not(pc.equal(items.column("moderation_state"), "approved"), hidden)


@dataclass(frozen=True)
class Catalogue:
    """The catalogue of a day as columns, a position a title: what models and lists read of it.

    I titles, G genres. Codes index the names beside them, in alphabetical order; -1 where nothing is known.

    `item_ids`: int64 [I], ascending. `may_be_shown`: bool [I]. `has_genre`: bool [I, G]. `main_genres`: int64 [I], the
    first genre of each. `languages`, `kinds`, `creators`, `series`: int64 [I]. `next_episodes`: int64 [I], the position
    of the episode that follows in the series. `release_years`: int64 [I], 0 if unknown. `published_days`: int64 [I],
    days since 1970. `maturities`: int64 [I], 0 if unknown.
    """

    day: date
    item_ids: NDArray[np.int64]
    may_be_shown: NDArray[np.bool_]
    genre_names: tuple[str, ...]
    has_genre: NDArray[np.bool_]
    main_genres: NDArray[np.int64]
    language_names: tuple[str, ...]
    languages: NDArray[np.int64]
    kind_names: tuple[str, ...]
    kinds: NDArray[np.int64]
    creator_names: tuple[str, ...]
    creators: NDArray[np.int64]
    series: NDArray[np.int64]
    next_episodes: NDArray[np.int64]
    release_years: NDArray[np.int64]
    published_days: NDArray[np.int64]
    maturities: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.item_ids)

    @property
    def eligible(self) -> NDArray[np.int64]:
        """Ids of the titles that may be shown: int64, ascending."""
        return self.item_ids[self.may_be_shown]

    @cached_property
    def previous_episodes(self) -> NDArray[np.int64]:
        """The position of the episode before each title, -1 where there is none: int64 [I]."""
        previous = np.full(len(self), -1, np.int64)
        is_followed = self.next_episodes >= 0
        previous[self.next_episodes[is_followed]] = np.flatnonzero(is_followed)
        return previous

    def positions(self, item_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where titles stand: int64 of the same shape, -1 for those that are not there."""
        return positions_among(self.item_ids, item_ids)


def catalogue_from(items: pa.Table, day: date) -> Catalogue:
    """The columns of rows of ITEMS, for the end of a day."""
    items = items.sort_by("item_id")
    genres = items.column("genres").combine_chunks()
    parents = pc.list_parent_indices(genres).to_numpy()
    genre_names, codes = _coded(pc.list_flatten(genres))
    has_genre = np.zeros((items.num_rows, len(genre_names)), np.bool_)
    has_genre[parents[codes >= 0], codes[codes >= 0]] = True
    main_genres = np.full(items.num_rows, -1, np.int64)
    # Backwards, so that the first genre of a title is written last.
    main_genres[parents[::-1]] = codes[::-1]
    language_names, languages = _coded(items.column("language"))
    kind_names, kinds = _coded(items.column("kind"))
    creator_names, creators = _coded(items.column("creator"))
    series = _integers(items.column("series_id"), -1)
    published = items.column("published_at").cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
    return Catalogue(
        day=day,
        item_ids=items.column("item_id").to_numpy().astype(np.int64),
        may_be_shown=may_be_shown(items, end_of(day)).to_numpy().astype(np.bool_),
        genre_names=genre_names,
        has_genre=has_genre,
        main_genres=main_genres,
        language_names=language_names,
        languages=languages,
        kind_names=kind_names,
        kinds=kinds,
        creator_names=creator_names,
        creators=creators,
        series=np.unique(series, return_inverse=True)[1] - int(bool((series < 0).any())),
        next_episodes=_next_episodes(
            series, _integers(items.column("season"), 0), _integers(items.column("episode"), 0)
        ),
        release_years=_integers(items.column("release_year"), 0),
        published_days=published // 86_400_000_000,
        maturities=_integers(items.column("maturity"), 0),
    )


def as_known(catalogue: Catalogue, until: date, shown_on: date) -> Catalogue:
    """A catalogue as it was before: known at the end of one day, and what may be shown on another.

    What is to be published is known beforehand, as the service plans it. That a title which may be shown now could not
    be shown then, but for its publication, is not known.
    """
    published = catalogue.published_days <= (shown_on - date(1970, 1, 1)).days
    return replace(catalogue, day=until, may_be_shown=catalogue.may_be_shown & published)


def read_catalogue(lake: Lake, day: date) -> Catalogue:
    """The catalogue as extracted for a day."""
    return catalogue_from(lake.read(ITEMS, day, day), day)


def _coded(texts: pa.ChunkedArray | pa.Array) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Distinct texts in alphabetical order, and each text's place among them; -1 for null."""
    names = sorted(name for name in pc.unique(texts).to_pylist() if name is not None)
    codes = pc.fill_null(pc.index_in(texts, pa.array(names, pa.string())), -1)
    return tuple(names), codes.to_numpy().astype(np.int64)


def _integers(column: pa.ChunkedArray, missing: int) -> NDArray[np.int64]:
    values: NDArray[np.int64] = pc.fill_null(column.cast(pa.int64()), missing).to_numpy()
    return values


def _next_episodes(
    series: NDArray[np.int64], seasons: NDArray[np.int64], episodes: NDArray[np.int64]
) -> NDArray[np.int64]:
    following = np.full(len(series), -1, np.int64)
    order = np.lexsort((episodes, seasons, series))
    is_same = (series[order][1:] == series[order][:-1]) & (series[order][1:] >= 0)
    following[order[:-1][is_same]] = order[1:][is_same]
    return following
