"""What the endpoint says: its answers, in the order in which they are written."""

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache

import msgspec

from pipelines.serving.arranging import Placed
from pipelines.spool import Answer, AnsweredItem


class Reason(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Why a title is there: another title the user watched, the source it came from, or the rule that placed it."""

    kind: str
    item_id: int | None = None


class Item(msgspec.Struct, frozen=True, gc=False):
    """A title in its slot, counted from 0; `propensity` is the probability with which it is there."""

    item_id: int
    score: float
    slot: int
    propensity: float
    reason: Reason


class Recommendations(msgspec.Struct, frozen=True):
    """An answer: which list of which run, what stands behind it, and its titles.

    `source`: personal, chronological, cohort, trending, similar, or none where no list had a title to show. `store`:
    who said so: embedded, redis or cassandra; memory where none of them answered in time; snapshot where none was
    needed or ever there. `relaxed`: which rules gave way for lack of titles, in their declared order.
    """

    request_id: str
    run_id: str
    model_set: str | None
    audit_id: str | None
    generated_at: datetime
    source: str
    store: str
    items: list[Item]
    relaxed: tuple[str, ...]
    next_page_token: str | None

    def for_spool(self, user_id: int, answered_at: datetime) -> Answer:
        """The answer as it is remembered; the source of a user's own list is the hop that gave it."""
        return Answer(
            self.request_id,
            answered_at,
            user_id,
            self.run_id,
            self.store if self.source == "personal" else self.source,
            [AnsweredItem(item.slot, item.item_id, item.score, item.propensity) for item in self.items],
        )


_reason = lru_cache(4096)(Reason)


def said(items: Iterable[Placed]) -> list[Item]:
    """Titles as they were placed, as they are said."""
    return [
        Item(one.item_id, one.score, one.slot, one.propensity, _reason(one.reason_kind, one.reason_item_id))
        for one in items
    ]
