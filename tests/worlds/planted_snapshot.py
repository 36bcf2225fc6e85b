"""A snapshot made by hand, for tests of what serving does with it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np

from feature_defs.recommendations import NO_REASON, SOURCES
from pipelines.digested_files import DigestedFiles
from pipelines.lists.codec import pack
from pipelines.serving.rules.exploration import Explorable
from pipelines.serving.rules.fresh import Fresh
from pipelines.serving.rules.limits import Rules
from pipelines.serving.shelf import shelf_of
from pipelines.serving.snapshots import Snapshot, read_snapshot
from pipelines.serving.title import Title
from pipelines.serving.titles import Titles
from pipelines.snapshot_files import (
    COHORTS,
    EXPLORABLE,
    FRESH,
    NEIGHBOURS,
    RULES,
    TITLES,
    TRENDING,
    CohortColumns,
    ExplorableColumns,
    FreshColumns,
    NeighbourColumns,
    encoded,
)
from pipelines.snapshot_record import SnapshotRecord, write_record

NOW = datetime(2026, 2, 1, 12, tzinfo=UTC)
RUN_ID = "20260131-0123456789ab"
WIDTH = 64
RULES_AS_THEY_ARE = Rules()


def title(item_id: int, **known: Any) -> Title:
    """A title that anybody may be shown, but for what is said of it; of a genre, a creator and no series."""
    return Title(
        **{
            "item_id": item_id,
            "name": f"Title {item_id}",
            "genres": (f"Genre {item_id % 12}",),
            "kind": "video",
            "language": "en",
            "creator": f"Creator {item_id % 101}",
            "maturity": 0,
            "series_id": None,
            "season": None,
            "episode": None,
            "published_at": NOW - timedelta(days=100, minutes=item_id),
            "withdrawn_at": None,
            "licence_from": None,
            "licence_until": None,
            "territories": None,
            "moderation_state": "approved",
            **known,
        }
    )


def trending_list(item_ids: Sequence[int]) -> bytes:
    """A packed list of what trends."""
    return pack(
        item_ids=item_ids,
        scores=np.linspace(1, 0.1, len(item_ids)),
        sources=np.full(len(item_ids), SOURCES.index("trending")),
        reasons=np.full(len(item_ids), NO_REASON),
        generated_at=NOW - timedelta(hours=12),
    )


def write_snapshot(
    place: str,
    titles: Sequence[Title],
    *,
    run_id: str = RUN_ID,
    neighbours: Mapping[int, tuple[int, ...]] | None = None,
    cohorts: Mapping[tuple[str | None, str | None, str | None], bytes] | None = None,
    trending: Sequence[int] | None = None,
    explorable: Mapping[int, float] | None = None,
    fresh: Mapping[int, Sequence[float]] | None = None,
    rules: Rules = RULES_AS_THEY_ARE,
    model_set: str = "m" * 32,
    audit_id: str | None = None,
    generated_at: datetime = NOW,
) -> str:
    """Keep a snapshot and say that it belongs to a run; returns its digest.

    `explorable`: weights by title. `fresh`: vectors by title; when it was published is in `titles`. Without `trending`
    every title trends.
    """
    published = {one.item_id: one.published_at for one in titles}
    near, cohorts, explorable, fresh = neighbours or {}, cohorts or {}, explorable or {}, fresh or {}
    keys = list(cohorts)
    vectors = np.array(list(fresh.values()), "<f4").reshape(len(fresh), -1) if fresh else np.zeros((0, WIDTH), "<f4")
    files = {
        TITLES: encoded(list(titles)),
        NEIGHBOURS: encoded(NeighbourColumns(list(near), list(near.values()))),
        COHORTS: encoded(
            CohortColumns(*([key[part] for key in keys] for part in range(3)), lists=list(cohorts.values()))
        ),
        TRENDING: trending_list(trending if trending is not None else [one.item_id for one in titles][:200]),
        EXPLORABLE: encoded(
            ExplorableColumns(list(explorable), [0] * len(explorable), [0] * len(explorable), list(explorable.values()))
        ),
        FRESH: encoded(
            FreshColumns(
                item_ids=list(fresh),
                published_at=[published[item] for item in fresh],
                texts=[""] * len(fresh),
                width=vectors.shape[1],
                vectors=vectors.tobytes(),
            )
        ),
        RULES: msgspec.json.encode(asdict(rules)),
    }
    digest = DigestedFiles(place, "snapshot").save(files)
    write_record(place, SnapshotRecord(run_id, digest, model_set, audit_id, generated_at))
    return digest


def planted_snapshot(place: str, titles: Sequence[Title], **said: Any) -> Snapshot:
    """The same, read as the endpoint reads it."""
    write_snapshot(place, titles, **said)
    return read_snapshot(place, said.get("run_id", RUN_ID))


def snapshot_in_memory(
    titles: Sequence[Title],
    *,
    neighbours: Mapping[int, tuple[int, ...]] | None = None,
    explorable: Mapping[int, float] | None = None,
    fresh: Mapping[int, Sequence[float]] | None = None,
    rules: Rules = RULES_AS_THEY_ARE,
) -> Snapshot:
    """A snapshot that was never on a disk, for tests that make thousands."""
    published = {one.item_id: one.published_at for one in titles}
    explorable, fresh = explorable or {}, fresh or {}
    vectors = np.array(list(fresh.values()), np.float32).reshape(len(fresh), -1) if fresh else np.zeros((0, WIDTH))
    published_at = [published[item] for item in fresh]
    known = Titles(titles, rules.restricted_from)
    explored = Explorable(list(explorable), list(explorable.values()))
    shown = Fresh(list(fresh), vectors.astype(np.float32), published_at, rules.fresh_hours, rules.fresh_share)
    return Snapshot(
        digest="",
        run_id=RUN_ID,
        model_set="",
        audit_id=None,
        generated_at=NOW,
        titles=known,
        neighbours=neighbours or {},
        cohorts={},
        trending=trending_list([one.item_id for one in titles][:200]),
        explorable=explored,
        fresh=shown,
        rules=rules,
        shelf=shelf_of(known, explored, shown, rules, NOW),
    )
