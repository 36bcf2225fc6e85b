"""What an endpoint knows of titles, and which of them may be shown at a moment.

Windows (published, withdrawn, licensed) open and close between two refreshes of a snapshot. So what may be shown is
kept as a view that is right until the next window opens or closes, and is then mended: no title is shown a moment after
its licence ends, and a request pays for one comparison of times.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from pipelines.serving.rules.availability import changes, why_hidden
from pipelines.serving.title import Entry, Title

_EVER, _NEVER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Showable:
    """What may be shown from one moment until another, to those it is for.

    `entries` by item id: what the rules read of a title (least age, countries or `None` for all, codes of main genre,
    creator and series, -1 for none; no two kinds share a code). `hidden`: the rule that hides each of the others.
    `number`: counts views; `changed`: the titles that may be another than in the view before.
    """

    entries: Mapping[int, Entry]
    hidden: Mapping[int, str]
    since: datetime
    until: datetime
    number: int
    changed: Set[int]


class Titles:
    """The catalogue of a snapshot.

    `by_id`: every title; `entries`: what the rules read of each, shown or not. `newest`: ids by publication, latest
    first. `next_episodes`: the episode after each. `maturities`: the least age of each.
    """

    def __init__(self, titles: Iterable[Title], restricted_from: int) -> None:
        """Takes the titles in; `restricted_from` is the least age in years from which a title is never shown."""
        self.by_id: Mapping[int, Title] = {title.item_id: title for title in titles}
        self._restricted_from = restricted_from
        self.maturities: Mapping[int, int] = {title.item_id: title.maturity for title in self.by_id.values()}
        self.entries: Mapping[int, Entry] = _entries(self.by_id.values())
        self._changes = sorted((moment, title.item_id) for title in self.by_id.values() for moment in changes(title))
        latest = sorted(self.by_id.values(), key=lambda title: (title.published_at, title.item_id), reverse=True)
        self.newest: tuple[int, ...] = tuple(title.item_id for title in latest)
        self.next_episodes: Mapping[int, int] = _next_episodes(self.by_id.values())
        self._view = Showable({}, {}, _NEVER, _EVER, 0, frozenset())

    def __len__(self) -> int:
        return len(self.by_id)

    def get(self, item_id: int) -> Title | None:
        """The title of an id; `None` where the snapshot does not know it."""
        return self.by_id.get(item_id)

    def showable(self, now: datetime) -> Showable:
        """What may be shown at a moment; the same object as long as it is the same."""
        view = self._view
        if not view.since <= now < view.until:
            self._view = view = self._look(now)
        return view

    def _look(self, now: datetime) -> Showable:
        at = bisect_right(self._changes, now, key=lambda change: change[0])
        since = self._changes[at - 1][0] if at else _EVER
        until = self._changes[at][0] if at < len(self._changes) else _NEVER
        before = self._view
        if before.entries or before.hidden:
            # Only what changed between the two moments is looked at again, whichever comes first.
            start = bisect_right(self._changes, before.since, key=lambda change: change[0])
            touched = {item for _, item in self._changes[min(start, at) : max(start, at)]}
        else:
            touched = set(self.by_id)
        entries, hidden = dict(before.entries), dict(before.hidden)
        for item in touched:
            why = why_hidden(self.by_id[item], now, self._restricted_from)
            entries.pop(item, None)
            hidden.pop(item, None)
            if why is None:
                entries[item] = self.entries[item]
            else:
                hidden[item] = why
        return Showable(entries, hidden, since, until, before.number + 1, touched)


def _entries(titles: Iterable[Title]) -> dict[int, Entry]:
    """What the rules read of each title."""
    codes: dict[tuple[str, object], int] = {}

    def code(kind: str, value: object) -> int:
        return -1 if value is None else codes.setdefault((kind, value), len(codes))

    places: dict[tuple[str, ...], frozenset[str]] = {}
    return {
        title.item_id: (
            title.maturity,
            None if title.territories is None else places.setdefault(title.territories, frozenset(title.territories)),
            code("genre", title.genres[0] if title.genres else None),
            code("creator", title.creator),
            code("series", title.series_id),
        )
        for title in titles
    }


def _next_episodes(titles: Iterable[Title]) -> dict[int, int]:
    """The episode that follows each in its series, by season and number."""
    episodes = sorted(
        (title.series_id, title.season or 0, title.episode or 0, title.item_id)
        for title in titles
        if title.series_id is not None
    )
    return {earlier[3]: later[3] for earlier, later in pairwise(episodes) if earlier[0] == later[0]}
