"""Users as they decided: what they said at the endpoint goes before what the warehouse says of them."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Who says what: a decision comes with its limit, answers at sign-up come together.
_DECIDED, _ANSWERED = ("is_opted_out", "maturity_limit"), ("onboarding_genres", "age_band", "city")


def as_decided(users: Iterator[pa.RecordBatch], said: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Users with the newest of what each of them decided and answered; the rest of a row is as it was.

    Both are read side by side: no more of what was said is held than belongs to a batch of users.

    Args:
        users: rows of USERS in the order of their ids.
        said: rows of PREFERENCES in the order of their ids, those of one user in the order of time.
    """
    waiting = _Waiting(said)
    for batch in users:
        if not batch.num_rows or "user_id" not in batch.schema.names or batch.column("user_id").null_count:
            yield batch  # what is wrong with it is named by whoever checks
            continue
        rows = waiting.until(batch.column("user_id")[-1].as_py())
        for kind, names in (("is_opted_out", _DECIDED), ("onboarding_genres", _ANSWERED)):
            batch = _overlaid(batch, rows.filter(pc.is_valid(rows.column(kind))), names)  # noqa: PLW2901
        yield batch


class _Waiting:
    """What was said by users whose turn has not come."""

    def __init__(self, said: Iterator[pa.RecordBatch]) -> None:
        self._said = said
        self._rows = pa.Table.from_batches([next(said)])

    def until(self, user_id: int) -> pa.Table:
        """What was said by users up to this one, and by none that was asked for before."""
        parts = [self._rows]
        while not parts[-1].num_rows or parts[-1].column("user_id")[-1].as_py() <= user_id:
            batch = next(self._said, None)
            if batch is None:
                break
            parts.append(pa.Table.from_batches([batch]))
        rows = pa.concat_tables(parts)
        count = int(np.searchsorted(rows.column("user_id").to_numpy(), user_id, "right"))
        self._rows = rows.slice(count)
        return rows.slice(0, count)


def _overlaid(batch: pa.RecordBatch, said: pa.Table, names: tuple[str, ...]) -> pa.RecordBatch:
    """The batch with these columns taken from the last row of each user in `said`, where that is not null."""
    if not said.num_rows:
        return batch
    ids = said.column("user_id").to_numpy()
    last = said.take(pa.array(np.flatnonzero(np.append(ids[1:] != ids[:-1], True))))
    places = pc.index_in(batch.column("user_id"), value_set=last.column("user_id").combine_chunks())
    for name in names:
        if name in batch.schema.names:
            at = batch.schema.get_field_index(name)
            new = last.column(name).combine_chunks().take(places).cast(batch.schema.field(name).type)
            batch = batch.set_column(at, batch.schema.field(name), pc.coalesce(new, batch.column(name)))
    return batch
