"""Which titles a user may not be proposed: what they know, what is hidden, what is above their maturity limit."""

import numba
import numpy as np
from numpy.typing import NDArray

from pipelines.catalogue import Catalogue
from pipelines.histories import Histories

_NO_LIMIT = np.iinfo(np.int64).max


def forbidden(
    catalogue: Catalogue, histories: Histories, maturity_limits: NDArray[np.int64] | None
) -> NDArray[np.bool_]:
    """Titles that are in a user's history, may not be shown, or are above the user's limit: bool [B, I].

    Args:
        catalogue: of I titles.
        histories: of B users, whole.
        maturity_limits: int64 [B], the largest age each may see; None: no user has one.
    """
    users = len(histories.user_ids)
    limits = np.full(users, _NO_LIMIT) if maturity_limits is None else np.array(maturity_limits, np.int64)
    blocked = np.empty((users, len(catalogue)), np.bool_)
    _write(
        blocked,
        ~catalogue.may_be_shown,
        np.array(catalogue.maturities, np.int64),
        limits,
        np.array(histories.offsets, np.int64),
        catalogue.positions(histories.item_ids),
    )
    return blocked


@numba.njit(cache=True, nogil=True)
def _write(blocked, is_hidden, maturities, limits, offsets, watched):  # type: ignore[no-untyped-def]
    for user in range(len(blocked)):
        row, limit = blocked[user], limits[user]
        for title in range(len(row)):
            row[title] = is_hidden[title] | (maturities[title] > limit)
        for at in range(offsets[user], offsets[user + 1]):
            if watched[at] >= 0:
                row[watched[at]] = True
