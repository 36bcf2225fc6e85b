"""Alternating least squares on implicit feedback: what it is configured by, and how its item factors encode users.

Hu, Koren, Volinsky, "Collaborative Filtering for Implicit Feedback Datasets" (2008), with the regularisation scaled by
the number of a user's titles (Zhou et al. 2008), as Spark MLlib does it. The model that is kept is the item half: the
user half follows from it and a history in closed form, so that a model judged or served today encodes every user from
what is known today. Training is in `pipelines.models.als_training`.

Shapes: U users, I items, K factors, N titles in a history.
"""

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.blas_threads import one_blas_thread
from pipelines.errors import DataError
from pipelines.histories import Histories
from pipelines.sorted_ids import positions_among

# Cells of user x title x factor held at once while users are encoded: 128 MiB of float32.
_CELLS = 32 * 1024 * 1024

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class AlsConfiguration:
    """How ALS learns."""

    # Width of a user's and an item's vector.
    factors: int = 64
    # Rounds, each of one half-step for users and one for items.
    iterations: int = 10
    # Scaled by the number of titles of each user, and of users of each title.
    regularization: float = 0.1
    # Confidence of a play is 1 + alpha * watched share.
    alpha: float = 1.0
    # Of the factors that the first round starts from.
    seed: int = 1
    # Users are cut into this many blocks, by MLlib titles too. Sums of floats follow it, so it belongs to the result.
    blocks: int = 4
    # Who learns: our own rounds, which send all item factors to each worker, or MLlib where they are too many for it.
    solver: Literal["broadcast", "mllib"] = "broadcast"


@dataclass(frozen=True)
class AlsModel:
    """The item half of a factorisation.

    `item_ids`: int64 [I], ascending. `item_factors`: float32 [I, K].
    """

    item_ids: NDArray[np.int64]
    item_factors: Floats
    regularization: float
    alpha: float

    def __post_init__(self) -> None:
        if self.item_factors.shape[0] != len(self.item_ids):
            raise DataError(f"ALS has {len(self.item_ids)} items and {self.item_factors.shape[0]} rows of factors")
        if not np.isfinite(self.item_factors).all():
            raise DataError("the factors of ALS are not all finite")

    @cached_property
    def gram(self) -> Floats:
        """Y'Y: float32 [K, K]."""
        return self.item_factors.T @ self.item_factors

    def encode(self, histories: Histories) -> Floats:
        """Vectors of users from their histories: float32 [U, K]; zero where no title of the history is known."""
        vectors = np.zeros((len(histories.user_ids), self.item_factors.shape[1]), np.float32)
        with one_blas_thread():
            for users, known in self._blocks(histories):
                system, weighted = self._normal_equations(*known)
                vectors[users] = np.linalg.solve(system, weighted.sum(1)[..., None])[..., 0]
        return vectors

    def positions(self, item_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where items stand in `item_ids`: int64, -1 for those that are not there."""
        return positions_among(self.item_ids, item_ids)

    def to_files(self) -> dict[str, bytes]:
        """Factors and hyperparameters, by file name."""
        width = self.item_factors.shape[1]
        factors = pa.FixedSizeListArray.from_arrays(pa.array(self.item_factors.reshape(-1)), width)
        rows = io.BytesIO()
        pq.write_table(pa.table({"item_id": self.item_ids, "factors": factors}), rows)
        described = {"factors": width, "regularization": self.regularization, "alpha": self.alpha}
        return {
            "als.parquet": rows.getvalue(),
            "als.json": json.dumps(described, sort_keys=True, indent=1).encode(),
        }

    @staticmethod
    def from_files(files: Mapping[str, bytes]) -> "AlsModel":
        """The model that `to_files` wrote.

        Raises:
            DataError: if files are missing, do not fit together or hold factors that are not finite.
        """
        try:
            described = json.loads(files["als.json"])
            rows = pq.read_table(io.BytesIO(files["als.parquet"]))
            width = int(described["factors"])
        except (KeyError, ValueError, pa.ArrowInvalid) as error:
            raise DataError(f"the files of ALS cannot be read: {error}") from None
        factors = rows.column("factors").combine_chunks()
        if factors.type.list_size != width:
            raise DataError(f"ALS says {width} factors and holds {factors.type.list_size}")
        return AlsModel(
            rows.column("item_id").to_numpy().astype(np.int64),
            factors.flatten().to_numpy().reshape(-1, width),
            described["regularization"],
            described["alpha"],
        )

    def _blocks(
        self, histories: Histories
    ) -> Iterator[tuple[NDArray[np.int64], tuple[NDArray[np.int64], Floats, NDArray[np.bool_]]]]:
        """Users with a known history, those of similar length together: positions, shares, known [B, N]."""
        positions = self.positions(histories.item_ids)
        known = positions >= 0
        owner = np.repeat(np.arange(len(histories.user_ids)), np.diff(histories.offsets))[known]
        positions, shares = positions[known], histories.shares[known]
        counts = np.bincount(owner, minlength=len(histories.user_ids))
        starts = np.concatenate([[0], np.cumsum(counts)])
        order = np.argsort(counts, kind="stable")
        order = order[counts[order] > 0]
        width = self.item_factors.shape[1]
        begin = 0
        while begin < len(order):
            # Lengths ascend, so the last of a block is its longest: take as many as fit.
            end = begin + 1
            while end < len(order) and (end + 1 - begin) * counts[order[end]] * width <= _CELLS and end - begin < 4096:
                end += 1
            users = order[begin:end]
            longest = counts[users[-1]]
            within = np.arange(longest)[None, :]
            is_known = within < counts[users][:, None]
            at = np.where(is_known, starts[users][:, None] + within, 0)
            yield users, (positions[at], np.where(is_known, shares[at], 0).astype(np.float32), is_known)
            begin = end

    def _normal_equations(
        self, positions: NDArray[np.int64], shares: Floats, is_known: NDArray[np.bool_]
    ) -> tuple[Floats, Floats]:
        """A = Y'Y + sum c yy' + lambda n I, float32 [B, K, K], and the terms (1 + c) y of its right side [B, N, K]."""
        vectors = self.item_factors[positions] * is_known[..., None]
        confidence = (self.alpha * shares)[..., None]
        count = is_known.sum(1).astype(np.float32)
        ridge = self.regularization * count[:, None, None] * np.eye(self.item_factors.shape[1], dtype=np.float32)
        system = self.gram + np.matmul((vectors * confidence).transpose(0, 2, 1), vectors) + ridge
        return system, vectors * (1 + confidence)
