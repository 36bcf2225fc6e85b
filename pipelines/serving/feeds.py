"""Titles in an order that is nobody's own: the newest, those near another, those that trend.

Only what holds for everybody is kept to (windows, moderation, territory, the maturity limit that comes with the
question) and what the question rules out. Nothing else of a user is looked at, so whoever opted out can be answered.
"""

from collections.abc import Iterable

from pipelines.lists.codec import UserList
from pipelines.serving.placed import EXCLUDED, NEWEST, SERVED, SIMILAR, UNKNOWN, Arranged, Asked, Item, reason_of
from pipelines.serving.rules.audience import NO_LIMIT, withheld
from pipelines.serving.rules.excluded import excluded
from pipelines.serving.snapshots import Snapshot


def chronological(snapshot: Snapshot, maturity_limit: int | None, asked: Asked) -> Arranged:
    """The newest titles first. Reads the maturity limit, and nothing else of the user; the score is 0."""
    return _in_order(snapshot, snapshot.titles.newest, maturity_limit, asked, NEWEST)


def similar(snapshot: Snapshot, item_id: int, asked: Asked, maturity_limit: int | None) -> Arranged:
    """Titles near one, nearest first; none where the snapshot does not know it. The score is one over the rank."""
    found = _in_order(snapshot, snapshot.neighbours.get(item_id, ()), maturity_limit, asked, SIMILAR)
    for placed in found.items:
        placed.score, placed.reason = 1 / (placed.slot + 1), reason_of(SIMILAR, item_id)
    return found


def trending(snapshot: Snapshot, listed: UserList, asked: Asked, maturity_limit: int | None) -> Arranged:
    """What trends, as far as it may be shown; the score is the share of the plays of a week.

    Args:
        snapshot: says what may be shown.
        listed: what trends, of the same snapshot.
        asked: the question.
        maturity_limit: the largest age that a title may be made for.
    """
    ids: list[int] = listed.item_ids.tolist()
    found = _in_order(snapshot, ids, maturity_limit, asked, "trending")
    scores = dict(zip(ids, listed.scores.tolist(), strict=True))
    for placed in found.items:
        placed.score = scores[placed.item_id]
    return found


def _in_order(
    snapshot: Snapshot, item_ids: Iterable[int], maturity_limit: int | None, asked: Asked, reason: str
) -> Arranged:
    """The first of these titles that may be shown."""
    showable = snapshot.titles.showable(asked.now)
    entries, country = showable.entries, asked.country
    limit = NO_LIMIT if maturity_limit is None else maturity_limit
    aside = excluded(asked.exclude, asked.served)
    items: list[Item] = []
    filtered: dict[str, int] = {}
    for item in item_ids:
        if len(items) == asked.k:
            break
        entry = entries.get(item)
        if entry is None:
            why: str | None = showable.hidden.get(item, UNKNOWN)
        elif item in aside:
            why = SERVED if item in asked.served else EXCLUDED
        else:
            why = withheld(entry[0], entry[1], country, limit)
        if why is None:
            items.append(Item(item, 0.0, len(items), 1.0, reason_of(reason)))
        else:
            filtered[why] = filtered.get(why, 0) + 1
    return Arranged(items, (), filtered)
