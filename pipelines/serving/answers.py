"""What the endpoint says: its answers, in the order in which they are written."""

from datetime import datetime

import msgspec

from pipelines.serving.placed import Item
from pipelines.spool import Answer, AnsweredItem


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
