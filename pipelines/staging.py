"""Where Spark lays rows down before the lake takes them: folders beside the lake, gone when they were taken.

A job that is killed leaves its folder behind; nobody reads it again, and `remove_stale` takes it away.
"""

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.fs as pafs

from pipelines.errors import UnavailableError
from pipelines.lake import Lake

_PREFIX = ".staging-"
# No job stages for as long.
_STALE = timedelta(days=1)


@contextmanager
def staging(lake: Lake) -> Iterator[tuple[pafs.FileSystem, str, str]]:
    """A fresh folder beside the lake: Arrow's file system, the path in it, and its name as a URI or a local path.

    Raises:
        UnavailableError: if it cannot be made.
    """
    if "://" in lake.root:
        system, root = lake.file_system()
        name = f"-staging/{uuid.uuid4().hex}"
        try:
            yield system, root + name, lake.root.rstrip("/") + name
        finally:
            system.delete_dir(root + name)
        return
    beside = Path(lake.root).absolute().parent
    try:
        beside.mkdir(parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(prefix=_PREFIX, dir=beside)
    except OSError as error:
        raise UnavailableError(f"cannot write beside the lake in {beside}: {error.strerror}") from error
    try:
        yield pafs.LocalFileSystem(), folder, folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_stale(lake: Lake) -> int:
    """Remove what killed jobs left beside the lake more than a day ago. Returns how many folders there were.

    Raises:
        UnavailableError: if one cannot be removed.
    """
    system, root = lake.file_system()
    if "://" in lake.root:
        selector = pafs.FileSelector(f"{root}-staging", allow_not_found=True)
    else:
        selector = pafs.FileSelector(str(Path(root).parent), allow_not_found=True)
    count = 0
    try:
        for found in system.get_file_info(selector):
            is_staging = "://" in lake.root or found.base_name.startswith(_PREFIX)
            if is_staging and found.type == pafs.FileType.Directory and _is_stale(system, found):
                system.delete_dir(found.path)
                count += 1
    except OSError as error:
        raise UnavailableError(f"cannot remove what was left beside the lake {lake.root}: {error}") from error
    return count


def _is_stale(system: pafs.FileSystem, folder: pafs.FileInfo) -> bool:
    # An object store knows no time of a folder, only of what is in it.
    inside = system.get_file_info(pafs.FileSelector(folder.path, recursive=True))
    times = [found.mtime for found in (folder, *inside) if found.mtime is not None]
    return bool(times) and datetime.now(UTC) - max(times) > _STALE
