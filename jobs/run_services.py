"""Cassandra and Redis on this machine, until Ctrl-C: python -m jobs.run_services --nodes 1

What `make services` starts in the background and `make services-stop` ends. They listen on loopback only, keep their
files in MARQUEE_HOME/services, and end by themselves after a time.
"""

import signal
import time
from types import FrameType

from pipelines.command_line import run, say, say_result
from pipelines.errors import UnavailableError
from pipelines.local_services import start_services, stop_services, write_for_owner
from pipelines.settings import read_settings


def main(nodes: int = 1, port: int = 9042, storage_port: int = 7000, redis_port: int = 6379, hours: float = 12) -> None:
    """Start Cassandra and Redis, make the keyspace, write the settings that lead there, and wait.

    Args:
        nodes: of Cassandra: 1, or 3 on 127.0.0.1 to 127.0.0.3.
        port: of Cassandra for clients.
        storage_port: of Cassandra between nodes.
        redis_port: of Redis.
        hours: after which all of it ends.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    folder = read_settings().home.absolute() / "services"
    settings_file = folder / "settings.env"
    started = time.monotonic()
    services = start_services(
        folder,
        stores=frozenset({"cassandra", "redis"}),
        nodes=nodes,
        port=port,
        storage_port=storage_port,
        redis_port=redis_port,
    )
    try:
        lines = (f"export {name}='{value}'\n" for name, value in services.settings.items())
        write_for_owner(settings_file, "".join(lines))
        say(f"the settings that lead there are in {settings_file}")
        while time.monotonic() < started + hours * 3600:
            for server in services.servers:
                if not server.is_running:
                    raise UnavailableError(
                        f"{server.name} ended with exit code {server.process.returncode}; see {server.log}"
                    )
            time.sleep(1)
        say(f"ending the services after {hours:g} hours")
    except KeyboardInterrupt:
        say("ending the services")
    finally:
        settings_file.unlink(missing_ok=True)
        stop_services(services)
    say_result({"job": "run_services", "seconds": round(time.monotonic() - started, 2)})


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    run(main, description=__doc__)
