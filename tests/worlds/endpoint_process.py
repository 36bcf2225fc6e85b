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


@contextmanager
def running(home: Path, settings: Mapping[str, str] | None = None) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process that answers, and its port; what it says is in `endpoint.log` below its home."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MARQUEE_")}
    environment |= {"MARQUEE_HOME": str(home), "MARQUEE_PORT": str(port), **(settings or {})}
    log = home / "endpoint.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "jobs.serve_lookup"],
            env=environment,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the endpoint did not start: {log.read_text()}")
            time.sleep(0.05)
        yield process, port
    finally:
        with suppress(ProcessLookupError):  # the supervisor and its workers, whatever a test did to some of them
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5):
            return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
