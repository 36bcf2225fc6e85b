"""The classes of Spark as a JVM holds them, kept for the next JVM: half of a small job would go into loading them.

Class data sharing of the JDK (JEP 350): the first JVM lays its classes down in an archive when it ends, all later ones
map it into memory. The archive lies with the Python environment and is gone with it; its name says which Java and
which Spark it is of, and a JVM that finds that it does not fit passes it over.
"""

import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyspark

# Neither that a class cannot be kept, nor that an archive does not fit, is news to anybody.
_QUIET = "-Xshare:auto -Xlog:cds=off -Xlog:cds+dynamic=off -Xlog:class+path=off"

_MAKING = ".making-"
# No job takes as long; what is older was left by one that was killed.
_STALE_SECONDS = 24 * 3600


@contextmanager
def kept_classes(folder: Path, end_jvm: Callable[[], None]) -> Iterator[str]:
    """Flags for a JVM that takes its classes from the archive in a folder, or makes it where there is none.

    Args:
        folder: where archives are kept; made if missing. Where it cannot be written there is none, and no harm done.
        end_jvm: ends the JVM that was started with the flags, and waits for its end: called if that JVM makes the
            archive and all went well.
    """
    archive = folder / f"spark-{_digest()}.jsa"
    _remove_stale(folder)
    if archive.is_file():
        yield f'"-XX:SharedArchiveFile={archive}" {_QUIET}'
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        beside = tempfile.mkdtemp(prefix=_MAKING, dir=folder)
    except OSError:
        yield ""
        return
    try:
        made = Path(beside) / archive.name
        yield f'"-XX:ArchiveClassesAtExit={made}" {_QUIET}'
        end_jvm()
        with suppress(OSError):
            # Of several who make it at once, the last is as good as the first.
            made.replace(archive)
            for old in folder.glob("spark-*.jsa"):
                if old != archive:
                    old.unlink()
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def folder_of_environment() -> Path:
    """Where the archive of this Python environment is kept."""
    return Path(sys.prefix) / "var" / "cache" / "marquee"


def _digest() -> str:
    """Which Java would be started, and which Spark: their places and when they were installed."""
    jars = Path(pyspark.__file__).parent / "jars"
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java") if home is None else str(Path(home) / "bin" / "java")
    java = Path(found or "java").resolve()
    parts = [
        pyspark.__version__,
        *(f"{path} {_changed(path)}" for path in (jars, java, java.parents[1] / "lib/modules")),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _remove_stale(folder: Path) -> None:
    for left in folder.glob(f"{_MAKING}*"):
        if time.time() - _changed(left) / 1e9 > _STALE_SECONDS:
            shutil.rmtree(left, ignore_errors=True)


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
