"""A list that was read, and what the answer shows of it: every product rule, in one pass that ends when it is full.

The rules themselves are in `pipelines.serving.rules`. Here they are put in order: places that are drawn and places of
fresh titles are known beforehand; all others take the next title of the list that may be shown and fits, next episodes
first. What a cap holds back waits for the next page of the answer; what is demoted or was watched waits for the end.
When the list is used up, rules give way in the order of `RELAXATIONS`, each only as far as it is needed.
"""

from collections.abc import Iterator, Mapping
from itertools import chain

from feature_defs.recommendations import NO_REASON, SOURCES
from pipelines.lists.codec import UserList
from pipelines.serving.placed import (
    BECAUSE,
    DEMOTED,
    EXCLUDED,
    EXPLORE,
    FRESH,
    NOT_INTERESTED,
    OTHER,
    SERVED,
    UNKNOWN,
    WATCHED,
    Arranged,
    Asked,
    Item,
    reason_of,
)
from pipelines.serving.rules.audience import MATURITY, NO_LIMIT, lists_limit, withheld
from pipelines.serving.rules.caps import CREATOR, GENRE, SERIES, Caps
from pipelines.serving.rules.continuing import NEXT_EPISODE, following, places_of_next_episodes
from pipelines.serving.rules.excluded import excluded
from pipelines.serving.rules.exploration import Chance, Draws
from pipelines.serving.rules.limits import DRAWN, Rules
from pipelines.serving.rules.not_interested import demoted
from pipelines.serving.rules.watched import watched
from pipelines.serving.snapshots import Snapshot
from pipelines.serving.title import Entry
from pipelines.stores.user_state import UserState

# In which order rules give way when they leave too few titles. No other rule ever does.
_CAPS = (CREATOR, GENRE, SERIES)
RELAXATIONS = (*_CAPS, DEMOTED, WATCHED)

# A title that may be shown: its id, its place in the list (-1: not there), codes of its genre, creator and series.
Candidate = tuple[int, int, int, int, int]
# Titles of a list that most answers do not look beyond.
_FRONT = 40
# Of those, how many say what the list's user may be shown.
_PAGE = 20
_RULES = Rules()
_NOTHING_KNOWN: Entry = (0, None, -1, -1, -1)


class _Anything(Mapping[int, Entry]):
    """What is known of titles without a snapshot: of each, that it may be shown."""

    def __getitem__(self, item_id: int) -> Entry:
        return _NOTHING_KNOWN

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 0


_ANYTHING = _Anything()


def arrange(user_list: UserList, state: UserState, snapshot: Snapshot | None, asked: Asked) -> Arranged:
    """The answer from a list: personal, of a cohort, or what trends.

    Without a snapshot nothing is known of titles but what the night knew when it made the list: then only what the
    user said and saw is respected, and a user who set a maturity limit since is shown nothing.
    """
    if snapshot is None and state.limit is not None:
        return Arranged([], (), {MATURITY: len(user_list)})
    answer = _Answer(user_list, state, snapshot, asked)
    answer.fill()
    return answer.arranged()


