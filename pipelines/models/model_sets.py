"""A model set: what is trained, judged, promoted and rolled back together, named by the digest of its content.

A folder of Parquet and JSON files under a manifest of sha256 digests that is checked before anything is loaded. No
pickle.
"""

import hashlib
import json
import re
import shutil
import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from pipelines import crash_points
from pipelines.errors import DataError
from pipelines.models.als import AlsModel

_FORMAT = 1
_FILES = ("als.parquet", "model_set.json")


@dataclass(frozen=True)
class ModelSet:
    """One unit of models.

    `learned_until` is the last day of receipt any of them learned from.
    """

    als: AlsModel
    learned_until: date


class ModelSets:
    """The model sets kept below one root: a folder, or a URI of an object store."""

    def __init__(self, root: str) -> None:
        self._root = root

    def save(self, model_set: ModelSet) -> str:
        """Keep a model set and return its digest; a set that is there already is left alone."""
        with tempfile.TemporaryDirectory(prefix="marquee-") as name:
            folder = Path(name)
            _write_files(model_set, folder)
            manifest = json.dumps({file: _sha256(folder / file) for file in _FILES}, sort_keys=True, indent=1)
            digest = hashlib.sha256(manifest.encode()).hexdigest()[:32]
            system, root = self._file_system()
            place = f"{root}/{digest}"
            if system.get_file_info(f"{place}/manifest.json").type == pafs.FileType.NotFound:
                system.create_dir(place, recursive=True)
                # The manifest comes last: a set without one was not finished, and is not a set.
                for file in _FILES:
                    _upload(system, (folder / file).read_bytes(), f"{place}/{file}")
                crash_points.passing("model_sets.before_manifest")
                _upload(system, manifest.encode(), f"{place}/manifest.json")
        return digest

    def load(self, digest: str) -> ModelSet:
        """The model set of a digest, each of its files checked before it is read.

        Raises:
            DataError: if the set is not there, is not what its name says, or does not fit together.
        """
        if not re.fullmatch(r"[0-9a-f]{32}", digest):
            raise DataError(f"{digest!r} is no digest of a model set: 32 hexadecimal digits")
        system, root = self._file_system()
        place = f"{root}/{digest}"
        manifest = self._read(system, f"{place}/manifest.json", digest)
        if hashlib.sha256(manifest).hexdigest()[:32] != digest:
            raise DataError(f"the manifest of model set {digest} was altered")
        files: dict[str, str] = json.loads(manifest)
        if set(files) != set(_FILES):
            raise DataError(f"model set {digest} holds {', '.join(sorted(files))}, expected {', '.join(_FILES)}")
        with tempfile.TemporaryDirectory(prefix="marquee-") as name:
            folder = Path(name)
            for file, expected in files.items():
                content = self._read(system, f"{place}/{file}", digest)
                if hashlib.sha256(content).hexdigest() != expected:
                    raise DataError(f"{file} of model set {digest} does not have the digest of its manifest")
                (folder / file).write_bytes(content)
            return _read_files(folder, digest)

    def _read(self, system: pafs.FileSystem, path: str, digest: str) -> bytes:
        try:
            with system.open_input_file(path) as file:
                content: bytes = file.read()
        except FileNotFoundError:
            raise DataError(f"model set {digest} is not there, or lacks {path.rsplit('/', 1)[-1]}") from None
        return content

    def _file_system(self) -> tuple[pafs.FileSystem, str]:
        if "://" not in self._root:
            return pafs.LocalFileSystem(), str(Path(self._root).absolute())
        system, path = pafs.FileSystem.from_uri(self._root)
        return system, path.rstrip("/")


def _write_files(model_set: ModelSet, folder: Path) -> None:
    als = model_set.als
    width = als.item_factors.shape[1]
    factors = pa.FixedSizeListArray.from_arrays(pa.array(als.item_factors.reshape(-1)), width)
    pq.write_table(pa.table({"item_id": als.item_ids, "factors": factors}), folder / "als.parquet")
    described = {
        "format": _FORMAT,
        "learned_until": str(model_set.learned_until),
        "als": {"factors": width, "regularization": als.regularization, "alpha": als.alpha},
    }
    (folder / "model_set.json").write_text(json.dumps(described, sort_keys=True, indent=1), encoding="utf-8")


def _read_files(folder: Path, digest: str) -> ModelSet:
    described: dict[str, Any] = json.loads((folder / "model_set.json").read_text(encoding="utf-8"))
    if described.get("format") != _FORMAT:
        raise DataError(f"model set {digest} is of format {described.get('format')}; this code reads {_FORMAT}")
    rows = pq.read_table(folder / "als.parquet")
    width = described["als"]["factors"]
    factors = rows.column("factors").combine_chunks()
    if factors.type.list_size != width:
        raise DataError(f"model set {digest} says {width} factors and holds {factors.type.list_size}")
    als = AlsModel(
        rows.column("item_id").to_numpy().astype(np.int64),
        factors.flatten().to_numpy().reshape(-1, width),
        described["als"]["regularization"],
        described["als"]["alpha"],
    )
    return ModelSet(als, date.fromisoformat(described["learned_until"]))


def _upload(system: pafs.FileSystem, content: bytes, path: str) -> None:
    # A local file gets its name only when it is whole; an object store does so by itself.
    target = f"{path}.partial" if isinstance(system, pafs.LocalFileSystem) else path
    with system.open_output_stream(target) as stream:
        stream.write(content)
    if target != path:
        shutil.move(target, path)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
