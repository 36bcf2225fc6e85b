"""MovieLens as a warehouse: the folders of the 100K and 1M data sets of GroupLens in, declared tables out.

Harper & Konstan, The MovieLens Datasets: History and Context, ACM TiiS 5(4), 2015. GroupLens forbids redistribution,
so the files are read from where their user keeps them. What they do not say stays null.

A rating becomes a play, by how much of a film somebody who rates it so is likely to have seen (`WATCHED_SHARES`). That
is a convention of ours, as in the literature that trains on "4 stars or more"; nothing else is made up, and there are
neither impressions nor clicks.
"""

import gzip
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from feature_defs.declarations import Table
from feature_defs.events import EVENTS
from feature_defs.items import ITEMS
from feature_defs.users import PROTECTED_ATTRIBUTES, USERS
from pipelines.arrow_schemas import arrow_schema
from pipelines.errors import DataError, UnavailableError

WATCHED_SHARES = {5: 1.0, 4: 0.9, 3: 0.6, 2: 0.3, 1: 0.1}

# Seconds between two ratings of a user of which one has no known time; people rate a page of films in one sitting.
SPACING_SECONDS = 30
# When the first user of the 1M data set came; only for ratings of which no time at all is known.
_BEGINNING = datetime(2000, 4, 25, tzinfo=UTC)

_GENRES_100K = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
# What the certificates of the Motion Picture Association say of age; PG leaves it to parents of young children.
_MATURITY = {"G": 0, "PG": 7, "PG-13": 13, "R": 17, "NC-17": 18}
_GENDERS = {"M": "male", "F": "female"}
_MICROSECOND = pl.Datetime("us", "UTC")


def read_movielens(folder: Path) -> Mapping[Table, pa.Table]:
    """The declared tables of a folder in the layout of MovieLens 100K (`u.data`) or 1M (`users.dat`).

    The 1M folder holds `ratings.dat`, or `ratings_ordered.csv.gz` with every rating's place in its user's order and
    the time of only some (`times_from_order`); `movies_extrainfos.dat` is read where there is one.

    Raises:
        UnavailableError: if the folder or a file is not there or cannot be read.
        DataError: if the folder is of neither layout, or a line is malformed; names file and line.
    """
    if not folder.is_dir():
        raise UnavailableError(f"there is no folder {folder}")
    if (folder / "u.data").is_file():
        name, ratings, items, users = "ml-100k", _ratings_100k(folder), _items_100k(folder), _users_100k(folder)
    elif (folder / "users.dat").is_file():
        name, ratings, items, users = "ml-1m", _ratings_1m(folder), _items_1m(folder), _users_1m(folder)
    else:
        raise DataError(f"the folder {folder} holds neither u.data (MovieLens 100K) nor users.dat (MovieLens 1M)")
    if ratings.is_empty():
        raise DataError(f"the folder {folder} holds no ratings")
    return {
        EVENTS: _declared(EVENTS, _events(ratings, name)),
        ITEMS: _declared(ITEMS, _published(items, ratings)),
        USERS: _declared(USERS, _signed_up(users, ratings)),
        PROTECTED_ATTRIBUTES: _declared(PROTECTED_ATTRIBUTES, users),
    }


