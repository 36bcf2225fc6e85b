"""The snapshot that belongs to the live run: read from disk into plain Python once, and again when it changes."""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np

from pipelines.errors import DataError, UnavailableError
from pipelines.serving.rules.exploration import Explorable
from pipelines.serving.rules.fresh import Fresh
from pipelines.serving.rules.limits import Rules
from pipelines.serving.shelf import Shelf, shelf_of
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
    decoded,
)
from pipelines.snapshot_record import SnapshotRecord, read_record, records

_F32 = np.dtype("<f4")


@dataclass(frozen=True)
class Snapshot:
    """What serving needs beside lists.

    `generated_at`: when it was made, later than its run where it was refreshed. `neighbours`: of each title, nearest
    first. `cohorts`: a packed list by age band, city and first genre. `trending`: a packed list.
    """

    digest: str
    run_id: str
    model_set: str
    audit_id: str | None
    generated_at: datetime
    titles: Titles
    neighbours: Mapping[int, tuple[int, ...]]
    cohorts: Mapping[tuple[str | None, str | None, str | None], bytes]
    trending: bytes
    explorable: Explorable
    fresh: Fresh
    rules: Rules
    # For the compiled rules; none where there are none.
    shelf: Shelf | None = None

    @cached_property
    def without_draws(self) -> "Snapshot":
        """The same with no fresh and no drawn places."""
        rules = replace(self.rules, fresh_slots=(), explored_slots=())
        return replace(self, rules=rules)


class Snapshots:
    """Keeps the snapshot that belongs to the live run.

    `trouble`: why the last refresh failed, in a sentence; `None` when it did not.
    """

    def __init__(self, place: str) -> None:
        """Nothing is read before the first refresh; `place` is a folder, or a URI of an object store."""
        self._place = place
        self._current: Snapshot | None = None
        self.trouble: str | None = None

    @property
    def current(self) -> Snapshot | None:
        """The newest that could be read."""
        return self._current

    async def refresh(self, run_id: str | None) -> None:
        """Read the snapshot of a run, if it is another than the current one; of the newest run where `None`.

        Never raises: what cannot be read leaves the last good one in place and is said in `trouble`.
        """
        try:
            self._current = await asyncio.to_thread(_renewed, self._place, run_id, self._current)
            self.trouble = None
        except (DataError, UnavailableError) as error:
            self.trouble = str(error)
        except OSError as error:
            self.trouble = f"the snapshots in {self._place} cannot be read: {error.strerror or error}"


def read_snapshot(place: str, run_id: str | None) -> Snapshot:
    """The snapshot of a run; of the newest run where `None`.

    Raises:
        DataError: if there is none, or it is not what its manifest says.
    """
    return _renewed(place, run_id, None)


def _renewed(place: str, run_id: str | None, current: Snapshot | None) -> Snapshot:
    """The snapshot as it is said to be now: the current one where nothing but what is said of it changed."""
    record = _record(place, run_id)
    if current is None or current.digest != record.snapshot:
        return _snapshot(_files(place, record.snapshot), record)
    if (current.run_id, current.generated_at, current.audit_id) == (
        record.run_id,
        record.generated_at,
        record.audit_id,
    ):
        return current
    return replace(
        current,
        run_id=record.run_id,
        model_set=record.model_set,
        audit_id=record.audit_id,
        generated_at=record.generated_at,
    )


def _record(place: str, run_id: str | None) -> SnapshotRecord:
    if run_id is not None:
        record = read_record(place, run_id)
        if record is None:
            raise DataError(f"run {run_id} has no snapshot: run `python -m jobs.build_snapshot` for its day")
        return record
    found = records(place)
    if not found:
        raise DataError(f"there is no snapshot in {place}: run `python -m jobs.build_snapshot`")
    return found[-1]


def _snapshot(files: Mapping[str, bytes], record: SnapshotRecord) -> Snapshot:
    try:
        rules = msgspec.json.decode(files[RULES], type=Rules)
        trending = files[TRENDING]
    except (KeyError, msgspec.MsgspecError) as error:
        raise DataError(f"{RULES} or {TRENDING} of snapshot {record.snapshot} cannot be read: {error}") from None
    titles = Titles(decoded(files, TITLES, list[Title]), rules.restricted_from)
    near = decoded(files, NEIGHBOURS, NeighbourColumns)
    cohorts = decoded(files, COHORTS, CohortColumns)
    explorable = decoded(files, EXPLORABLE, ExplorableColumns)
    shown = decoded(files, FRESH, FreshColumns)
    vectors = np.frombuffer(shown.vectors, _F32).reshape(len(shown.item_ids), shown.width).astype(np.float32)
    # Here, in a thread of its own, and not with the first request.
    now = datetime.now(UTC)
    titles.showable(now)
    explored = Explorable(explorable.item_ids, explorable.weights)
    fresh = Fresh(shown.item_ids, vectors, shown.published_at, rules.fresh_hours, rules.fresh_share)
    return Snapshot(
        digest=record.snapshot,
        run_id=record.run_id,
        model_set=record.model_set,
        audit_id=record.audit_id,
        generated_at=record.generated_at,
        titles=titles,
        neighbours=dict(zip(near.item_ids, near.neighbours, strict=True)),
        cohorts=dict(
            zip(zip(cohorts.age_bands, cohorts.cities, cohorts.genres, strict=True), cohorts.lists, strict=True)
        ),
        trending=trending,
        explorable=explored,
        fresh=fresh,
        rules=rules,
        shelf=shelf_of(titles, explored, fresh, rules, now),
    )


def _files(place: str, digest: str) -> dict[str, bytes]:
    """The files of a snapshot, each checked against the manifest that the digest is of."""
    if "://" in place:
        from pipelines.digested_files import DigestedFiles  # which needs pyarrow

        return DigestedFiles(place, "snapshot").load(digest)
    folder = Path(place) / digest
    try:
        manifest = (folder / "manifest.json").read_bytes()
        if hashlib.sha256(manifest).hexdigest()[:32] != digest:
            raise DataError(f"the manifest of snapshot {digest} was altered")
        expected: dict[str, str] = json.loads(manifest)
        files = {name: (folder / name).read_bytes() for name in expected}
    except FileNotFoundError as error:
        raise DataError(f"snapshot {digest} is not there, or lacks {Path(error.filename).name}") from None
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() != expected[name]:
            raise DataError(f"{name} of snapshot {digest} does not have the digest of its manifest")
    return files
