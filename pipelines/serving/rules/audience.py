"""To whom a title may be shown: where they are, and how old they may be taken to be."""

import sys
from collections.abc import Mapping, Set
from itertools import repeat

TERRITORY, MATURITY = "territory", "maturity"
NO_LIMIT = sys.maxsize


def withheld(maturity: int, territories: Set[str] | None, country: str | None, limit: int) -> str | None:
    """The rule that keeps a title from this user; `None` where none does.

    Where the country is not known, what may not be shown everywhere may not be shown.
    """
    if territories is not None and country not in territories:
        return TERRITORY
    return MATURITY if maturity > limit else None


def lists_limit(item_ids: list[int], maturities: Mapping[int, int]) -> int:
    """An age to which a list's user may be shown titles, as far as its first titles say: the largest among them.

    The night left out what is above the limit of the user, and did not write down the limit. So what is added to a
    list keeps to what the list itself holds.

    Args:
        item_ids: of the list, in order.
        maturities: the least age in years of every title.
    """
    return max(map(maturities.get, item_ids, repeat(0)), default=0)