def times_from_order(ratings: pl.DataFrame) -> pl.DataFrame:
    """A time for each rating, strictly increasing in each user's order; a known time changes by less than a second.

    Between two known times it is interpolated evenly over the ratings between them. Before a user's first known time
    and after the last one ratings are `SPACING_SECONDS` apart. A user without any starts at the earliest time known of
    anybody, or on 2000-04-25 where none is. The order in microseconds is added to all, so that no two are equal: known
    times are whole seconds.

    Args:
        ratings: columns `user_id`, `order`, `known_seconds` (seconds since 1970, or null) and any others.

    Returns:
        The rows sorted by user and order, with a column `happened_at`.
    """
    earliest = ratings["known_seconds"].min()
    start = earliest if isinstance(earliest, int) else int(_BEGINNING.timestamp())
    order, known, spacing = pl.col("order"), pl.col("known_seconds") * 1_000_000, SPACING_SECONDS * 1_000_000
    known_order = pl.when(known.is_not_null()).then(order)
    neighbours = ratings.sort("user_id", "order").with_columns(
        before=known.forward_fill().over("user_id"),
        after=known.backward_fill().over("user_id"),
        order_before=known_order.forward_fill().over("user_id"),
        order_after=known_order.backward_fill().over("user_id"),
    )
    before, after, order_before, order_after = map(pl.col, ("before", "after", "order_before", "order_after"))
    share = (after - before) * (order - order_before) // (order_after - order_before)
    time = (
        pl.when(known.is_not_null())
        .then(known)
        .when(before.is_not_null() & after.is_not_null())
        .then(before + share)
        .when(after.is_not_null())
        .then(after - (order_after - order) * spacing)
        .when(before.is_not_null())
        .then(before + (order - order_before) * spacing)
        .otherwise(start * 1_000_000 + order * spacing)
    )
    return neighbours.with_columns(happened_at=(time + order).cast(_MICROSECOND)).drop(
        "before", "after", "order_before", "order_after"
    )


def _ratings_100k(folder: Path) -> pl.DataFrame:
    lines = _lines(folder / "u.data", "\t", ("user_id", "item_id", "rating", "seconds"))
    return _rated(lines, folder / "u.data").with_columns(
        happened_at=(_integers(lines, "seconds", folder / "u.data") * 1_000_000).cast(_MICROSECOND)
    )


def _ratings_1m(folder: Path) -> pl.DataFrame:
    if (folder / "ratings.dat").is_file():
        path = folder / "ratings.dat"
        lines = _lines(path, "::", ("user_id", "item_id", "rating", "seconds"))
        return _rated(lines, path).with_columns(
            happened_at=(_integers(lines, "seconds", path) * 1_000_000).cast(_MICROSECOND)
        )
    path = folder / "ratings_ordered.csv.gz"
    lines = _lines(path, ",", ("user_id", "item_id", "rating", "order", "known"), header_count=1)
    ordered = _rated(lines, path).with_columns(
        order=_integers(lines, "order", path),
        known_seconds=_integers(lines, "known", path, is_optional=True),
        line=lines["line"],
    )
    _refuse(
        ordered, ~pl.col("order").is_between(0, 999_999), path, lambda row: f"order {row['order']} is out of bounds"
    )
    _refuse(
        ordered,
        pl.struct("user_id", "order").is_duplicated(),
        path,
        lambda row: f"user {row['user_id']} has order {row['order']} twice",
    )
    known = ordered.drop_nulls("known_seconds").sort("user_id", "order")
    _refuse(
        known,
        pl.col("known_seconds").diff().over("user_id") < 0,
        path,
        lambda row: f"user {row['user_id']} has a time before that of an earlier rating",
    )
    return times_from_order(ordered.drop("line")).drop("order", "known_seconds")


def _rated(lines: pl.DataFrame, path: Path) -> pl.DataFrame:
    ratings = pl.DataFrame(
        {name: _integers(lines, name, path) for name in ("user_id", "item_id", "rating")} | {"line": lines["line"]}
    )
    _refuse(
        ratings,
        ~pl.col("rating").is_in(list(WATCHED_SHARES)),
        path,
        lambda row: f"the rating is {row['rating']}, and must be from 1 to 5",
    )
    _refuse(
        ratings,
        pl.struct("user_id", "item_id").is_duplicated(),
        path,
        lambda row: f"user {row['user_id']} rates item {row['item_id']} more than once",
    )
    return ratings.drop("line")


def _items_100k(folder: Path) -> pl.DataFrame:
    path = folder / "u.item"
    lines = _lines(path, "|", ("item_id", "name", "released", "video_released", "url", *_GENRES_100K))
    genres = pl.concat_list(
        [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in _GENRES_100K if genre != "unknown"]
    ).list.drop_nulls()
    return lines.select(
        _integers(lines, "item_id", path).alias("item_id"),
        *_title_and_year(pl.col("name")),
        genres=pl.when(genres.list.len() > 0).then(genres),
        released_at=pl.col("released").str.to_datetime("%d-%b-%Y", strict=False, time_unit="us", time_zone="UTC"),
    )


