"""A real Airflow runs the real DAGs in a small repository whose jobs only write down that they ran."""

import dataclasses
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from datetime import date
from pathlib import Path

import pytest

from pipelines import airflow_runs
from pipelines.errors import UnavailableError, UsageError
from pipelines.local_servers import free_port, start_server, stop_servers

ROOT = Path(__file__).resolve().parents[2]
TASKS = re.findall(
    r"-m jobs\.([a-z_]+)", (ROOT / "tests/dags/recorded/recommend_daily.txt").read_text().split("\n\n")[0]
)

# Two of them once a shard, of which there are two.
A_DAY = len(TASKS) + 2

# A stand-in for every job: it replaces a file named for its work, as the real jobs replace what they write, and does
# what a file named for the job tells it to do first.
JOB = """
import json, os, pathlib, sys, time
name = pathlib.Path(__file__).stem
arguments = sys.argv[1:]
with open("began.txt", "a") as began:
    began.write(json.dumps([time.time(), name, arguments]) + "\\n")
orders = pathlib.Path(f"{name}.orders")
if orders.exists():
    exec(orders.read_text())
done = pathlib.Path("done", "_".join([name, *arguments]).replace("/", "-"))
done.with_suffix(".new").write_text(os.environ["MARQUEE_HOME"])
done.with_suffix(".new").replace(done)
print("some line")
print(json.dumps({"run_id": "some-run", "shards": ["0/2", "1/2"]}))
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A repository: our DAGs, and jobs of the same names."""
    folder = tmp_path_factory.mktemp("repository")
    shutil.copytree(ROOT / "dags", folder / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("jobs", "done"):
        (folder / name).mkdir()
    for name in (*TASKS, "train_ranker"):
        (folder / "jobs" / f"{name}.py").write_text(JOB)
    return folder


@pytest.fixture(scope="module")
def airflow(root, tmp_path_factory):
    """One Airflow for all these tests, for it takes a while to start."""
    home = tmp_path_factory.mktemp("home") / "airflow"
    airflow = airflow_runs.start(
        home,
        root,
        python=Path(sys.executable),
        port=free_port(),
        environment={**os.environ, "MARQUEE_HOME": "/srv/data"},
        schedule=False,
    )
    yield airflow
    airflow_runs.stop(airflow)


@pytest.fixture
def fresh(root):
    """Nothing has run and no job has orders."""
    for file in [*root.glob("*.orders"), *root.glob("began.txt"), *root.glob("pid"), *(root / "done").iterdir()]:
        file.unlink()
    return root


def began(root):
    return [json.loads(line) for line in (root / "began.txt").read_text().splitlines()]


def days_of(airflow, first, last, **params):
    return airflow_runs.backfill(
        airflow,
        "recommend_daily",
        first_day=date.fromisoformat(first),
        last_day=date.fromisoformat(last),
        params=params,
    )


def port_of(airflow):
    return int(airflow.url.rpartition(":")[2])


def wait_for_number(file):
    deadline = time.monotonic() + 60
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < deadline, f"{file} was not written"
        time.sleep(0.1)
    return int(file.read_text())


def processes_of(airflow):
    groups = {server.process.pid for server in airflow.servers}
    lines = subprocess.run(["ps", "-A", "-o", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    return [line for line in lines.splitlines() if int(line.split()[0]) in groups and line.split()[1][0] != "Z"]


def listeners(airflow):
    """The addresses that Airflow's processes listen on, as the kernel lists them."""
    inodes = set()
    groups = {server.process.pid for server in airflow.servers}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(folder.name)) in groups:
                inodes |= {str(link.readlink()) for link in (folder / "fd").iterdir()}
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    found = set()
    for table in ("tcp", "tcp6"):
        for row in Path("/proc/net", table).read_text().splitlines()[1:]:
            cells = row.split()
            if cells[3] == "0A" and f"socket:[{cells[9]}]" in inodes:
                found.add(cells[1])
    return found


@pytest.mark.slow
def test_the_gpu_has_a_pool_of_one_slot_which_is_kept_as_it_was_made(airflow):
    def pool():
        with urllib.request.urlopen(f"{airflow.url}/api/v2/pools/gpu", timeout=30) as answer:
            return json.load(answer)

    def widen(slots):
        body = json.dumps({"pool": "gpu", "slots": slots, "include_deferred": False}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{airflow.url}/api/v2/pools/gpu", body, headers, method="PATCH")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    assert pool()["slots"] == 1
    widen(2)
    airflow_runs.make_pool(airflow)
    assert pool()["slots"] == 2, "of two GPUs, say"
    widen(1)


def test_nothing_listens_but_one_port_on_loopback(airflow):
    assert listeners(airflow) == {f"0100007F:{port_of(airflow):04X}"}


@pytest.mark.slow
def test_two_days_run_in_order_each_task_once(airflow, fresh):
    runs = days_of(airflow, "2026-01-05", "2026-01-06", promote=True, publish=True, factors=8)
    assert list(runs.values()) == [date(2026, 1, 5), date(2026, 1, 6)]
    changes = list(airflow_runs.task_changes(airflow, "recommend_daily", runs))
    ended = [(change.day.day, change.task_id, change.map_index) for change in changes if change.state == "success"]
    shards = [("score_users", 0), ("score_users", 1), ("write_lists", 0), ("write_lists", 1)]
    expected = [(name, -1) for name in TASKS if name not in {"score_users", "write_lists"}] + shards
    assert sorted(ended) == sorted((day, *task) for day in (5, 6) for task in expected)
    assert all(change.seconds >= 0 for change in changes if change.state == "success")

    commands = [[name, *arguments] for _, name, arguments in began(fresh)]
    assert commands[:2] == [["load_events"], ["extract_events", "--day", "2026-01-05"]]
    assert len(commands) == 2 * A_DAY, "each once"
    names = [name for name, *_ in commands[:A_DAY]]
    assert sorted(names) == sorted([*TASKS, "score_users", "write_lists"]), "a day is done before the next begins"
    assert (names[0], names[-1]) == ("load_events", "publish_recommendations")
    # Tasks that do not wait for each other may begin in any order.
    for first, second in (("build_features", "train_als"), ("train_towers", "assemble_models")):
        assert names.index(first) < names.index(second)
    opened = commands[A_DAY + names.index("open_run")]
    assert opened[:7] == ["open_run", "--day", "2026-01-06", "--truth-days", "1", "--shard-count", "2"]
    assert opened[7:] == ["--als.factors", "8", "--als.iterations", "10", "--towers.epochs", "20"]
    assert ["score_users", "--day", "2026-01-06", "--shard", "1/2"] in commands
    assert commands[-1] == ["publish_recommendations", "--day", "2026-01-06"]
    assert {file.read_text() for file in (fresh / "done").iterdir()} == {"/srv/data"}, "the environment is inherited"


@pytest.mark.slow
def test_a_dag_that_takes_its_day_from_the_form_is_run_once_for_it(airflow, fresh):
    runs = airflow_runs.trigger(airflow, "retrain_weekly", day=date(2026, 1, 4), params={"truth_days": 3})
    changes = list(airflow_runs.task_changes(airflow, "retrain_weekly", runs))
    ended = [change.task_id for change in changes if change.state == "success"]
    assert set(runs.values()) == {change.day for change in changes} == {date(2026, 1, 4)}
    weekly = ["open_run", "embed_items", "train_als", "train_towers", "assemble_models", "train_ranker"]
    assert sorted(ended) == sorted(weekly)
    commands = {name: arguments for _, name, arguments in began(fresh)}
    assert commands["open_run"][:6] == ["--day", "2026-01-04", "--cadence", "weekly", "--truth-days", "3"]
    assert commands["train_ranker"] == ["--day", "2026-01-04"]


@pytest.mark.slow
def test_a_failure_of_the_data_is_not_tried_again_and_says_why(airflow, fresh):
    (fresh / "train_als.orders").write_text("sys.stderr.write('marquee: day 2026-01-07 has no plays\\n'); sys.exit(65)")
    runs = days_of(airflow, "2026-01-07", "2026-01-07")
    with pytest.raises(
        airflow_runs.RunsFailedError,
        match=r"^train_als of 2026-01-07 failed after 1 try: day 2026-01-07 has no plays$",
    ):
        list(airflow_runs.task_changes(airflow, "recommend_daily", runs))


@pytest.mark.slow
def test_a_job_that_finds_something_unavailable_is_kept_for_another_try(airflow, fresh):
    (fresh / "train_als.orders").write_text("sys.exit(69)")
    runs = days_of(airflow, "2026-01-08", "2026-01-08")
    for change in airflow_runs.task_changes(airflow, "recommend_daily", runs):
        assert change.state != "failed"
        if change.state == "up_for_retry":
            break


@pytest.mark.slow
def test_a_form_out_of_bounds_and_a_day_to_come_are_refused(airflow):
    with pytest.raises(UsageError, match="factors"):
        days_of(airflow, "2026-01-09", "2026-01-09", factors=3)
    with pytest.raises(UsageError, match="future"):
        days_of(airflow, "2126-01-09", "2126-01-09")


@pytest.mark.slow
def test_a_run_goes_on_under_the_next_scheduler_when_one_is_killed_and_nothing_is_done_twice(airflow, fresh):
    (fresh / "train_als.orders").write_text("time.sleep(5)")
    runs = days_of(airflow, "2026-02-05", "2026-02-05")
    *others, scheduler = airflow.servers
    with pytest.raises(UnavailableError, match=r"scheduler ended with exit code -9; see .*scheduler\.log"):
        for change in airflow_runs.task_changes(airflow, "recommend_daily", runs):
            if (change.task_id, change.state) == ("train_als", "running"):
                scheduler.process.kill()

    environment = {
        **os.environ,
        "MARQUEE_HOME": "/srv/data",
        **airflow_runs._settings(airflow.home, fresh, Path(sys.executable), port_of(airflow), False),
    }
    command = [sys.executable, "-m", "airflow", "scheduler", "--skip-serve-logs"]
    successor = start_server("the next", command, log=scheduler.log, environment=environment, folder=fresh)
    try:
        again = dataclasses.replace(airflow, servers=(*others, successor))
        changes = list(airflow_runs.task_changes(again, "recommend_daily", runs))
        assert len({(each.task_id, each.map_index) for each in changes if each.state == "success"}) == A_DAY
        assert len(began(fresh)) == len(list((fresh / "done").iterdir())) == A_DAY

        # In the end: a task that still runs does not outlive its Airflow.
        (fresh / "train_als.orders").write_text("open('pid', 'w').write(str(os.getpid())); time.sleep(600)")
        days_of(again, "2026-02-06", "2026-02-06")
        job = wait_for_number(fresh / "pid")
    finally:
        stop_servers([successor])
    airflow_runs.stop(airflow)
    assert processes_of(airflow) == []
    with pytest.raises(ProcessLookupError):
        os.kill(job, 0)


def test_a_taken_port_is_named_before_anything_is_made(tmp_path, root):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(UnavailableError, match=f"Airflow cannot listen on 127.0.0.1:{port}"):
            start_there(tmp_path / "home", root, port=port)
    assert not (tmp_path / "home").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path, root):
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match=r"Airflow's folder .*/file/home cannot be made: Not a directory"):
        start_there(tmp_path / "file" / "home", root)


def test_an_interpreter_without_airflow_is_reported_with_what_it_said(tmp_path, root):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho No module named airflow >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(UnavailableError, match=r"Airflow's migration ended with exit code 1: No module named airflow"):
        start_there(tmp_path / "home", root, python=python)


def start_there(home, root, *, python=Path(sys.executable), port=0):
    return airflow_runs.start(home, root, python=python, port=port, environment=dict(os.environ), schedule=False)
