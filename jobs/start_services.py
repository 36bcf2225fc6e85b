"""Cassandra and Redis in the background, ready when this returns: python -m jobs.start_services --nodes 1"""

import os
import sys
import time
from pathlib import Path

from pipelines.command_line import run, say, say_result
from pipelines.errors import UnavailableError
from pipelines.local_servers import process_named_in, start_server, stop_servers, wait_until_ready
from pipelines.settings import read_settings

_ROOT = Path(__file__).resolve().parents[1]
_START_SECONDS = 600


def main(nodes: int = 1, port: int = 9042, storage_port: int = 7000, redis_port: int = 6379, hours: float = 12) -> None:
    """Start `jobs.run_services` in the background and wait until both servers answer.

    Args:
        nodes: of Cassandra: 1, or 3 on 127.0.0.1 to 127.0.0.3.
        port: of Cassandra for clients.
        storage_port: of Cassandra between nodes.
        redis_port: of Redis.
        hours: after which all of it ends by itself.
    """
    home = read_settings().home
    folder = home.absolute() / "services"
    pid_file, settings_file = folder / "pid", folder / "settings.env"
    if process_named_in(pid_file) is not None:
        raise UnavailableError(
            f"the services run already (process {pid_file.read_text()}): make services-stop ends them"
        )
    started = time.monotonic()
    settings_file.unlink(missing_ok=True)
    told = {"--nodes": nodes, "--port": port, "--storage-port": storage_port, "--redis-port": redis_port}
    server = start_server(
        "the services",
        [
            sys.executable,
            "-m",
            "jobs.run_services",
            *(str(p) for pair in told.items() for p in pair),
            "--hours",
            str(hours),
        ],
        log=folder / "services.log",
        environment={**os.environ, "MARQUEE_HOME": str(home.absolute())},
        folder=_ROOT,
    )
    pid_file.write_text(str(server.process.pid), encoding="utf-8")
    say(f"starting Cassandra ({nodes} of it) and Redis in {os.path.relpath(folder)}: a minute or two")
    try:
        wait_until_ready([server], settings_file.exists, seconds=_START_SECONDS)
    except BaseException:
        stop_servers([server], grace_seconds=60)
        pid_file.unlink(missing_ok=True)
        raise
    say(
        "Cassandra and Redis answer. In a shell that is to use them:\n"
        f"  source {os.path.relpath(settings_file)}\n"
        f"make services-stop ends them; in {hours:g} hours they end by themselves."
    )
    say_result({"job": "start_services", "pid": server.process.pid, "seconds": round(time.monotonic() - started, 2)})


if __name__ == "__main__":
    run(main, description=__doc__)
