"""Is every place of every list as `recommendation_slots` declares it? A block of lists at a time, microseconds a list.

The rules are those of the declaration. A column is within bounds if its least and its greatest value are; only a block
that breaks a rule is taken apart into places, to count and name what is wrong.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_defs.declarations import Between, Field, NotNull
from feature_defs.recommendations import RECOMMENDATION_SLOTS
from pipelines.checks import breaches, conform, repeated_keys
from pipelines.errors import DataError
from pipelines.lists.ranking import slots

# Which column of `recommendations` a field of a place is taken from.
_LISTS = {"item_id": "item_ids", "score": "scores", "source": "sources", "reason": "reasons"}
PLACE_COLUMNS = ("user_id", *_LISTS.values())


def check_places(blocks: Iterable[pa.RecordBatch], what: str) -> Iterator[pa.RecordBatch]:
    """The same blocks of rows of `recommendations`, each once it was held against the declaration of its places.

    8 bytes a user are remembered, to find one who comes twice.

    Args:
        blocks: rows with at least the columns that places are made of.
        what: whose lists these are, for the error.

    Raises:
        DataError: if a place breaks a rule, a title stands twice in a list, or a user has two lists.
    """
    users = [np.empty(0, np.int64)]
    for block in blocks:
        if not _is_sound(block):
            raise DataError(f"{what}: {_faults(block)}")
        users.append(block.column("user_id").to_numpy())
        yield block
    ordered = np.sort(np.concatenate(users))
    again = ordered[1:][ordered[1:] == ordered[:-1]]
    if again.size:
        raise DataError(f"{what}: {again.size:,} lists are of a user who has one already, the first of user {again[0]}")


def telling_places(blocks: Iterable[pa.RecordBatch]) -> pa.Table:
    """Of each block the places that hold a least or a greatest value, and all places of a block that breaks a rule.

    A suite of bounds that these places pass is passed by all places.
    """
    found = [slots(pa.table({name: pa.array([], kind) for name, kind in _KINDS.items()}))]
    for block in blocks:
        chosen = _extremes(block) if _is_sound(block) else None
        places = slots(pa.Table.from_batches([block]))
        found.append(places if chosen is None else places.take(pa.array(chosen)))
    return pa.concat_tables(found)


_KINDS = {
    "user_id": pa.int64(),
    "item_ids": pa.list_(pa.int64()),
    "scores": pa.list_(pa.float32()),
    "sources": pa.list_(pa.int16()),
    "reasons": pa.list_(pa.int16()),
}


def _is_sound(block: pa.RecordBatch) -> bool:
    lists = [block.column(name) for name in _LISTS.values()]
    if any(column.null_count for column in lists):
        return False
    lengths = [pc.list_value_length(column).to_numpy() for column in lists]
    return (
        all(np.array_equal(of_column, lengths[0]) for of_column in lengths[1:])
        and all(_keeps_rules(field, _values(block, field.name, lengths[0])) for field in RECOMMENDATION_SLOTS)
        and not _has_repeats(lists[0].flatten().to_numpy(), lengths[0])
    )


def _values(block: pa.RecordBatch, name: str, lengths: NDArray[np.int32]) -> pa.Array:
    if name == "slot":
        return pa.array(np.maximum(lengths - 1, 0))  # of the last place; the others are smaller
    return block.column(name) if name == "user_id" else block.column(_LISTS[name]).flatten()


def _keeps_rules(field: Field, column: pa.Array) -> bool:
    for rule in field.rules:
        match rule:
            case NotNull():
                is_kept = column.null_count == 0
            case Between(low=low, high=high):
                values = column.drop_null().to_numpy(zero_copy_only=False) if column.null_count else column.to_numpy()
                is_kept = not values.size or (
                    bool(values.min() >= (-np.inf if low is None else low))  # NaN is not
                    and bool(values.max() <= (np.inf if high is None else high))
                )
            case _:
                raise TypeError(f"{rule} is not a rule that places are held against")
        if not is_kept:
            return False
    return True


def _has_repeats(item_ids: NDArray[np.int64], lengths: NDArray[np.int32]) -> bool:
    """Whether a title stands twice in a list; ids fit 32 bits."""
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    small = item_ids.astype(np.uint32)  # sorted in half the time
    for length in np.unique(lengths):
        first = starts[lengths == length]
        lists = small.reshape(-1, length) if length and len(first) == len(lengths) else _gathered(small, first, length)
        ordered = np.sort(lists, axis=1)
        if (ordered[:, 1:] == ordered[:, :-1]).any():
            return True
    return False


def _gathered(values: NDArray[Any], first: NDArray[np.int64], length: int) -> NDArray[Any]:
    gathered: NDArray[Any] = values[first[:, None] + np.arange(length)]
    return gathered


def _extremes(block: pa.RecordBatch) -> list[int]:
    columns = [block.column(name).flatten().to_numpy() for name in _LISTS.values()]
    if not len(columns[0]):
        return []
    lengths = pc.list_value_length(block.column("item_ids")).to_numpy()
    last = int(np.argmax(lengths))
    users = np.repeat(block.column("user_id").to_numpy(), lengths)
    extremes = {int(end(values)) for values in (users, *columns) for end in (np.argmin, np.argmax)}
    return sorted(extremes | {0, int(lengths[: last + 1].sum()) - 1})


def _faults(block: pa.RecordBatch) -> str:
    """Every rule that places of a block break, in words."""
    try:
        places = conform(RECOMMENDATION_SLOTS, slots(pa.Table.from_batches([block])))
    except pa.ArrowInvalid:
        return "the columns of a list differ in length"
    found = [*breaches(RECOMMENDATION_SLOTS, places)]
    repeated = repeated_keys(RECOMMENDATION_SLOTS, places.sort_by([("user_id", "ascending"), ("item_id", "ascending")]))
    found += [] if repeated is None else [repeated]
    return "; ".join(f"{RECOMMENDATION_SLOTS.name}.{breach}" for breach in found) or "a list lacks a column"
