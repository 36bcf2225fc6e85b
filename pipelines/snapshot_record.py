"""Which snapshot belongs to a run: one small file a run, `by_run/RUN_ID.json`, replaced whole when a newer is made.

Read by the endpoint, so a local folder is read with plain Python; only an object store asks for more.
"""

import re
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from pipelines.errors import DataError
from pipelines.whole_files import write_whole

_FOLDER = "by_run"
_RUN_ID = re.compile(r"\d{8}-[0-9a-f]{12}")


class SnapshotRecord(msgspec.Struct, frozen=True):
    """The snapshot of a run, by what model set, covered by which audit, and when it was made."""

    run_id: str
    snapshot: str
    model_set: str
    audit_id: str | None
    generated_at: datetime


def write_record(place: str, record: SnapshotRecord) -> None:
    """Say which snapshot belongs to a run, in the place of what was said before.

    Args:
        place: of all snapshots, a folder or a URI of an object store.
        record: what to say.
    """
    _check(record.run_id)
    content = msgspec.json.format(msgspec.json.encode(record), indent=1)
    name = f"{record.run_id}.json"
    if "://" in place:
        system, root = _object_store(place)
        system.create_dir(f"{root}/{_FOLDER}", recursive=True)
        with system.open_output_stream(f"{root}/{_FOLDER}/{name}") as stream:
            stream.write(content)
        return
    write_whole(Path(place) / _FOLDER / name, content)


def read_record(place: str, run_id: str) -> SnapshotRecord | None:
    """Which snapshot belongs to a run; `None` where nobody said.

    Raises:
        DataError: if the run id is none, or the file is not what was written.
    """
    _check(run_id)
    content = _content(place, f"{run_id}.json")
    return None if content is None else _decoded(content, run_id)


def records(place: str) -> list[SnapshotRecord]:
    """What is said of all runs, in the order in which their snapshots were made; broken files are passed over."""
    found = []
    for run_id in _run_ids(place):
        try:
            record = read_record(place, run_id)
        except DataError:
            continue
        if record is not None:
            found.append(record)
    return sorted(found, key=lambda record: (record.generated_at, record.run_id))


def _run_ids(place: str) -> list[str]:
    if "://" in place:
        import pyarrow.fs as pafs

        system, root = _object_store(place)
        listed = system.get_file_info(pafs.FileSelector(f"{root}/{_FOLDER}", allow_not_found=True))
        names = [info.base_name for info in listed]
    else:
        names = [path.name for path in (Path(place) / _FOLDER).glob("*.json")]
    return sorted(name[: -len(".json")] for name in names if _RUN_ID.fullmatch(name.removesuffix(".json")))


def _content(place: str, name: str) -> bytes | None:
    try:
        if "://" not in place:
            return (Path(place) / _FOLDER / name).read_bytes()
        system, root = _object_store(place)
        with system.open_input_file(f"{root}/{_FOLDER}/{name}") as file:
            content: bytes = file.read()
            return content
    except FileNotFoundError:
        return None


def _decoded(content: bytes, run_id: str) -> SnapshotRecord:
    try:
        record = msgspec.json.decode(content, type=SnapshotRecord)
    except msgspec.MsgspecError as error:
        raise DataError(f"what is said of the snapshot of {run_id} cannot be read: {error}") from None
    if record.run_id != run_id:
        raise DataError(f"what is said of the snapshot of {run_id} is said of {record.run_id}")
    return record


def _object_store(place: str) -> tuple[Any, str]:
    # Imported where it is needed: an endpoint with a local folder never pays for it.
    import pyarrow.fs as pafs

    system, path = pafs.FileSystem.from_uri(place)
    return system, path.rstrip("/")


def _check(run_id: str) -> None:
    if not _RUN_ID.fullmatch(run_id):
        raise DataError(f"{run_id!r} is not a run id")
