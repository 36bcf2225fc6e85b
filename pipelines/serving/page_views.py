"""What the page shows, in words: answers in, plain values for its template out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup

from pipelines.serving.page_covers import cover_art
from pipelines.serving.placed import Item
from pipelines.serving.title import Title
from pipelines.serving.titles import Titles

_REASONS = {
    "als": "Watched by people with the same taste",
    "towers": "Close to what you watch",
    "item_item": "Often watched with what you watched",
    "content": "Its story is like what you watch",
    "most_popular": "Popular on the service",
    "trending": "Trending now",
    "next_episode": "Your next episode",
    "new_title": "New in the catalogue",
    "cohort": "Popular with people like you",
    "fresh": "Published within a day",
    "explore": "A title that few have seen yet",
    "newest": "Newest first",
    "other": "From another source",
}
_SOURCES = {
    "personal": "The user's own list",
    "cohort": "The list of the user's cohort",
    "trending": "What trends",
    "chronological": "Newest first: the user opted out of personalisation",
    "none": "Nothing: no list could be read",
}
_STORES = {
    "redis": "Redis",
    "cassandra": "Cassandra",
    "embedded": "Embedded store",
    "memory": "Memory: no store answered in time",
    "snapshot": "Local snapshot",
}
_RULES = {
    "already_watched": "already watched",
    "creator_cap": "too many of one creator",
    "demoted_neighbours": "like one that was turned down",
    "excluded": "not wanted by the caller",
    "genre_cap": "too many of one genre",
    "licence": "outside their licence",
    "maturity": "above the age limit",
    "moderation": "not approved",
    "not_interested": "turned down",
    "restricted": "restricted",
    "series_cap": "too many of one series",
    "served": "on an earlier page",
    "territory": "not for this country",
    "unknown": "not in the catalogue",
    "withdrawn": "withdrawn",
}


@dataclass(frozen=True)
class Looked:
    """An answer, and what the page shows beside it.

    `history`: item ids lately watched, newest first; empty of who opted out. `filtered`: how many candidates each rule
    held back. `titles`: of the snapshot, `None` where there is none.
    """

    run_id: str | None
    model_set: str | None
    audit_id: str | None
    generated_at: datetime | None
    source: str
    store: str
    items: list[Item]
    relaxed: tuple[str, ...]
    filtered: Mapping[str, int]
    history: tuple[int, ...]
    titles: Titles | None


@dataclass(frozen=True)
class Cover:
    """A title as a picture with words; `length` chooses the size of the letters."""

    name: str
    genre: str
    art: Markup
    length: str


@dataclass(frozen=True)
class Card:
    """A title in its place, from 1, and why it is there."""

    place: int
    cover: Cover
    facts: str
    reason: str
    score: str
    chance: str | None
    is_fresh: bool


@dataclass(frozen=True)
class Row:
    """A fact under its name; `note` says more, `is_digest` that it is shown in the letters of machines."""

    name: str
    value: str
    note: str = ""
    is_digest: bool = False


def cards(items: Sequence[Item], titles: Titles | None, now: datetime) -> list[Card]:
    """The titles of an answer."""
    return [_card(item, titles, now) for item in items]


def covers(item_ids: Sequence[int], titles: Titles | None) -> list[Cover]:
    """Titles alone."""
    return [_cover(item_id, _title(item_id, titles)) for item_id in item_ids]


def facts(seen: Looked, now: datetime) -> list[Row]:
    """What stands behind an answer."""
    made = "unknown" if seen.generated_at is None else f"{seen.generated_at.astimezone(UTC):%-d %B %Y, %H:%M} UTC"
    relaxed = [_RULES.get(rule, _words(rule)) for rule in seen.relaxed]
    counted = sorted((-count, _RULES.get(rule, _words(rule))) for rule, count in seen.filtered.items() if count)
    return [
        Row("Comes from", _SOURCES.get(seen.source, _words(seen.source))),
        Row("Read from", _STORES.get(seen.store, _words(seen.store))),
        Row("Made", made, "" if seen.generated_at is None else age(seen.generated_at, now)),
        Row("Rules that gave way", "; ".join(relaxed) or "None"),
        Row("Held back", "; ".join(f"{-count} {rule}" for count, rule in counted) or "Nothing"),
        Row("Run", seen.run_id or "None", is_digest=True),
        Row("Model set", seen.model_set or "None", is_digest=True),
        Row("Audit", seen.audit_id or "None on record", is_digest=True),
    ]


def list_name(source: str) -> str:
    """A heading for an answer."""
    return {
        "personal": "For this user",
        "cohort": "For the user's cohort",
        "trending": "What trends",
        "chronological": "For this user: newest first",
    }.get(source, "Their list")


def no_history(source: str) -> str:
    """Why there is nothing that was lately watched."""
    if source == "chronological":
        return "Not read: this user opted out of personalisation."
    return "Nothing that their list knows of."


def count_line(items: Sequence[Item]) -> str:
    """How many titles, and what is special about them."""
    explored, fresh = (sum(flags) for flags in ((i.is_explored for i in items), (i.is_fresh for i in items)))
    parts = [f"{len(items)} title{'' if len(items) == 1 else 's'}"]
    parts += [f"{explored} exploring"] if explored else []
    parts += [f"{fresh} fresh"] if fresh else []
    return ", ".join(parts) + "."


def age(at: datetime, now: datetime) -> str:
    """How long ago, in one unit."""
    seconds = (now - at).total_seconds()
    for unit, size in (("year", 365 * 86400), ("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // size)
        if count >= 1:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def _card(item: Item, titles: Titles | None, now: datetime) -> Card:
    title = _title(item.item_id, titles)
    return Card(
        place=item.slot + 1,
        cover=_cover(item.item_id, title),
        facts=_facts(title, now),
        reason=_reason(item, titles),
        score=f"{item.score:.3f}",
        chance=f"{item.propensity:.1%}" if item.is_explored else None,
        is_fresh=item.is_fresh,
    )


def _title(item_id: int, titles: Titles | None) -> Title | None:
    return titles.get(item_id) if titles is not None else None


def _name(item_id: int, title: Title | None) -> str:
    return title.name if title is not None else f"Title {item_id}"


def _cover(item_id: int, title: Title | None) -> Cover:
    name = _name(item_id, title)
    genre = title.genres[0] if title is not None and title.genres else ""
    longest = max(map(len, name.split()), default=0)
    length = "long" if len(name) > 34 or longest > 11 else "short" if len(name) < 14 and longest < 9 else "usual"
    return Cover(name, genre, cover_art(item_id, genre), length)


def _facts(title: Title | None, now: datetime) -> str:
    if title is None:
        return "Not in the snapshot"
    parts = [
        " / ".join(title.genres[:2]),
        "Audio" if title.kind == "audio" else "",
        f"S{title.season} E{title.episode}" if title.season is not None and title.episode is not None else "",
        f"{title.maturity}+" if title.maturity else "",
        age(title.published_at, now),
    ]
    return " · ".join(part for part in parts if part)


def _reason(item: Item, titles: Titles | None) -> str:
    if item.reason.item_id is not None:
        name = _name(item.reason.item_id, _title(item.reason.item_id, titles))
        return f"Similar to {name}" if item.reason.kind == "similar" else f"Because you watched {name}"
    return _REASONS.get(item.reason.kind, _words(item.reason.kind))


def _words(name: str) -> str:
    return name.replace("_", " ")