class _Answer:
    """An answer in the making.

    `_aside`: titles that the list no longer offers: ruled out, demoted, placed, or waiting for a place.
    """

    __slots__ = (
        "_added_limit", "_aside", "_asked", "_caps", "_demoted", "_draws", "_entries", "_filtered", "_fresh", "_front",
        "_history", "_items", "_limit", "_list", "_near", "_never", "_relaxed", "_rules", "_seen", "_snapshot",
        "_sources", "_state", "_waiting", "_watched",
    )  # fmt: skip

    def __init__(self, user_list: UserList, state: UserState, snapshot: Snapshot | None, asked: Asked) -> None:
        self._list, self._state, self._snapshot, self._asked = user_list, state, snapshot, asked
        self._front: list[int] = user_list.item_ids[:_FRONT].tolist()
        self._history: list[int] = user_list.history.tolist()
        self._sources = user_list.sources.tobytes()
        self._limit = NO_LIMIT if state.limit is None else state.limit
        self._never = excluded(asked.exclude, asked.served, state.not_interested)
        self._seen = watched(self._history, state.watched)
        self._aside = self._seen | self._never
        self._near: set[int] = set()
        self._rules = _RULES
        self._entries: Mapping[int, Entry] = _ANYTHING
        if snapshot is not None:
            self._rules = snapshot.rules
            self._entries = snapshot.titles.showable(asked.now).entries
            if state.not_interested:
                self._near = demoted(state.not_interested, snapshot.neighbours, self._rules.demoted)
                self._aside |= self._near
        self._caps = Caps(self._rules.caps)
        # Held back until the next page of this answer, or until nothing else is left.
        self._waiting: list[Candidate] = []
        self._demoted: list[Candidate] = []
        self._watched: list[Candidate] = []
        self._relaxed: set[str] = set()
        self._filtered: dict[str, int] = {}
        self._items: list[Item] = []
        # Found out when the first place of their kind is reached.
        self._added_limit: int | None = None
        self._draws: Draws | None = None
        self._fresh: list[tuple[int, float]] | None = None

    def arranged(self) -> Arranged:
        """What it has become."""
        for _, _, *codes in self._waiting:
            for cap in self._caps.broken(*codes)[:1]:
                self._count(cap)
        relaxed = tuple(name for name in RELAXATIONS if name in self._relaxed) if self._relaxed else ()
        return Arranged(self._items, relaxed, self._filtered)

    def fill(self) -> None:
        """Place as many titles as were asked for, page by page."""
        plan, caps, aside, history = self._rules.plan, self._caps, self._aside, self._history
        score_at, reasons, sources = self._list.scores.item, self._list.reasons.tobytes(), self._sources
        source: Iterator[Candidate] = chain(self._next_episodes(), self._open())
        append, take = self._items.append, caps.take
        slot, k = 0, self._asked.k
        while slot < k:
            full = caps.turn()
            source = chain(self._waiting, source) if self._waiting else source
            self._waiting = waiting = []
            for kind in plan[: k - slot]:
                if kind and (self._draw(slot) if kind == DRAWN else self._freshest(slot)):
                    slot += 1
                    continue
                for item, place, genre, creator, series in source:
                    if genre in full or creator in full or series in full:
                        waiting.append((item, place, genre, creator, series))
                        aside.add(item)
                        continue
                    break
                else:
                    given = self._give_way()
                    if given is None:
                        return
                    item, place, genre, creator, series = given
                aside.add(item)
                take(genre, creator, series)
                if place < 0:
                    append(Item(item, 0.0, slot, 1.0, reason_of(NEXT_EPISODE)))
                elif (reason := reasons[place]) != NO_REASON:
                    append(Item(item, score_at(place), slot, 1.0, reason_of(BECAUSE, history[reason])))
                else:
                    code = sources[place]
                    why = SOURCES[code] if code < len(SOURCES) else OTHER
                    append(Item(item, score_at(place), slot, 1.0, reason_of(why)))
                slot += 1

    def _open(self) -> Iterator[Candidate]:
        """The list's titles that may be shown, in order; what waits for the end is kept."""
        get, aside, country, limit = self._entries.get, self._aside, self._asked.country, self._limit
        ids, place = self._front, -1
        while ids:
            for item in ids:
                place += 1
                entry = get(item)
                if entry is None:
                    self._count(self._why_hidden(item))
                    continue
                maturity, territories, genre, creator, series = entry
                if maturity > limit or (territories is not None and country not in territories):
                    self._count(withheld(maturity, territories, country, limit) or OTHER)
                elif item in aside:
                    self._set_aside((item, place, genre, creator, series))
                else:
                    yield item, place, genre, creator, series
            ids = self._list.item_ids[_FRONT:].tolist() if place < _FRONT else []

    def _why_hidden(self, item: int) -> str:
        if self._snapshot is None:
            return UNKNOWN
        return self._snapshot.titles.showable(self._asked.now).hidden.get(item, UNKNOWN)

    def _set_aside(self, candidate: Candidate) -> None:
        """Why the list does not offer this title, and whether it may when nothing else is left."""
        item = candidate[0]
        if item in self._never:
            asked = self._asked
            self._count(SERVED if item in asked.served else EXCLUDED if item in asked.exclude else NOT_INTERESTED)
        elif item in self._seen:
            self._watched.append(candidate)
            self._count(WATCHED)
        elif item in self._near:
            self._demoted.append(candidate)
            self._count(DEMOTED)

    def _count(self, rule: str) -> None:
        self._filtered[rule] = self._filtered.get(rule, 0) + 1

    def _next_episodes(self) -> list[Candidate]:
        """What leads the list: episodes after those finished since the run, then the list's own."""
        since, snapshot, places = self._state.watched, self._snapshot, places_of_next_episodes(self._sources)
        after = following(since, snapshot.titles.next_episodes, self._seen) if since and snapshot else []
        if not after and not places:
            return []
        id_at = self._list.item_ids.item
        listed = [(id_at(place), place) for place in places]
        if after:
            place_of = dict(zip(self._list.item_ids.tolist(), range(len(self._list)), strict=True))
            listed = [*((item, place_of.get(item, -1)) for item in after), *listed]
        found: list[Candidate] = []
        country, limit, aside, continued = self._asked.country, self._limit, self._aside, self._rules.continued
        for item, place in listed:
            if len(found) == continued:
                break
            entry = self._entries.get(item)
            if entry is None or item in aside:
                continue
            maturity, territories, genre, creator, series = entry
            # What the night did not let pass keeps to what it did.
            if withheld(maturity, territories, country, limit if place >= 0 else self._limit_of_added()):
                continue
            found.append((item, place, genre, creator, series))
            aside.add(item)
        return found

    def _limit_of_added(self) -> int:
        """The age up to which titles may be shown that the list does not hold."""
        limit = self._added_limit
        if limit is None:
            known = lists_limit(self._front[:_PAGE], self._snapshot.titles.maturities) if self._snapshot else 0
            limit = self._added_limit = min(self._limit, known)
        return limit

    def _draw(self, slot: int) -> bool:
        """Draw a title for this place; False where none can be."""
        draws = self._draws
        if draws is None:
            if self._snapshot is None:
                return False
            asked, entries = self._asked, self._entries
            audience = self._snapshot.explorable.audience(entries, asked.country, self._limit_of_added())
            draws = self._draws = Draws(audience, entries, Chance(asked.seed, asked.page))
        drawn = draws.draw(self._aside, self._caps.full)
        if drawn is None:
            return False
        item, probability, genre, creator, series = drawn
        self._aside.add(item)
        self._caps.take(genre, creator, series)
        self._items.append(Item(item, 0.0, slot, probability, reason_of(EXPLORE)))
        return True

    def _freshest(self, slot: int) -> bool:
        """Put the fresh title that fits best into this place; False where none does."""
        fresh = self._fresh
        if fresh is None:
            snapshot = self._snapshot
            fresh = snapshot.fresh.best(self._list.vector, self._entries, self._asked.now) if snapshot else []
            self._fresh = fresh
        if not fresh:
            return False
        entries, aside, country, limit = self._entries, self._aside, self._asked.country, self._limit_of_added()
        full = self._caps.full
        for at, (item, score) in enumerate(fresh):
            maturity, territories, genre, creator, series = entries[item]
            if item in aside or maturity > limit or (territories is not None and country not in territories):
                continue
            if genre in full or creator in full or series in full:
                continue
            del fresh[at]
            aside.add(item)
            self._caps.take(genre, creator, series)
            self._items.append(Item(item, score, slot, 1.0, reason_of(FRESH)))
            return True
        return False

    def _give_way(self) -> Candidate | None:
        """The next title for which a rule gives way; `None` where there is nothing left."""
        caps = self._caps
        for given in range(1, len(_CAPS) + 1):
            for at, candidate in enumerate(self._waiting):
                broken = caps.broken(*candidate[2:])
                if set(broken).issubset(_CAPS[:given]):
                    self._relaxed.update(broken)
                    return self._waiting.pop(at)
        for rule, held in ((DEMOTED, self._demoted), (WATCHED, self._watched)):
            if held:
                candidate = held.pop(0)
                self._relaxed.update((rule, *caps.broken(*candidate[2:])))
                return candidate
        return None
