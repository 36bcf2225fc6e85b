"""End what `start_services` started: python -m jobs.stop_services"""

import os
import signal
import time

from pipelines.command_line import run, say, say_result
from pipelines.errors import UnavailableError
from pipelines.local_servers import process_named_in
from pipelines.settings import read_settings

_STOP_SECONDS = 120


def main() -> None:
    """End Cassandra and Redis by the process that started them; harmless where none runs."""
    pid_file = read_settings().home.absolute() / "services" / "pid"
    started, pid = time.monotonic(), process_named_in(pid_file)
    if pid is None:
        say("no services run here")
    else:
        os.kill(pid, signal.SIGTERM)
        while process_named_in(pid_file) is not None:
            if time.monotonic() - started > _STOP_SECONDS:
                raise UnavailableError(f"the services (process {pid}) did not end within {_STOP_SECONDS} seconds")
            time.sleep(0.2)
        say("Cassandra and Redis have ended")
    pid_file.unlink(missing_ok=True)
    say_result({"job": "stop_services", "seconds": round(time.monotonic() - started, 2)})


if __name__ == "__main__":
    run(main, description=__doc__)
