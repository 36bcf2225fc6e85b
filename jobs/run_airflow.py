"""Airflow on this machine, with the DAGs of this repository, until Ctrl-C: python -m jobs.run_airflow --port 8081"""

import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from pipelines import airflow_runs
from pipelines.command_line import run
from pipelines.settings import read_settings


def main(port: int = 8081, host: str = "127.0.0.1") -> None:
    """Serve Airflow's page and run the DAGs by their schedules; they start out paused.

    Args:
        port: of the page and the API.
        host: to listen on; whoever reaches it is an administrator, so that another one belongs in a container only.
    """
    settings = read_settings()
    home = settings.home / "airflow"
    # Tasks run in the repository's folder, wherever we were started.
    environment = {**os.environ, "MARQUEE_HOME": str(settings.home.absolute())}
    # Whoever ends us politely ends Airflow with us, in order.
    signal.signal(signal.SIGTERM, _interrupt)
    root = Path(__file__).resolve().parents[1]
    print(f"starting Airflow in {home} (half a minute)", flush=True)
    airflow = airflow_runs.start(
        home, root, python=Path(sys.executable), port=port, host=host, environment=environment, schedule=True
    )
    try:
        print(f"Airflow is at {airflow.url}; Ctrl-C ends it", flush=True)
        while True:
            airflow_runs.refuse_a_dead_server(airflow)
            time.sleep(1)
    except KeyboardInterrupt:
        print("ending Airflow", flush=True)
    finally:
        airflow_runs.stop(airflow)
    print("{}")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    run(main, description=__doc__)
