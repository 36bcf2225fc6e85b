"""A local Airflow driven from outside: started, given days to run, watched, stopped.

Airflow is spoken to through its commands and its REST API only; nothing of it is imported.
"""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

from pipelines.errors import UnavailableError, UsageError
from pipelines.local_servers import (
    LocalServer,
    refuse_a_taken_port,
    start_server,
    stop_servers,
    wait_until_done,
    wait_until_ready,
)

_HOST = "127.0.0.1"
_START_SECONDS = 180
_POLL_SECONDS = 2.0
_ASK_TIMES, _ASK_AGAIN_SECONDS = 12, 5.0
_ENDED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})


@dataclass(frozen=True)
class LocalAirflow:
    """A running Airflow: its address, its folder and the processes that are it."""

    url: str
    home: Path
    servers: tuple[LocalServer, ...]
    has_schedule: bool


@dataclass(frozen=True)
class TaskChange:
    """A task instance came into a state; `seconds` is how long it ran, and `map_index` -1 where it is not mapped."""

    day: date
    task_id: str
    map_index: int
    state: str
    try_number: int
    seconds: float | None


class RunsFailedError(UnavailableError):
    """Runs ended in failure; the text names the first failed task and ends with what its log says last."""


def start(
    home: Path,
    root: Path,
    *,
    python: Path,
    port: int,
    environment: Mapping[str, str],
    schedule: bool,
    host: str = _HOST,
) -> LocalAirflow:
    """Start a scheduler, a DAG processor and an API server, and wait until all three are healthy.

    Args:
        home: Airflow's own folder (database, logs, generated secrets); made if missing, kept.
        root: the repository's folder: its `dags/` are read and its jobs run there.
        python: the interpreter that has Airflow; tasks run with it too unless MARQUEE_PYTHON says otherwise.
        port: of the web page and the API; nothing else listens.
        environment: what the servers and the tasks inherit.
        schedule: whether DAGs run by the clock once unpaused; without it only what is asked for runs.
        host: what the page and the API listen on: loopback, or all of a container.

    Raises:
        UnavailableError: if the port is taken, the database cannot be made, or a server does not come up.
    """
    refuse_a_taken_port("Airflow", port, host=host)
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnavailableError(f"Airflow's folder {home} cannot be made: {error.strerror}") from None
    variables = {**environment, **_settings(home.absolute(), root.absolute(), python, port, schedule, host)}
    logs = home.absolute() / "server_logs"

    def server(name: str, *arguments: str) -> LocalServer:
        command = [str(python), "-m", "airflow", *arguments]
        return start_server(f"Airflow's {name}", command, log=logs / f"{name}.log", environment=variables, folder=root)

    started: list[LocalServer] = []
    try:
        # Alone: it makes the database and writes the secrets that the others share.
        started.append(server("migration", "db", "migrate"))
        wait_until_done(started[0], seconds=_START_SECONDS)
        started.clear()
        started.append(server("api-server", "api-server", "--apps", "all"))
        started.append(server("dag-processor", "dag-processor"))
        # Logs are read from this machine's disk; a log server would listen on every interface.
        started.append(server("scheduler", "scheduler", "--skip-serve-logs"))
        airflow = LocalAirflow(f"http://{_HOST}:{port}", home.absolute(), tuple(started), schedule)
        wait_until_ready(started, lambda: _is_healthy(airflow), seconds=_START_SECONDS)
        make_pool(airflow)
    except BaseException:
        stop_servers(started)
        raise
    return airflow


def make_pool(airflow: LocalAirflow) -> None:
    """The pool of the trainings that may use the GPU, of one slot; one of that name is left as it is."""
    pool = {"name": "gpu", "slots": 1, "description": "Trainings that may use the GPU", "include_deferred": False}
    action = {"action": "create", "entities": [pool], "action_on_existence": "skip"}
    _tried(lambda: _call(airflow, "PATCH", "/pools", {"actions": [action]}))


