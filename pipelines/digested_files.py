"""Folders of files that are what their name says: each is named by the digest of a manifest of sha256 digests.

Models and snapshots are kept so. What is in the files is their own business (`to_files`, `from_files`); every file is
checked before it is given out. No pickle.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path

import pyarrow.fs as pafs

from pipelines import crash_points
from pipelines.errors import DataError

_MANIFEST = "manifest.json"


class DigestedFiles:
    """What is kept below one root: a folder, or a URI of an object store; `what` names one of them in errors."""

    def __init__(self, root: str, what: str = "model set") -> None:
        self._root, self._what = root, what

    def save(self, files: Mapping[str, bytes]) -> str:
        """Keep files and return their digest; what is there already is left alone."""
        manifest = json.dumps({name: _sha256(content) for name, content in files.items()}, sort_keys=True, indent=1)
        digest = _sha256(manifest.encode())[:32]
        system, root = self._file_system()
        place = f"{root}/{digest}"
        if system.get_file_info(f"{place}/{_MANIFEST}").type == pafs.FileType.NotFound:
            system.create_dir(place, recursive=True)
            # The manifest comes last: a folder without one was not finished, and is nothing.
            for name, content in sorted(files.items()):
                _upload(system, content, f"{place}/{name}")
            crash_points.passing("digested_files.before_manifest")
            _upload(system, manifest.encode(), f"{place}/{_MANIFEST}")
        return digest

    def load(self, digest: str) -> dict[str, bytes]:
        """The files of a digest, each checked.

        Raises:
            DataError: if they are not there, or are not what their name says.
        """
        if not re.fullmatch(r"[0-9a-f]{32}", digest):
            raise DataError(f"{digest!r} is no digest of a {self._what}: 32 hexadecimal digits")
        system, root = self._file_system()
        place = f"{root}/{digest}"
        manifest = self._read(system, f"{place}/{_MANIFEST}", digest)
        if _sha256(manifest)[:32] != digest:
            raise DataError(f"the manifest of {self._what} {digest} was altered")
        expected: dict[str, str] = json.loads(manifest)
        files = {name: self._read(system, f"{place}/{name}", digest) for name in expected}
        for name, content in files.items():
            if _sha256(content) != expected[name]:
                raise DataError(f"{name} of {self._what} {digest} does not have the digest of its manifest")
        return files

    def drop_all_but(self, named: Collection[str], made_before: datetime) -> int:
        """Remove what is kept under digests that nobody names and was finished before a moment; returns how many."""
        system, root = self._file_system()
        dropped_count = 0
        for folder in system.get_file_info(pafs.FileSelector(root, allow_not_found=True)):
            if not re.fullmatch(r"[0-9a-f]{32}", folder.base_name) or folder.base_name in named:
                continue
            manifest = system.get_file_info(f"{root}/{folder.base_name}/{_MANIFEST}")
            # What has no manifest is being written, or was left by a process that died: the next who saves it mends it.
            if manifest.type == pafs.FileType.File and manifest.mtime < made_before:
                system.delete_file(manifest.path)  # first: from here on it is nothing
                system.delete_dir(f"{root}/{folder.base_name}")
                dropped_count += 1
        return dropped_count

    def place_of(self, digest: str) -> str:
        """Where the files of a digest are."""
        return f"{self._root.rstrip('/')}/{digest}"

    def _read(self, system: pafs.FileSystem, path: str, digest: str) -> bytes:
        try:
            with system.open_input_file(path) as file:
                content: bytes = file.read()
        except FileNotFoundError:
            raise DataError(f"{self._what} {digest} is not there, or lacks {path.rsplit('/', 1)[-1]}") from None
        return content

    def _file_system(self) -> tuple[pafs.FileSystem, str]:
        if "://" not in self._root:
            return pafs.LocalFileSystem(), str(Path(self._root).absolute())
        system, path = pafs.FileSystem.from_uri(self._root)
        return system, path.rstrip("/")


def _upload(system: pafs.FileSystem, content: bytes, path: str) -> None:
    # A local file gets its name only when it is whole; an object store does so by itself.
    target = f"{path}.partial" if isinstance(system, pafs.LocalFileSystem) else path
    with system.open_output_stream(target) as stream:
        stream.write(content)
    if target != path:
        shutil.move(target, path)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
