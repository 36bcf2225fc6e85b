"""What serving must know at once, between two nights: python -m jobs.refresh_snapshot

Reads the warehouse's catalogue as it is now, and makes a snapshot for the live run: titles published since the night
can be answered with, placed by their content with the towers that made the lists; what was withdrawn, or is no longer
approved, is out of every answer. The same for runs that may be served again.
"""

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime, timedelta

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from feature_defs.items import ITEMS
from pipelines.catalogue import catalogue_from
from pipelines.command_line import run, say, say_result
from pipelines.digested_files import DigestedFiles
from pipelines.extraction import extract
from pipelines.models.model_set import ModelSet
from pipelines.settings import Settings, read_settings
from pipelines.snapshot import is_fresh, known_vectors, refreshed, rules_of, titles_of
from pipelines.snapshot_files import TITLES, encoded
from pipelines.snapshot_record import SnapshotRecord, read_record, records, write_record
from pipelines.stores.interface import HOME
from pipelines.stores.open import open_store
from pipelines.text_encoder import embed, item_texts, text_digest, vectors_of
from pipelines.warehouse.open import open_warehouse

# Runs that may be served again, beside the live one.
_EARLIER_RUNS = 14
# A snapshot that no run is said to have may be one that somebody is about to name, or still reads.
_GRACE = timedelta(hours=1)


def main(surface: str = HOME) -> None:
    """Make the snapshot of the live run anew.

    Args:
        surface: whose live pointer says which run that is.
    """
    settings = read_settings()
    now = datetime.now(UTC)
    with closing(open_store(settings.list_places)) as store:
        live = store.live(surface)
    record = read_record(settings.snapshots, live.run_id) if live else None
    if record is None:
        say("no run is live that has a snapshot: there is nothing to refresh")
        say_result({"job": "refresh_snapshot", "snapshot": None})
        return
    items = _items(settings, now.date())
    kept = DigestedFiles(settings.snapshots, "snapshot")
    files = kept.load(record.snapshot)
    fresh = items.filter(pa.array(is_fresh(items, now, rules_of(files))))
    placed = _vectors(fresh, known_vectors(files), lambda: _model_set(settings, record), now.date())
    titles = encoded(titles_of(items))
    digest = kept.save(refreshed(files, titles, fresh, placed))
    _say_of(settings, record, digest, now)
    for earlier in records(settings.snapshots)[-_EARLIER_RUNS:]:
        if earlier.run_id != record.run_id:
            # Nobody is served from it now. Should its run be served again, what was withdrawn stays out of answers.
            _say_of(settings, earlier, kept.save({**kept.load(earlier.snapshot), TITLES: titles}), now)
    named = {one.snapshot for one in records(settings.snapshots)}
    dropped_count = kept.drop_all_but(named, made_before=now - _GRACE)
    say_result(
        {
            "job": "refresh_snapshot",
            "run_id": record.run_id,
            "snapshot": digest,
            "is_changed": digest != record.snapshot,
            "titles": items.num_rows,
            "fresh": fresh.num_rows,
            "dropped": dropped_count,
        }
    )


def _say_of(settings: Settings, record: SnapshotRecord, digest: str, now: datetime) -> None:
    """Which snapshot belongs to a run now, and that it was looked at."""
    write_record(settings.snapshots, msgspec.structs.replace(record, snapshot=digest, generated_at=now))


def _items(settings: Settings, today: date) -> pa.Table:
    """The warehouse's catalogue as it is now, checked as at night; a breach keeps the snapshot as it is."""
    with (
        open_warehouse(settings.warehouse, settings.snowflake_password.get_secret_value()) as warehouse,
        extract(warehouse, ITEMS, today, today) as checked,
    ):
        checked.refuse_if_critical()
        return pq.read_table(checked.path, columns=list(ITEMS.names)).sort_by("item_id")


def _vectors(
    fresh: pa.Table,
    known: dict[tuple[int, str], NDArray[np.float32]],
    model_set: Callable[[], ModelSet],
    today: date,
) -> NDArray[np.float32]:
    """Vectors of new titles [F, W]: those of the snapshot where the text is the same, else made by the model set."""
    keys = list(zip(fresh.column("item_id").to_pylist(), map(text_digest, item_texts(fresh)), strict=True))
    width = len(next(iter(known.values()))) if known else 0
    missing = [key not in known for key in keys]
    if any(missing):
        made = _encoded(fresh.filter(pa.array(missing)), model_set(), today)
        known = known | dict(zip([key for key in keys if key not in known], made, strict=True))
        width = made.shape[1]
    vectors = np.zeros((len(keys), width), np.float32)
    for row, key in enumerate(keys):
        vectors[row] = known[key]
    return vectors


def _encoded(items: pa.Table, model_set: ModelSet, today: date) -> NDArray[np.float32]:
    """What the towers of a model set make of titles they have never seen: float32 [F, W]."""
    say(f"{items.num_rows:,} new titles are placed by their content")
    texts = pa.concat_tables(embed(items, model_set.text_encoder))
    catalogue = catalogue_from(items, today)
    vectors: NDArray[np.float32] = model_set.towers.encode_items(
        catalogue, vectors_of(texts, catalogue.item_ids, model_set.text_encoder)
    )
    return vectors


def _model_set(settings: Settings, record: SnapshotRecord) -> ModelSet:
    """The model set that made the lists of the run."""
    return ModelSet.from_files(DigestedFiles(settings.models).load(record.model_set))


if __name__ == "__main__":
    run(main, description=__doc__)
