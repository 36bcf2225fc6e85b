"""Titles in an order that is nobody's own."""

from dataclasses import replace
from datetime import timedelta

from planted_snapshot import NOW, snapshot_in_memory, title

from pipelines.lists.codec import unpack
from pipelines.serving.feeds import chronological, similar, trending
from pipelines.serving.placed import Arranged, Asked

ASKED = Asked(1, 3, "home", None, "DE", frozenset(), frozenset(), 0, 7, NOW)


def shown(arranged: Arranged) -> list[int]:
    return [placed.item_id for placed in arranged.items]


def a_snapshot(**said):
    titles = [title(item, published_at=NOW - timedelta(days=item)) for item in range(1, 7)]
    titles += [title(7, published_at=NOW + timedelta(hours=1)), title(8, maturity=16, published_at=NOW)]
    return snapshot_in_memory(titles, **said)


def test_the_newest_come_first_page_by_page_and_nothing_that_is_to_come() -> None:
    snapshot = a_snapshot()
    assert shown(chronological(snapshot, 12, ASKED)) == [1, 2, 3]
    assert shown(chronological(snapshot, None, ASKED)) == [8, 1, 2]
    later = replace(ASKED, served=frozenset({1, 2, 3}), exclude=frozenset({5}), k=9)
    assert shown(chronological(snapshot, 12, later)) == [4, 6]
    assert chronological(snapshot, 12, later).filtered == {"licence": 1, "maturity": 1, "served": 3, "excluded": 1}


def test_what_is_near_a_title_is_shown_nearest_first_with_the_title_as_the_reason() -> None:
    found = similar(a_snapshot(neighbours={1: (8, 3, 7, 2)}), 1, ASKED, 12)
    assert shown(found) == [3, 2]
    assert [(placed.reason.kind, placed.reason.item_id, placed.score) for placed in found.items] == [
        ("similar", 1, 1.0), ("similar", 1, 0.5),
    ]  # fmt: skip
    assert similar(a_snapshot(), 99, ASKED, None).items == []


def test_what_trends_is_shown_as_far_as_it_may_be() -> None:
    snapshot = a_snapshot()
    found = trending(snapshot, unpack(snapshot.trending), ASKED, 12)
    assert shown(found) == [1, 2, 3]
    assert found.items[0].score > found.items[1].score > 0
