"""The nearest titles to a user's vector, by inner product: an index over item vectors, exact or approximate by size.

Small catalogues are searched exactly; large ones by a navigable small-world graph (Malkov, Yashunin, "Efficient and
robust approximate nearest neighbor search using HNSW graphs", 2018). The only module that imports FAISS. How many
threads FAISS may use is the caller's to say: one, where the same vectors must give the same graph.

Shapes: I titles, W width of a vector, Q queries, K results of each.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from pipelines.blas_threads import one_blas_thread
from pipelines.errors import DataError

# Titles up to which every one is compared: below it a graph saves less than its recall costs.
EXACT_UP_TO = 50_000
# Links of a title, and the breadth of the search that finds them when it is added.
_LINKS = 32
_BREADTH_OF_BUILD = 100
# Breadth of a search, and at least this many times the results asked for. Measured on clustered vectors: recall@100 is
# .99 at 20,000 x 32 and .94 at 60,000 x 64, recall@500 there .99, at 0.4 and 2.5 ms a query.
_BREADTH_OF_SEARCH = 256
_BREADTH_PER_RESULT = 4
# Of groups: vectors of each that are looked at, and how often they are sought.
_LOOKED_AT = 256
_TRIES = 4
_MAGIC = b"MQNN0001"
_DIGEST_SIZE = hashlib.sha256().digest_size

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class NearestIndex:
    """An index and the vectors that it belongs to.

    `index`: of FAISS. `digest`: sha256 of the vectors, 32 bytes.
    """

    index: Any
    digest: bytes

    @property
    def count(self) -> int:
        """How many vectors it holds, I."""
        return int(self.index.ntotal)

    @property
    def width(self) -> int:
        """Their width, W."""
        return int(self.index.d)

    @property
    def is_exact(self) -> bool:
        """Whether every vector is compared."""
        return not hasattr(self.index, "hnsw")

    def search(self, queries: Floats, k: int) -> tuple[Floats, NDArray[np.int64]]:
        """The vectors with the largest inner products, largest first; equal ones by position.

        Args:
            queries: float32 [Q, W].
            k: how many, K; no more than there are.

        Returns:
            Scores float32 [Q, K] and positions int64 [Q, K]; -inf and -1 where a graph found fewer.

        Raises:
            DataError: for queries of another width or with values that are not finite.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.width:
            raise DataError(f"the index holds vectors of width {self.width}, and the queries are {queries.shape}")
        if not np.isfinite(queries).all():
            raise DataError("the queries of the index are not all finite")
        k = min(k, self.count)
        if not k or not len(queries):
            return np.zeros((len(queries), k), np.float32), np.zeros((len(queries), k), np.int64)
        if not self.is_exact:
            return _by_score_then_position(*self._search(queries, k))
        # FAISS cuts equal scores wherever its heap stands: look past the cut until they are all in sight.
        wide = min(k + 1, self.count)
        scores, positions = _by_score_then_position(*self._search(queries, wide))
        if wide == k:
            return scores, positions
        cut = np.flatnonzero(scores[:, k - 1] == scores[:, k])
        scores, positions = scores[:, :k].copy(), positions[:, :k].copy()
        while len(cut):
            wide = min(wide * 2, self.count)
            more, at = _by_score_then_position(*self._search(queries[cut], wide))
            scores[cut], positions[cut] = more[:, :k], at[:, :k]
            cut = cut[more[:, k - 1] == more[:, -1]] if wide < self.count else cut[:0]
        return scores, positions

    def _search(self, queries: Floats, k: int) -> tuple[Floats, NDArray[np.int64]]:
        if self.is_exact:
            scores, positions = self.index.search(queries, k)
        else:
            breadth = max(_BREADTH_OF_SEARCH, _BREADTH_PER_RESULT * k)
            # Its type stubs leave this class out.
            parameters = faiss.SearchParametersHNSW(efSearch=breadth)  # type: ignore[attr-defined]
            scores, positions = self.index.search(queries, k, params=parameters)
            scores = np.where(positions < 0, -np.inf, scores).astype(np.float32)
        return scores, positions

    def check_belongs(self, vectors: Floats) -> None:
        """Refuse an index of other vectors.

        Raises:
            DataError: where `vectors` [I, W] are not those from which the index was built.
        """
        if vectors.shape != (self.count, self.width):
            raise DataError(
                f"the index holds {self.count} vectors of width {self.width}, and the vectors are {vectors.shape}"
            )
        if _digest(vectors) != self.digest:
            raise DataError("the index was built from other vectors than these")

    def to_bytes(self) -> bytes:
        """A magic word, the digest of the vectors, and the index as FAISS writes it."""
        return _MAGIC + self.digest + bytes(faiss.serialize_index(self.index))

    @staticmethod
    def from_bytes(content: bytes) -> "NearestIndex":
        """What `to_bytes` wrote.

        Raises:
            DataError: where it is anything else.
        """
        start = len(_MAGIC) + _DIGEST_SIZE
        if content[: len(_MAGIC)] != _MAGIC or len(content) <= start:
            raise DataError("this is not an index of nearest titles")
        try:
            index = faiss.deserialize_index(np.frombuffer(content, np.uint8, offset=start))
        except RuntimeError as error:
            raise DataError("the index of nearest titles is damaged") from error
        return NearestIndex(index, content[len(_MAGIC) : start])


