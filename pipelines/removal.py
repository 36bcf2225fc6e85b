"""Physical removal of erased users, for all who wait together: each table is rewritten once, whoever is in it.

What is looked for is everybody who was ever erased, not only who waits: a job that was killed in its midst may have
left rows behind, and rows that were not there cost no rewriting. A user is removed when no place that is ours holds
anything of them: neither the newest version of a table nor the files of an older one.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from feature_defs.record import ERASURES
from feature_defs.tables import LAKE_TABLES
from pipelines.erasure import Place, Receipt, receipts, record
from pipelines.errors import UsageError
from pipelines.lake import Lake
from pipelines.quoted_samples import remove_samples
from pipelines.spool import kept_segments, records_being_written, remove_unfinished, seal_orphans, sealed_segments
from pipelines.staging import remove_stale
from pipelines.stores.interface import ListStore
from pipelines.suppressed_rows import holds_users

_MOST_HOURS = 24 * 365
# Places where one would look, and that hold nothing of a single user.
_NOTHING_THERE = {
    "models": Place(0, "ALS keeps titles only, towers and ranker know no user ids; what weights learned stays in them "
                    "until the next training"),
    "checkpoints": Place(0, "weights and the optimiser's moments only"),
    "snapshots": Place(0, "titles and cohorts only"),
    "mlflow": Place(0, "hyperparameters and metrics only"),
}  # fmt: skip
_NOT_OURS = {"warehouse": Place(None, "is upstream: its operator erases there; what it still delivers is dropped")}


def check_keep_hours(keep_hours: int) -> None:
    """How long older versions are kept.

    Raises:
        UsageError: if it is no time.
    """
    if not 0 <= keep_hours <= _MOST_HOURS:
        raise UsageError(f"--keep-hours must lie between 0 and {_MOST_HOURS:,}, not be {keep_hours}")


def remove_waiting(
    lake: Lake, store: ListStore, spool: Path, data_docs: Path, *, keep_hours: int = 0
) -> dict[int, Receipt]:
    """Remove everybody who waits for it from all places.

    Args:
        lake: its tables are rewritten and older versions deleted.
        store: lets go of lists that were written late.
        spool: the endpoint's folder of segments.
        data_docs: the folder of Data Docs.
        keep_hours: files of versions that were replaced later stay readable; while one holds a user, they wait.

    Returns:
        The receipts of those who waited, and of those of whom something was found again.

    Raises:
        DataError: if a file of the spool is none: nobody knows whom it holds.
        UnavailableError: if a place cannot be read or written; done again, it goes on where it was.
    """
    known = receipts(lake)
    users = pa.array(sorted(known), pa.int64())
    if not known:
        return {}
    waiting = [user for user, receipt in known.items() if receipt.removed_at is None]
    found = _from_lake(lake, users, keep_hours)
    left = {"older_versions": _in_older_versions(lake, users)}
    written, being_written = _from_spool(spool, set(known))
    found |= {"spool": written, "data_docs": remove_samples(data_docs, known)}
    left["open_segments"] = being_written
    found["lists"] = Counter({user: count for user in waiting if (count := store.forget_user(user))})
    remove_stale(lake)
    touched = {user for counts in (*found.values(), *left.values()) for user in counts}
    done = {}
    for user in sorted({*waiting, *touched}):
        receipt = known[user].with_found({name: Place(counts[user]) for name, counts in found.items()})
        done[user] = _closed(receipt, {name: counts[user] for name, counts in left.items()}, keep_hours)
        record(lake, done[user])
    lake.compact(ERASURES)
    return done


def _from_lake(lake: Lake, users: pa.Array, keep_hours: int) -> dict[str, Counter[int]]:
    found = {}
    for table in LAKE_TABLES:
        if holds_users(table):
            found[f"lake.{table.name}"] = lake.expunge(table, users)
            if lake.users_of_older_files(table, users):
                lake.vacuum(table, keep_hours)
    return found


def _in_older_versions(lake: Lake, users: pa.Array) -> Counter[int]:
    """In the older files of how many tables each user is left."""
    return Counter(
        user for table in LAKE_TABLES if holds_users(table) for user in lake.users_of_older_files(table, users)
    )


def _from_spool(spool: Path, users: set[int]) -> tuple[Counter[int], Counter[int]]:
    """How many records of each user were taken out of segments, and how many lie in those that are being written."""
    seal_orphans(spool)
    remove_unfinished(spool)
    # What is sealed after this look is still found below.
    being_written = records_being_written(spool, users)
    written = Counter[int]()
    for segments in (sealed_segments, kept_segments):
        for segment in segments(spool):
            written += segment.without(users)
    return written, being_written


def _closed(receipt: Receipt, left: Mapping[str, int], keep_hours: int) -> Receipt:
    """The receipt with what is known of all other places; with its second date if nothing is left in any."""
    reasons = {
        "older_versions": f"files of older versions are kept for {keep_hours} hours"
        if keep_hours
        else "not yet committed, or dead",
        "open_segments": "are being written; sealed within minutes, and dropped when they are loaded",
    }
    places = {
        **receipt.places,
        **_NOTHING_THERE,
        **_NOT_OURS,
        **{name: Place(count, reasons[name] if count else "") for name, count in left.items()},
    }
    is_gone = not any(left.values()) and receipt.suppressed_at is not None
    return replace(receipt, places=places, removed_at=datetime.now(UTC) if is_gone else None)