def _items_1m(folder: Path) -> pl.DataFrame:
    path = folder / "movies.dat"
    lines = _lines(path, "::", ("item_id", "name", "genres"))
    items = lines.select(
        _integers(lines, "item_id", path).alias("item_id"),
        *_title_and_year(pl.col("name")),
        genres=pl.when(pl.col("genres") != "").then(pl.col("genres").str.split("|")),
    )
    path = folder / "movies_extrainfos.dat"
    if not path.is_file():
        return items.with_columns(released_at=pl.lit(None, _MICROSECOND))
    columns = (
        "item_id", "name", "year", "certificate", "released", "genres", "director", "writers", "cast", "plot", "poster",
    )  # fmt: skip
    lines = _lines(path, "::", columns, encoding="utf-8")
    text = {name: _known(pl.col(name)) for name in columns}
    known = lines.select(
        _integers(lines, "item_id", path).alias("item_id"),
        year=text["year"].str.extract(r"^(\d{4})").cast(pl.Int32),
        maturity=text["certificate"].replace_strict(_MATURITY, default=None, return_dtype=pl.Int32),
        released_at=text["released"].str.to_datetime("%d %b %Y", strict=False, time_unit="us", time_zone="UTC"),
        creator=text["director"],
        cast=text["cast"].str.split(", "),
        synopsis=text["plot"],
    )
    return items.join(known.unique("item_id", keep="first"), "item_id", how="left").with_columns(
        release_year=pl.coalesce("release_year", "year")
    )


