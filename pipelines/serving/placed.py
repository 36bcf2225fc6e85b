"""What was asked for, and what became of a list: titles in their slots."""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import msgspec

# Why a title is shown, beside the sources of `feature_defs.recommendations.SOURCES`.
BECAUSE, FRESH, EXPLORE, NEWEST, SIMILAR, OTHER = (
    "because_you_watched", "fresh", "explore", "newest", "similar", "other",
)  # fmt: skip
# Rules that hold a title back, beside those named in `pipelines.serving.rules`.
EXCLUDED, SERVED, WATCHED, NOT_INTERESTED, DEMOTED = (
    "excluded", "served", "already_watched", "not_interested", "demoted_neighbours",
)  # fmt: skip
UNKNOWN = "unknown"  # a title that the snapshot does not have


@dataclass(slots=True)  # frozen, it would cost ten times as much to make
class Asked:
    """What was asked for. Nobody changes it.

    `exclude`: titles the caller does not want. `served`: titles that earlier pages held; `page`: how many there were.
    `seed`: of the draws; the same question with the same seed is answered alike. `country`: ISO 3166-1; where it is
    unknown, only titles that may be shown everywhere are. `now`: with a time zone.
    """

    user_id: int
    k: int
    surface: str
    device: str | None
    country: str | None
    exclude: frozenset[int]
    served: frozenset[int]
    page: int
    seed: int
    now: datetime


class Reason(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Why a title is there: another title the user watched, the source it came from, or the rule that placed it.

    `kind`: `because_you_watched` (with `item_id`), a source of `feature_defs.recommendations.SOURCES`, `fresh`,
    `explore`, `newest`, `similar` (with `item_id`) or `other`.
    """

    kind: str
    item_id: int | None = None


class Item(msgspec.Struct, gc=False):
    """A title in its slot, counted from 0; `propensity` is the probability with which it is there.

    `score`: in the list; of a fresh title, by the list's vector; 0.0 where neither can say. `propensity`: 1.0, or of a
    place that is drawn the probability of this draw, given what was placed before.
    """

    item_id: int
    score: float
    slot: int
    propensity: float
    reason: Reason

    @property
    def is_explored(self) -> bool:
        """Whether its place was drawn."""
        return self.reason.kind == EXPLORE

    @property
    def is_fresh(self) -> bool:
        """Whether its place is one for fresh titles."""
        return self.reason.kind == FRESH


# Most reasons are given again and again.
reason_of = lru_cache(8192)(Reason)


class Arranged(msgspec.Struct, gc=False):
    """An answer's titles, which rules gave way for them, in their declared order, and how many each rule held back.

    Counts are of titles met before the answer was full: the rest of the list was not looked at.
    """

    items: list[Item]
    relaxed: tuple[str, ...]
    filtered: dict[str, int]