def stop(airflow: LocalAirflow) -> None:
    """End all of Airflow's processes and the tasks that run."""
    stop_servers(airflow.servers)


def backfill(
    airflow: LocalAirflow, dag_id: str, *, first_day: date, last_day: date, params: Mapping[str, Any]
) -> dict[str, date]:
    """Ask for the runs of some days, oldest first, one at a time, as `airflow backfill create` does.

    Days that have been run before are run again, and an earlier back-fill of this DAG that has not ended is given up:
    Airflow allows one at a time, and one that was cut off would go on otherwise. Returns the run ids and the day of
    each.

    Raises:
        UsageError: if the DAG does not know a parameter's value, or no day lies in the range.
        UnavailableError: if the DAG has not been read or Airflow does not answer.
    """
    _wait_for_dag(airflow, dag_id)
    wanted = {
        "dag_id": dag_id,
        "from_date": f"{first_day}T00:00:00Z",
        # A day's run stands at an hour of that day.
        "to_date": f"{last_day}T23:59:59Z",
        "max_active_runs": 1,
        "reprocess_behavior": "completed",
        "dag_run_conf": dict(params),
    }
    _ask(airflow, dag_id, "/backfills", wanted)
    runs = _runs(airflow, dag_id, first_day, last_day)
    if not runs:
        raise UsageError(f"{dag_id} has no complete day from {first_day} to {last_day}")
    return {run["dag_run_id"]: datetime.fromisoformat(run["logical_date"]).date() for run in runs}


def trigger(airflow: LocalAirflow, dag_id: str, *, day: date, params: Mapping[str, object]) -> dict[str, date]:
    """Ask for one run of a DAG that takes its `day` from its form; returns the run's id with the day.

    Raises:
        UsageError: if the DAG does not know a parameter's value.
        UnavailableError: if the DAG has not been read or Airflow does not answer.
    """
    _wait_for_dag(airflow, dag_id)
    wanted = {"logical_date": None, "conf": {"day": str(day), **params}}
    run = _ask(airflow, dag_id, f"/dags/{dag_id}/dagRuns", wanted)
    return {str(run["dag_run_id"]): day}


def task_changes(airflow: LocalAirflow, dag_id: str, runs: Mapping[str, date]) -> Iterator[TaskChange]:
    """Yield every change of state of every task of these runs as it happens, until all the runs have ended.

    The runs may have been asked for in an earlier life of this Airflow. In the end the DAG is paused again where there
    is no schedule, so that a later start with one does not run a day that nobody asked for.

    Raises:
        RunsFailedError: when all have ended and one of them failed.
        UnavailableError: if a process of Airflow's ends in between, or its API does not answer.
    """
    seen: dict[tuple[str, str, int], tuple[str, int]] = {}
    failures: list[dict[str, Any]] = []
    while True:
        # Runs first: whatever a run that has ended here did is then in the tasks that are read after it.
        states = [_call(airflow, "GET", f"/dags/{dag_id}/dagRuns/{urllib.parse.quote(run)}")["state"] for run in runs]
        for task in _tasks(airflow, dag_id, runs):
            key = (task["dag_run_id"], task["task_id"], task["map_index"])
            now = (task["state"] or "none", task["try_number"])
            if seen.get(key) == now:
                continue
            seen[key] = now
            if now[0] == "failed":
                failures.append(task)
            if now[0] != "none":
                yield TaskChange(
                    runs[key[0]], key[1], key[2], state=now[0], try_number=now[1], seconds=task["duration"]
                )
        if all(state in _ENDED for state in states):
            break
        refuse_a_dead_server(airflow)
        time.sleep(_POLL_SECONDS)
    if not airflow.has_schedule:
        _call(airflow, "PATCH", f"/dags/{dag_id}", {"is_paused": True})
    if "failed" in states:
        raise RunsFailedError(_why_failed(airflow, dag_id, runs, failures))