def _title_and_year(name: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """`Land Before Time III, The (1995) (V)` is the title `Land Before Time III, The (V)` and the year 1995."""
    year = r"\s*\((\d{4})\)\s*"
    title = name.str.replace(year, " ").str.strip_chars()
    return title.alias("title"), name.str.extract(year).cast(pl.Int32).alias("release_year")


def _users_100k(folder: Path) -> pl.DataFrame:
    path = folder / "u.user"
    lines = _lines(path, "|", ("user_id", "age", "gender", "occupation", "zip"))
    return _people(lines, path)


def _users_1m(folder: Path) -> pl.DataFrame:
    path = folder / "users.dat"
    lines = _lines(path, "::", ("user_id", "gender", "age", "occupation", "zip"))
    return _people(lines, path)


def _people(lines: pl.DataFrame, path: Path) -> pl.DataFrame:
    _refuse(
        lines, ~pl.col("gender").is_in(list(_GENDERS)), path, lambda row: f"the gender is {row['gender']!r}, not M or F"
    )
    age = pl.col("age")
    # In the 1M data set an age is the lower end of a band; its band from 50 to 55 falls between two of ours.
    band = (
        pl.when(age < 18).then(pl.lit("under_18"))
        .when(age < 25).then(pl.lit("18_24"))
        .when(age < 35).then(pl.lit("25_34"))
        .when(age < 45).then(pl.lit("35_44"))
        .when(age < 55).then(pl.lit("45_54"))
        .otherwise(pl.lit("55_up"))
    )  # fmt: skip
    return lines.select(
        _integers(lines, "user_id", path).alias("user_id"),
        _integers(lines, "age", path).cast(pl.Int32).alias("age"),
        gender=pl.col("gender").replace_strict(_GENDERS),
        city=pl.when(pl.col("zip") != "").then(pl.col("zip")),
        # Some gave the postal code of another country; a zip code has digits alone.
        country=pl.when(pl.col("zip").str.contains(r"^\d{5}")).then(pl.lit("US")),
        is_opted_out=pl.lit(value=False),
    ).with_columns(age_band=band)


def _events(ratings: pl.DataFrame, name: str) -> pl.DataFrame:
    return ratings.select(
        "user_id",
        "item_id",
        "happened_at",
        event_id=pl.format(f"{name}:{{}}:{{}}", "user_id", "item_id"),
        kind=pl.lit("play"),
        received_at=pl.col("happened_at"),
        watched_share=pl.col("rating").replace_strict(WATCHED_SHARES, return_dtype=pl.Float32),
    )


def _published(items: pl.DataFrame, ratings: pl.DataFrame) -> pl.DataFrame:
    """Items with `published_at`: the release, but not before the first day of the data, nor after the first rating.

    Where no release is known it is the midnight before the first rating, of an item without any the first day.
    """
    first_rated = ratings.group_by("item_id").agg(first_rated_at=pl.col("happened_at").min())
    first_day = pl.lit(ratings["happened_at"].dt.truncate("1d").min(), _MICROSECOND)
    released = pl.max_horizontal("released_at", first_day)
    rated_day = pl.col("first_rated_at").dt.truncate("1d")
    published = (
        pl.when(pl.col("released_at").is_not_null())
        .then(pl.min_horizontal(released, "first_rated_at"))
        .otherwise(pl.coalesce(rated_day, first_day))
    )
    return items.join(first_rated, "item_id", how="left").with_columns(
        published_at=published, kind=pl.lit("video"), moderation_state=pl.lit("approved")
    )


def _signed_up(users: pl.DataFrame, ratings: pl.DataFrame) -> pl.DataFrame:
    """Users with `signup_at`: their first rating, of one without any the first day of the data."""
    first = ratings.group_by("user_id").agg(first_rated_at=pl.col("happened_at").min())
    first_day = pl.lit(ratings["happened_at"].dt.truncate("1d").min(), _MICROSECOND)
    return users.join(first, "user_id", how="left").with_columns(signup_at=pl.coalesce("first_rated_at", first_day))


def _declared(table: Table, rows: pl.DataFrame) -> pa.Table:
    """The rows in the declared columns and types, null where the data set says nothing."""
    schema, arrow = arrow_schema(table), rows.to_arrow()
    columns = [
        arrow.column(field.name).cast(field.type) if field.name in rows.columns else pa.nulls(rows.height, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _known(text: pl.Expr) -> pl.Expr:
    return pl.when((text != "") & (text != "N/A")).then(text)


def _lines(
    path: Path, separator: str, columns: tuple[str, ...], *, encoding: str = "latin-1", header_count: int = 0
) -> pl.DataFrame:
    """The fields of each line as text, and the number of the line."""
    try:
        raw = path.read_bytes()
        if path.suffix == ".gz":
            raw = gzip.decompress(raw)
        # Not `splitlines`: in Latin-1 some letters of a title would end a line.
        text = raw.decode(encoding).split("\n")
    except (OSError, EOFError, zlib.error) as error:
        raise UnavailableError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text in {encoding}: byte {error.start}") from None
    frame = pl.DataFrame({"text": text}, schema={"text": pl.String}).with_row_index("line", offset=1)
    frame = frame.slice(header_count).with_columns(pl.col("text").str.strip_suffix("\r"))
    frame = frame.filter(pl.col("text") != "").with_columns(parts=pl.col("text").str.split(separator))
    _refuse(
        frame,
        pl.col("parts").list.len() != len(columns),
        path,
        lambda row: f"{len(row['parts'])} fields between {separator!r}, and there must be {len(columns)}",
    )
    return frame.select("line", *(pl.col("parts").list.get(i).alias(name) for i, name in enumerate(columns)))


def _integers(lines: pl.DataFrame, name: str, path: Path, *, is_optional: bool = False) -> pl.Series:
    numbers = lines[name].cast(pl.Int64, strict=False)
    wrong = numbers.is_null() & (lines[name] != "") if is_optional else numbers.is_null()
    _refuse(
        lines, pl.lit(wrong), path, lambda row: f"{name.replace('_', ' ')} is {row[name]!r}, and must be an integer"
    )
    return numbers


def _refuse(rows: pl.DataFrame, is_wrong: pl.Expr, path: Path, why: Callable[[dict[str, Any]], str]) -> None:
    """Raise a DataError that names the first line at fault, and why."""
    wrong = rows.filter(is_wrong).sort("line").head(1).to_dicts()
    if wrong:
        raise DataError(f"{path}, line {wrong[0]['line']}: {why(wrong[0])}")
