"""Which titles a user may not be proposed: what they know, what is hidden, what is above their maturity limit."""

import numpy as np
from numpy.typing import NDArray

from pipelines.catalogue import Catalogue
from pipelines.histories import Histories


def forbidden(
    catalogue: Catalogue, histories: Histories, maturity_limits: NDArray[np.int64] | None
) -> NDArray[np.bool_]:
    """Titles that are in a user's history, may not be shown, or are above the user's limit: bool [B, I].

    Args:
        catalogue: of I titles.
        histories: of B users, whole.
        maturity_limits: int64 [B], the largest age each may see; None: no user has one.
    """
    blocked = np.repeat(~catalogue.may_be_shown[None], len(histories.user_ids), 0)
    if maturity_limits is not None:
        blocked |= catalogue.maturities[None] > maturity_limits[:, None]
    positions = catalogue.positions(histories.item_ids)
    is_there = positions >= 0
    blocked[histories.owners()[is_there], positions[is_there]] = True
    return blocked