def log_tail(airflow: LocalAirflow, dag_id: str, task: Mapping[str, Any], *, lines: int = 20) -> list[str]:
    """The last lines that a task instance (as the API describes it) printed, newest last."""
    run_id, task_id = urllib.parse.quote(task["dag_run_id"]), task["task_id"]
    path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{task['try_number']}"
    content = _call(airflow, "GET", f"{path}?map_index={task['map_index']}&full_content=true")["content"]
    return [str(entry["event"]) for entry in content if isinstance(entry, dict)][-lines:]


def refuse_a_dead_server(airflow: LocalAirflow) -> None:
    """Raise UnavailableError if a process of Airflow's has ended; names its log."""
    for server in airflow.servers:
        if not server.is_running:
            raise UnavailableError(f"{server.name} ended with exit code {server.process.returncode}; see {server.log}")


def _settings(home: Path, root: Path, python: Path, port: int, schedule: bool, host: str = _HOST) -> dict[str, str]:
    """Airflow's settings as environment variables; each has its reason."""
    url = f"http://{_HOST}:{port}"
    sections: dict[str, dict[str, object]] = {
        "core": {
            "dags_folder": root / "dags",
            "load_examples": False,
            "executor": "LocalExecutor",
            # Two tasks beside each other, for each may take all cores for itself; the other two slots are for
            # processes that linger after their task has ended.
            "max_active_tasks_per_dag": 2,
            "parallelism": 4,
            "execution_api_server_url": f"{url}/execution/",
            # On loopback whoever can reach the port can start the jobs by hand anyway.
            "simple_auth_manager_all_admins": True,
        },
        "api": {"host": host, "port": port, "base_url": url, "workers": 1},
        "database": {"sql_alchemy_conn": f"sqlite:///{home}/airflow.db"},
        "logging": {"base_log_folder": home / "logs"},
        # How long a task's process lingers after its end (5 seconds unless said), holding its slot.
        "workers": {"min_heartbeat_interval": 1},
        "scheduler": {
            "use_job_schedule": schedule,
            # The pause between looks for work: with one second a task waits half of it on average, between any two.
            "scheduler_idle_sleep_time": 0.5,
            # How often the tasks of a scheduler that was killed are looked for (300 seconds unless said).
            "orphaned_tasks_check_interval": 15,
            # A task whose process is gone, after a power cut say, is tried again this soon (300 seconds unless said).
            "task_instance_heartbeat_timeout": 60,
            "enable_health_check": False,
        },
    }
    variables = {
        f"AIRFLOW__{section.upper()}__{name.upper()}": str(value)
        for section, values in sections.items()
        for name, value in values.items()
    }
    return {"MARQUEE_PYTHON": str(python), "MARQUEE_ROOT": str(root), **variables, "AIRFLOW_HOME": str(home)}


def _is_healthy(airflow: LocalAirflow) -> bool:
    try:
        health = _call(airflow, "GET", "/monitor/health")
        # What tasks talk to is built on its first request, for seconds; without this the first task would wait for it.
        with urllib.request.urlopen(f"{airflow.url}/execution/health", timeout=60):  # noqa: S310
            pass
    except (OSError, UnavailableError):
        return False
    return all(health[part]["status"] == "healthy" for part in ("metadatabase", "scheduler", "dag_processor"))


def _wait_for_dag(airflow: LocalAirflow, dag_id: str) -> None:
    def is_read() -> bool:
        errors = _call(airflow, "GET", "/importErrors")["import_errors"]
        if errors:
            reason = errors[0]["stack_trace"].strip().splitlines()[-1]
            raise UnavailableError(f"Airflow cannot read {errors[0]['filename']}: {reason}")
        return any(dag["dag_id"] == dag_id for dag in _call(airflow, "GET", "/dags")["dags"])

    wait_until_ready(airflow.servers, is_read, seconds=60)


def _ask(airflow: LocalAirflow, dag_id: str, path: str, wanted: Mapping[str, Any]) -> Any:
    """Ask for runs of a DAG, and wake it. An earlier back-fill that has not ended is given up."""

    def ask() -> Any:
        _give_up_earlier(airflow, dag_id)
        _call(airflow, "PATCH", f"/dags/{dag_id}", {"is_paused": False})
        return _call(airflow, "POST", path, wanted)

    return _tried(ask)


