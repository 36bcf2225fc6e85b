"""Real servers for the tests of one pytest run, shared by its workers; they end when that run does, however it ends.

python tests/worlds/servers.py cassandra FOLDER PID    started by the first test that needs it; PID is the run's
"""

import fcntl
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_START_SECONDS = 300
# Kept, as a process that is let go of while it runs is warned of.
_STARTERS: list[subprocess.Popen] = []


@dataclass(frozen=True)
class Server:
    """Where a server answers, and to whom."""

    host: str
    port: int
    user: str = ""
    password: str = ""


def shared_server(kind: str, folder: Path, run_pid: int, **options: object) -> dict:
    """What the server of this kind says of itself; started if no worker of the run has done so."""
    folder.mkdir(parents=True, exist_ok=True)
    ready, log = folder / "ready.json", folder / "starter.log"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            with log.open("ab") as said:
                starter = subprocess.Popen(
                    [sys.executable, __file__, kind, str(folder), str(run_pid), json.dumps(options)],
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    cwd=Path(__file__).parents[2],
                )
            _STARTERS.append(starter)
            deadline = time.monotonic() + _START_SECONDS
            while not ready.exists():
                if starter.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{kind} did not start: {log.read_text()[-2000:]}")
                time.sleep(0.1)
    return json.loads(ready.read_text())


@contextmanager
def ring_of_three(folder: Path):
    """Three Cassandra nodes of a test's own, small ones, ended after."""
    from pipelines.local_cassandra import start_cassandra
    from pipelines.local_servers import free_port, stop_servers

    ring = start_cassandra(
        folder, port=free_port(), storage_port=free_port(), password="for tests", nodes=3, heap="320m"
    )
    try:
        yield ring
    finally:
        stop_servers(ring.servers, grace_seconds=20)


def _start(kind: str, folder: Path, options: dict) -> tuple[list, dict]:
    from pipelines.local_cassandra import start_cassandra
    from pipelines.local_redis import start_redis
    from pipelines.local_servers import free_port

    if kind == "redis":
        redis = start_redis(folder, port=free_port(), memory="256mb", databases=64)
        return [redis.server], {"host": redis.host, "port": redis.port}
    ring = start_cassandra(folder, port=free_port(), storage_port=free_port(), password="for tests", **options)
    where = {"host": ring.host, "port": ring.port, "user": ring.user, "password": ring.password}
    return list(ring.servers), where | {
        "pids": {h: s.process.pid for h, s in zip(ring.hosts, ring.servers, strict=True)}
    }


def _main() -> None:
    from pipelines.local_servers import stop_servers

    kind, folder, run_pid = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    servers, where = _start(kind, folder, json.loads(sys.argv[4]))
    try:
        fresh = folder / "ready.new"
        fresh.write_text(json.dumps(where))
        fresh.rename(folder / "ready.json")
        while _runs(run_pid):
            time.sleep(0.5)
    finally:
        stop_servers(servers, grace_seconds=20)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    _main()
