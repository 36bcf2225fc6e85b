"""What the account says of users (opted out, a maturity limit), brought to where the endpoint reads it.

A user's list keeps to both, as the night knew them. Whoever has no list, or whose list cannot be read, is answered by
what is kept beside lists; so what only the warehouse knows of them must stand there too. What was said at the endpoint
goes before it.
"""

from concurrent.futures import ThreadPoolExecutor
from datetime import date

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_defs.users import USERS
from pipelines.errors import RefusedError
from pipelines.lake import Lake
from pipelines.shards import Shard, of_shard
from pipelines.stores.interface import ListStore
from pipelines.stores.state_changes import changed
from pipelines.stores.user_state import UserState

_COLUMNS = ["user_id", "is_opted_out", "maturity_limit"]
# Users whose states are looked at beside each other: a store may be some milliseconds away.
_AT_ONCE = 16


def read_choices(lake: Lake, day: date, shard: Shard) -> pa.Table:
    """Users of a shard who opted out at their account or have a limit there, and those who did on the day before.

    None where a later day is known: an earlier night, run again, must not bring back what was.

    Returns:
        Rows of `user_id`, `is_opted_out` and `maturity_limit` as on the day, ascending by user.
    """
    days = lake.days(USERS)
    if not days or days[-1] > day:
        return lake.read(USERS, day, day, columns=_COLUMNS).slice(0, 0)
    has_chosen = pc.field("is_opted_out") | pc.field("maturity_limit").is_valid()
    now = of_shard(lake.read(USERS, day, day, columns=_COLUMNS, where=has_chosen), shard)
    if len(days) > 1:
        before = of_shard(lake.read(USERS, days[-2], days[-2], columns=["user_id"], where=has_chosen), shard)
        ids = np.setdiff1d(before.column("user_id").to_numpy(), now.column("user_id").to_numpy())
        nothing = {
            "user_id": pa.array(ids, pa.int64()),
            "is_opted_out": pa.repeat(pa.scalar(value=False), len(ids)),
            "maturity_limit": pa.nulls(len(ids), now.schema.field("maturity_limit").type),
        }
        now = pa.concat_tables([now, pa.table(nothing, now.schema)])
    return now.sort_by("user_id")


def with_account(state: UserState, opts_out: bool, limit: int | None) -> UserState:
    """A user's state with what the account says; of one who opted out there, nothing else is kept but a limit."""
    if opts_out and state.is_opted_out is None:
        return UserState(maturity_limit=state.maturity_limit, account_opts_out=True, account_limit=limit)
    return msgspec.structs.replace(state, account_opts_out=opts_out, account_limit=limit)


def keep_choices(store: ListStore, choices: pa.Table) -> int:
    """Write what changed into the states of these users; returns of how many it did.

    Raises:
        UnavailableError: if the store does not answer. What was written stands, and doing it again is harmless.
    """

    def keep(row: tuple[int, bool, int | None]) -> bool:
        user_id, opts_out, limit = row
        before = store.state(user_id).state
        if with_account(before, opts_out, limit) == before:
            return False
        try:
            changed(store, user_id, lambda state: with_account(state, opts_out, limit))
        except RefusedError:  # erased: nothing is kept of them
            return False
        return True

    rows = zip(*(choices.column(name).to_pylist() for name in _COLUMNS), strict=True)
    with ThreadPoolExecutor(_AT_ONCE, "marquee-choices") as pool:
        return sum(pool.map(keep, rows))
