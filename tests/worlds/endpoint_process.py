"""The endpoint as it runs, a process on a loopback port, ended with everything it started."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from pipelines.local_servers import free_port
from pipelines.stores.places import Places

_START_SECONDS = 30


def settings_for(places: Places) -> dict[str, str]:
    """What the endpoint has to know to find these stores."""
    return {
        "MARQUEE_LISTS": places.lists,
        "MARQUEE_CACHE": places.cache,
        "MARQUEE_CASSANDRA_PASSWORD": places.cassandra_password,
    }


def start(
    home: Path,
    port: int,
    *flags: str,
    settings: Mapping[str, str] | None = None,
    said: int | IO[bytes] = subprocess.PIPE,
) -> subprocess.Popen[str]:
    """A process of the endpoint, with these settings alone; what it says goes to `said`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MARQUEE_")}
    environment |= {"MARQUEE_HOME": str(home), "MARQUEE_PORT": str(port), **(settings or {})}
    return subprocess.Popen(
        [sys.executable, "-m", "jobs.serve_lookup", *flags],
        env=environment,
        stdout=said,
        stderr=said,
        text=True,
        start_new_session=True,
    )


@contextmanager
def answering(process: subprocess.Popen[str], port: int, log: Path | None = None) -> Iterator[None]:
    """Waits until it answers, and ends it after; what it said is in `log`, if not in its pipes."""
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                _kill(process)
                raise RuntimeError(f"the endpoint did not start: {log.read_text() if log else process.communicate()}")
            time.sleep(0.05)
        yield
    finally:
        _kill(process)
        process.communicate()


@contextmanager
def running(home: Path, settings: Mapping[str, str] | None = None) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that answers, and its port; what it says is in `endpoint.log` below its home."""
    port, log = free_port(), home / "endpoint.log"
    with log.open("wb") as said:
        process = start(home, port, settings=settings, said=said)
    with answering(process, port, log):
        yield process, port


def _kill(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):  # the supervisor and its workers, whatever a test did to some of them
        os.killpg(process.pid, signal.SIGKILL)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5):
            return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
