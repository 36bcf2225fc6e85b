"""Alternating least squares on implicit feedback: what it is configured by, and how its item factors encode users.

Hu, Koren, Volinsky, "Collaborative Filtering for Implicit Feedback Datasets" (2008), with the regularisation scaled by
the number of a user's titles (Zhou et al. 2008), as Spark MLlib does it. The model that is kept is the item half: the
user half follows from it and a history in closed form, so that a model judged or served today encodes every user from
what is known today. Training is in `pipelines.models.als_training`.

Shapes: U users, I items, K factors.
"""

import io
import json
from collections.abc import Mapping
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
from pipelines.models.als_axes import axes_of
from pipelines.models.als_kernel import TO_THE_END, solve_users
from pipelines.sorted_ids import positions_among

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
    def _turned(self) -> tuple[Floats, Floats, Floats]:
        """Item factors in axes in which Y'Y is diagonal [I, K], that diagonal [K], and the axes [K, K]."""
        axes, diagonal = axes_of(self.item_factors.T @ self.item_factors)
        return self.item_factors @ axes, diagonal, axes

    def encode(self, histories: Histories) -> Floats:
        """Vectors of users from their histories: float32 [U, K]; zero where no title of the history is known."""
        positions = self.positions(histories.item_ids)
        known = histories.where(positions >= 0)
        items = positions[positions >= 0].astype(np.int32)
        confidence = (self.alpha * known.shares).astype(np.float32)
        vectors = np.empty((len(histories.user_ids), self.item_factors.shape[1]), np.float32)
        with one_blas_thread():
            turned, diagonal, axes = self._turned
            solve_users(
                known.offsets, items, confidence, turned, diagonal, np.float32(self.regularization),
                TO_THE_END, vectors, None,
            )  # fmt: skip
            encoded: Floats = vectors @ axes.T
        return encoded

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
