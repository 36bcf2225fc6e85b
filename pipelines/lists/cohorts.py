"""Lists for users of whom little is known: the taste of those who are of their age, city and first chosen genre.

A cohort's vector is the mean of the ALS vectors of its members with a history. Small cohorts are shrunk to wider ones,
each level to the one before it by n / (n + m), as empirical Bayes does with group means (Efron, Morris, "Stein's
Paradox in Statistics", 1977), so that a cohort that was never seen gets what is known of its wider ones. As an inner
product with a mean vector is the mean of the members' scores, a list is what its members would be recommended, and
what is popular among them counts as far as ALS has learned it.

Shapes: U users, M users with a history, I titles, K factors, J cohorts of a level, C places.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy import sparse

from feature_defs.recommendations import LIST_LENGTH, SOURCES
from pipelines.blas_threads import one_blas_thread
from pipelines.catalogue import Catalogue
from pipelines.errors import DataError
from pipelines.histories import Histories
from pipelines.largest import largest
from pipelines.lists.candidates import Candidates, compressed
from pipelines.lists.forbidden import forbidden

# Members at which a cohort counts as much as the wider one it is shrunk to.
SHRINKAGE = 20.0
# From wide to narrow. A genre says more of taste than a city, so what a city says is overruled first.
_LEVELS: tuple[tuple[str, ...], ...] = (
    (),
    ("city",),
    ("genre",),
    ("age_band", "genre"),
    ("age_band", "city", "genre"),
)
# Not a name that anyone gives: what stands for an attribute that is not known, a level of its own.
_UNKNOWN = "\0"
_CELLS = 4 * 1024 * 1024

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Level:
    """The cohorts of one level.

    `names`: which attributes make it. `keys`: their values, joined, in ascending order: [J]. `sums`: float64 [J, K], of
    the vectors of members. `counts`: int64 [J].
    """

    names: tuple[str, ...]
    keys: tuple[str, ...]
    sums: NDArray[np.float64]
    counts: NDArray[np.int64]


@dataclass(frozen=True)
class Cohorts:
    """The tastes of cohorts, from wide levels to narrow ones, and at how many members one counts half."""

    levels: tuple[Level, ...]
    shrinkage: float

    def vectors_of(self, users: pa.Table) -> Floats:
        """The vectors of the cohorts of users, those never seen among them: float32 [U, K].

        Args:
            users: rows with `age_band`, `city` and `onboarding_genres`.
        """
        columns = _attributes(users)
        vectors = np.zeros((users.num_rows, self.levels[0].sums.shape[1]))
        for level in self.levels:
            at = pc.fill_null(
                pc.index_in(_keys(columns, level.names, users.num_rows), pa.array(level.keys, pa.string())), -1
            )
            rows = at.to_numpy().astype(np.int64)
            is_known = rows >= 0
            # Everyone is shrunk to nothing else: their mean is the start.
            shrinkage = self.shrinkage if level.names else 0.0
            counts = level.counts[rows[is_known], None]
            sums = level.sums[rows[is_known]] + shrinkage * vectors[is_known]
            vectors[is_known] = sums / (counts + shrinkage)
        return vectors.astype(np.float32)

    def to_files(self) -> dict[str, bytes]:
        """Sums and counts of the cohorts, and how they are shrunk, by file name."""
        sums = np.concatenate([level.sums for level in self.levels])
        table = pa.table(
            {
                "level": np.repeat(np.arange(len(self.levels)), [len(level.keys) for level in self.levels]),
                "key": pa.array([key for level in self.levels for key in level.keys], pa.string()),
                "count": np.concatenate([level.counts for level in self.levels]),
                "sum": pa.FixedSizeListArray.from_arrays(pa.array(sums.reshape(-1)), sums.shape[1]),
            }
        )
        rows = io.BytesIO()
        pq.write_table(table, rows)
        described = {"shrinkage": self.shrinkage, "levels": [level.names for level in self.levels]}
        return {
            "cohorts.parquet": rows.getvalue(),
            "cohorts.json": json.dumps(described, sort_keys=True, indent=1).encode(),
        }

    @staticmethod
    def from_files(files: Mapping[str, bytes]) -> "Cohorts":
        """The cohorts that `to_files` wrote.

        Raises:
            DataError: if files are missing, cannot be read or hold sums that are not finite.
        """
        try:
            described = json.loads(files["cohorts.json"])
            rows = pq.read_table(io.BytesIO(files["cohorts.parquet"]))
            names = [tuple(level) for level in described["levels"]]
            shrinkage = float(described["shrinkage"])
            of_level = rows.column("level").to_numpy()
            column = rows.column("sum").combine_chunks()
            sums = column.flatten().to_numpy().reshape(len(column), column.type.list_size)
            keys, counts = rows.column("key").to_pylist(), rows.column("count").to_numpy()
        except (KeyError, TypeError, ValueError, AttributeError, pa.ArrowException) as error:
            raise DataError(f"the files of the cohorts cannot be read: {error}") from None
        if not np.isfinite(sums).all():
            raise DataError("the sums of the cohorts are not all finite")
        levels = []
        for place, level in enumerate(names):
            at = np.flatnonzero(of_level == place)
            levels.append(Level(level, tuple(keys[row] for row in at), sums[at], counts[at]))
        return Cohorts(tuple(levels), shrinkage)


def cohort_vectors(
    als_users: Floats, users: pa.Table, is_warm: NDArray[np.bool_], shrinkage: float = SHRINKAGE
) -> Cohorts:
    """The tastes of cohorts, from the users with a history.

    Args:
        als_users: float32 [U, K], from histories.
        users: rows with `age_band`, `city` and `onboarding_genres`, in the same order.
        is_warm: bool [U], whose vectors count.
        shrinkage: at how many members a cohort counts as much as the wider one.

    Raises:
        DataError: where the rows are not as many, or vectors that count are not finite.
    """
    if not len(als_users) == users.num_rows == len(is_warm):
        raise DataError(f"{users.num_rows} users have {len(als_users)} vectors, and {len(is_warm)} are said to be warm")
    members = als_users[is_warm].astype(np.float64)
    if not np.isfinite(members).all():
        raise DataError("the ALS vectors of users with a history are not all finite")
    columns = _attributes(users.filter(pa.array(is_warm)))
    levels = []
    for names in _LEVELS:
        encoded = _keys(columns, names, len(members)).dictionary_encode()
        codes = encoded.indices.to_numpy().astype(np.int64)
        keys = encoded.dictionary.to_pylist()
        order = np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)
        ranks = np.empty_like(order)
        ranks[order] = np.arange(len(order))
        belongs = (np.ones(len(members)), (ranks[codes], np.arange(len(members))))
        sums = sparse.csr_array(belongs, shape=(len(keys), len(members))) @ members
        counts = np.bincount(ranks[codes], minlength=len(keys))
        levels.append(Level(names, tuple(keys[key] for key in order), sums, counts))
    return Cohorts(tuple(levels), shrinkage)


def cohort_lists(
    vectors: Floats,
    als_items: Floats,
    catalogue: Catalogue,
    histories: Histories,
    maturity_limits: NDArray[np.int64] | None = None,
    length: int = LIST_LENGTH,
) -> Candidates:
    """The best titles by cohort vector that are new to each user, with source "cohort" and no reason.

    Args:
        vectors: float32 [U, K], of `Cohorts.vectors_of`.
        als_items: float32 [I, K], zero rows where ALS does not know the title: it is in no list.
        catalogue: of I titles.
        histories: of the users, U, be they empty.
        maturity_limits: int64 [U], the largest age each may see; None: no user has one.
        length: places of a list, C.
    """
    count = len(histories.user_ids)
    if vectors.shape != (count, als_items.shape[1]) or len(als_items) != len(catalogue):
        raise DataError(
            f"{count} users and {len(catalogue)} titles do not fit vectors {vectors.shape} and {als_items.shape}"
        )
    width = min(length, len(catalogue))
    positions = np.full((count, width), -1, np.int64)
    scores = np.zeros((count, width), np.float32)
    is_unknown = ~als_items.any(1)
    step = max(1, _CELLS // max(len(catalogue), 1))
    with one_blas_thread():
        for start in range(0, count, step):
            part = slice(start, min(start + step, count))
            limits = None if maturity_limits is None else maturity_limits[part]
            products = vectors[part] @ als_items.T
            products[forbidden(catalogue, histories.of(histories.user_ids[part]), limits) | is_unknown] = -np.inf
            positions[part] = largest(products, width)
            scores[part] = np.take_along_axis(products, np.maximum(positions[part], 0), 1)
    # Where no history made any vector there is no taste to follow.
    positions[~vectors.any(1)] = -1
    codes = np.full(positions.shape, SOURCES.index("cohort"))
    return compressed(histories.user_ids, positions, codes, np.full(positions.shape, -1), scores)


def _attributes(users: pa.Table) -> dict[str, pa.Array]:
    """The attributes by which cohorts are made, as text: [U] each."""
    genres = users.column("onboarding_genres").combine_chunks()
    if pa.types.is_null(genres.type):
        first = pa.nulls(len(genres), pa.string())
    else:
        lengths = pc.fill_null(pc.list_value_length(genres), 0).to_numpy()
        flat = pc.list_flatten(genres)
        # Flattened, the lists that are not empty begin one after another.
        starts = np.cumsum(lengths) - lengths
        at = pa.array(np.where(lengths > 0, starts, -1))
        first = flat.take(pc.if_else(pc.less(at, 0), pa.scalar(None, pa.int64()), at))
    return {
        "age_band": _texts(users.column("age_band").combine_chunks()),
        "city": _texts(users.column("city").combine_chunks()),
        "genre": _texts(first),
    }


def _texts(column: pa.Array) -> pa.Array:
    texts = column.cast(pa.string())
    if pa.types.is_floating(column.type):
        texts = pc.if_else(pc.is_nan(column), pa.scalar(None, pa.string()), texts)
    return pc.fill_null(texts, _UNKNOWN)


def _keys(columns: dict[str, pa.Array], names: tuple[str, ...], count: int) -> pa.Array:
    """The cohort of each user, as the values of some attributes joined: [U]."""
    if not names:
        return pa.array([""] * count, pa.string())
    return pc.binary_join_element_wise(*(columns[name] for name in names), "\1")