def _tried(ask: Callable[[], Any]) -> Any:
    """What Airflow answers, asked again while it is busy with itself."""
    for tries_left in reversed(range(_ASK_TIMES)):
        try:
            return ask()
        except UnavailableError:
            # SQLite lets one write at a time, and Airflow's own processes write while they settle in.
            if not tries_left:
                raise
            time.sleep(_ASK_AGAIN_SECONDS)
    return None


def _give_up_earlier(airflow: LocalAirflow, dag_id: str) -> None:
    for earlier in _call(airflow, "GET", f"/backfills?dag_id={dag_id}&order_by=-id&limit=10")["backfills"]:
        if earlier["completed_at"] is None:
            _call(airflow, "PUT", f"/backfills/{earlier['id']}/cancel")
    for run in _call(airflow, "GET", f"/dags/{dag_id}/dagRuns?run_type=backfill&state=running")["dag_runs"]:
        # Its tasks are ended with it.
        _call(airflow, "PATCH", f"/dags/{dag_id}/dagRuns/{urllib.parse.quote(run['dag_run_id'])}", {"state": "failed"})


def _runs(airflow: LocalAirflow, dag_id: str, first_day: date, last_day: date) -> list[dict[str, Any]]:
    query = urllib.parse.urlencode(
        {
            "run_type": "backfill",
            "logical_date_gte": f"{first_day}T00:00:00Z",
            "logical_date_lte": f"{last_day}T23:59:59Z",
            "order_by": "logical_date",
            "limit": 100,
        }
    )
    runs: list[dict[str, Any]] = _call(airflow, "GET", f"/dags/{dag_id}/dagRuns?{query}")["dag_runs"]
    return runs


def _tasks(airflow: LocalAirflow, dag_id: str, runs: Sequence[str] | Mapping[str, date]) -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = []
    for run in runs:
        found = _call(airflow, "GET", f"/dags/{dag_id}/dagRuns/{urllib.parse.quote(run)}/taskInstances?limit=100")
        tasks += found["task_instances"]
    return sorted(tasks, key=lambda task: (task["start_date"] is None, task["start_date"], task["map_index"]))


def _why_failed(airflow: LocalAirflow, dag_id: str, runs: Mapping[str, date], failures: list[dict[str, Any]]) -> str:
    if not failures:
        return f"a run of {dag_id} failed and none of its tasks did; see {airflow.home / 'server_logs'}"
    first = failures[0]
    said = log_tail(airflow, dag_id, first)
    sentence = next((line for line in reversed(said) if line.startswith("marquee: ")), "\n".join(said))
    tries = "1 try" if first["try_number"] == 1 else f"{first['try_number']} tries"
    day = runs[first["dag_run_id"]]
    return f"{first['task_id']} of {day} failed after {tries}: {sentence.removeprefix('marquee: ')}"


_Verb = Literal["GET", "POST", "PATCH", "PUT"]


def _call(airflow: LocalAirflow, verb: _Verb, path: str, body: Mapping[str, Any] | None = None) -> Any:
    request = urllib.request.Request(  # noqa: S310  (always http to loopback)
        f"{airflow.url}/api/v2{path}",
        method=verb,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Accept": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.load(answer)
    except urllib.error.HTTPError as error:
        detail = error.read().decode(errors="replace")
        with suppress(ValueError, KeyError, TypeError):
            detail = json.loads(detail)["detail"]
        if error.code in {400, 404, 409, 422}:
            raise UsageError(f"Airflow refuses {verb} {path}: {detail}") from None
        raise UnavailableError(f"Airflow answers {error.code} to {verb} {path}: {detail}") from None
    except (OSError, ValueError) as error:
        raise UnavailableError(f"Airflow does not answer at {airflow.url}: {error}") from None
