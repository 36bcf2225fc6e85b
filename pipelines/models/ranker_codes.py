"""Codes of what has a name: the same on every day and in every process, whatever other names there are.

Names are hashed into the buckets that `feature_defs.ranking.CATEGORICALS` declares; 0 is unknown.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_defs.ranking import CATEGORICALS

Integers = NDArray[np.int64]

_BUCKET_COUNTS = {categorical.name: categorical.bucket_count for categorical in CATEGORICALS}


def device_codes(devices: Sequence[str | None] | Integers) -> Integers:
    """Codes of devices from their names: int64 [N], 0 for None; codes stay as they are."""
    if isinstance(devices, np.ndarray) and devices.dtype.kind in "iu":
        return devices.astype(np.int64)
    return name_codes("device", pa.array(list(devices), pa.string()))


def crossed_codes(left: Integers, right: Integers, column: str) -> Integers:
    """Codes of two codes together: int64 [N], 0 where either is unknown."""
    codes = number_codes(left * 65_536 + right, column)
    return np.where((left > 0) & (right > 0), codes, 0)


def number_codes(values: Integers, column: str) -> Integers:
    """Codes of whole numbers, scattered by the finaliser of SplitMix64 (Steele et al. 2014)."""
    buckets = np.uint64(_BUCKET_COUNTS[column] - 1)
    mixed = values.astype(np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return 1 + (mixed % buckets).astype(np.int64)


def name_codes(column: str, names: pa.ChunkedArray | pa.Array) -> Integers:
    """Codes of names: int64 [N], 0 for null."""
    encoded = names.cast(pa.string()).dictionary_encode()
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    indices = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return indexed_codes(encoded.dictionary.to_pylist(), indices, column)


def indexed_codes(names: Sequence[str], indices: Integers, column: str) -> Integers:
    """Codes of indexed names, the same on every day whatever other names there are; 0 for the index -1."""
    bucket_count = _BUCKET_COUNTS[column]
    table = np.zeros(len(names) + 1, np.int64)
    for index, name in enumerate(names):
        digest = hashlib.blake2b(f"{column}\0{name}".encode(), digest_size=8).digest()
        table[index] = 1 + int.from_bytes(digest, "little") % (bucket_count - 1)
    return table[indices]