def build(vectors: Floats, exact_up_to: int = EXACT_UP_TO) -> NearestIndex:
    """An index over vectors: exact up to a number of titles, a graph above.

    Args:
        vectors: float32 [I, W].
        exact_up_to: the largest I that is searched exactly.

    Raises:
        DataError: for vectors that are not a matrix or not all finite.
    """
    if vectors.ndim != 2 or not vectors.shape[1]:
        raise DataError(f"an index needs vectors as rows of a matrix, and these are {vectors.shape}")
    if not np.isfinite(vectors).all():
        raise DataError("the vectors to be indexed are not all finite")
    vectors = np.ascontiguousarray(vectors, np.float32)
    index: Any
    if len(vectors) <= exact_up_to:
        index = faiss.IndexFlatIP(vectors.shape[1])
    else:
        index = faiss.IndexHNSWFlat(vectors.shape[1], _LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _BREADTH_OF_BUILD
    index.add(vectors)
    return NearestIndex(index, _digest(vectors))


def _digest(vectors: Floats) -> bytes:
    # -0 and 0 are the same vector.
    values = np.ascontiguousarray(vectors, np.dtype("<f4")) + np.float32(0)
    return hashlib.sha256(repr(values.shape).encode() + values.tobytes()).digest()


def _by_score_then_position(scores: Floats, positions: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
    order = np.lexsort((positions, -scores), axis=1)
    return np.take_along_axis(scores, order, 1), np.take_along_axis(positions, order, 1)


def centres_of(vectors: Floats, count: int, seed: int) -> Floats:
    """Middles of groups of vectors that lie near each other, the best of four tries: float32 [count, W], unit rows.

    Spherical k-means from middles drawn far apart (k-means++: Arthur, Vassilvitskii, 2007); of many vectors at most 256
    a group are looked at.

    Args:
        vectors: unit rows, at least `count` of them: float32 [I, W].
        count: how many groups.
        seed: of the first middles, and of which vectors are looked at.
    """
    # Brings much with it that a search does not need.
    from sklearn.cluster import kmeans_plusplus

    generator = np.random.RandomState(seed)
    looked_at = np.ascontiguousarray(vectors, np.float32)
    if len(looked_at) > count * _LOOKED_AT:
        looked_at = looked_at[np.sort(generator.choice(len(looked_at), count * _LOOKED_AT, replace=False))]
    found, best = np.zeros((0, vectors.shape[1]), np.float32), -np.inf
    for _ in range(_TRIES):
        with one_blas_thread():
            first, _ = kmeans_plusplus(looked_at, count, random_state=generator)
        means = faiss.Kmeans(
            vectors.shape[1],
            count,
            niter=25,
            spherical=True,
            min_points_per_centroid=1,
            max_points_per_centroid=_LOOKED_AT,
        )
        closeness = means.train(looked_at, init_centroids=first.astype(np.float32))
        if closeness > best:
            found, best = np.array(means.centroids, np.float32), closeness
    return found
