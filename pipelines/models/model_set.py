"""A model set: what is trained, judged, promoted and rolled back together, named by the digest of its files."""

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipelines.errors import DataError
from pipelines.lists.cohorts import Cohorts
from pipelines.models.als import AlsModel
from pipelines.models.interests import FILE as INTERESTS_FILE
from pipelines.models.interests import Interests, no_interests
from pipelines.models.item_item import Neighbours
from pipelines.models.nearest import NearestIndex
from pipelines.models.ranker import Ranker
from pipelines.models.towers import Towers

# Sets of the format before hold no interests: they are read without any, as they were judged.
_FORMAT, _WITHOUT_INTERESTS = 3, 2
_FILES = (
    "als.json", "als.parquet", "cohorts.json", "cohorts.parquet", "index.faiss", "items.parquet", "model_set.json",
    "towers.json", "towers.safetensors",
)  # fmt: skip
_RANKER_FILES = ("ranker.json", "ranker.safetensors")


@dataclass(frozen=True)
class ModelSet:
    """One unit of models, for a catalogue of I titles.

    `item_ids`: int64 [I], ascending: the catalogue that the set was made for. `item_vectors`: float32 [I, W], what its
    towers make of it, with `index` over them. `neighbours`: of the same titles. `cohorts`: vectors of groups of users,
    for those with too short a history. `interests`: of people, in themes of texts. `ranker`: `None` before the first
    was trained. `text_encoder`: which text vectors the towers read and themes are made of. `learned_until`: the last
    day of receipt that any of them learned from.
    """

    als: AlsModel
    towers: Towers
    item_ids: NDArray[np.int64]
    item_vectors: NDArray[np.float32]
    index: NearestIndex
    neighbours: Neighbours
    cohorts: Cohorts
    interests: Interests
    ranker: Ranker | None
    text_encoder: str
    learned_until: date

    def __post_init__(self) -> None:
        if not len(self.item_ids) == len(self.item_vectors) == len(self.neighbours.positions):
            raise DataError(
                f"the set is for {len(self.item_ids)} titles and holds {len(self.item_vectors)} vectors and the "
                f"neighbours of {len(self.neighbours.positions)}"
            )
        self.index.check_belongs(self.item_vectors)

    def to_files(self) -> dict[str, bytes]:
        """Every model's files, by name."""
        rows = io.BytesIO()
        width, k = self.item_vectors.shape[1], self.neighbours.positions.shape[1]
        pq.write_table(
            pa.table(
                {
                    "item_id": self.item_ids,
                    "vector": _matrix(self.item_vectors, width),
                    "neighbours": _matrix(self.neighbours.positions, k),
                    "neighbour_weights": _matrix(self.neighbours.weights, k),
                }
            ),
            rows,
        )
        described = {
            "format": _FORMAT,
            "learned_until": str(self.learned_until),
            "text_encoder": self.text_encoder,
            "has_ranker": self.ranker is not None,
        }
        return {
            **self.als.to_files(),
            **self.towers.to_files(),
            **self.cohorts.to_files(),
            **self.interests.to_files(),
            **(self.ranker.to_files() if self.ranker else {}),
            "items.parquet": rows.getvalue(),
            "index.faiss": self.index.to_bytes(),
            "model_set.json": json.dumps(described, sort_keys=True, indent=1).encode(),
        }

    @staticmethod
    def from_files(files: Mapping[str, bytes]) -> "ModelSet":
        """The set that `to_files` wrote.

        Raises:
            DataError: if a file is missing, cannot be read or does not belong to the others; names it.
        """
        try:
            described: dict[str, Any] = json.loads(files["model_set.json"])
            found = described.get("format")
            if found not in (_FORMAT, _WITHOUT_INTERESTS):
                raise DataError(f"the model set is of format {found}; this code reads {_FORMAT}")
            has_interests = found == _FORMAT
            expected = {
                *_FILES,
                *(_RANKER_FILES if described["has_ranker"] else ()),
                *((INTERESTS_FILE,) if has_interests else ()),
            }
            if set(files) != expected:
                raise DataError(f"the model set holds {_listed(files)}, expected {_listed(expected)}")
            rows = pq.read_table(io.BytesIO(files["items.parquet"]))
            index = files["index.faiss"]
        except (KeyError, ValueError, pa.ArrowInvalid) as error:
            raise DataError(f"the files of the model set cannot be read: {error}") from None
        return ModelSet(
            als=AlsModel.from_files(files),
            towers=Towers.from_files(files),
            item_ids=rows.column("item_id").to_numpy().astype(np.int64),
            item_vectors=_array(rows, "vector"),
            index=NearestIndex.from_bytes(index),
            neighbours=Neighbours(_array(rows, "neighbours"), _array(rows, "neighbour_weights")),
            cohorts=Cohorts.from_files(files),
            interests=Interests.from_files(files) if has_interests else no_interests(),
            ranker=Ranker.from_files(files) if described["has_ranker"] else None,
            text_encoder=described["text_encoder"],
            learned_until=date.fromisoformat(described["learned_until"]),
        )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _matrix(values: NDArray[np.generic], width: int) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).reshape(-1)), width)


def _array(rows: pa.Table, name: str) -> NDArray[Any]:
    column = rows.column(name).combine_chunks()
    values: NDArray[Any] = column.flatten().to_numpy().reshape(len(column), -1)
    return values
