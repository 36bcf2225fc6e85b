"""A real Airflow asks a person about an audit: an answer and silence both reach the record. Jobs only write it down."""

import json
import os
import shutil
import sys
import time
import urllib.parse
from datetime import date
from pathlib import Path

import pytest

from pipelines import airflow_runs
from pipelines.local_servers import free_port

ROOT = Path(__file__).resolve().parents[2]
AUDIT = {"job": "audit_month", "audit_id": "monthly-20260131-7", "verdict": "PASS", "report": "/srv/audits/7.html"}
JOB = """
import json, pathlib, sys
with open("began.txt", "a") as began:
    began.write(json.dumps([pathlib.Path(__file__).stem, sys.argv[1:]]) + "\\n")
print(json.dumps(AUDIT))
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A repository: the monthly audit, the same with a quarter of a minute to answer in, and jobs of the same names."""
    folder = tmp_path_factory.mktemp("repository")
    (folder / "dags").mkdir()
    (folder / "jobs").mkdir()
    shutil.copy(ROOT / "dags" / "job.py", folder / "dags")
    dag = (ROOT / "dags" / "audit_monthly.py").read_text()
    hasty = dag.replace('"audit_monthly"', '"audit_hastily"').replace("timedelta(days=7)", "timedelta(seconds=15)")
    assert hasty != dag.replace('"audit_monthly"', '"audit_hastily"')
    (folder / "dags" / "audit_monthly.py").write_text(dag)
    (folder / "dags" / "audit_hastily.py").write_text(hasty)
    for name in ("audit_month", "approve_audit"):
        (folder / "jobs" / f"{name}.py").write_text(JOB.replace("AUDIT", repr(AUDIT)))
    return folder


@pytest.fixture(scope="module")
def airflow(root, tmp_path_factory):
    home = tmp_path_factory.mktemp("home") / "airflow"
    environment = {**os.environ, "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "2"}
    airflow = airflow_runs.start(
        home, root, python=Path(sys.executable), port=free_port(), environment=environment, schedule=False
    )
    yield airflow
    airflow_runs.stop(airflow)


def began(root):
    lines = (root / "began.txt").read_text().splitlines()
    (root / "began.txt").unlink()
    return [json.loads(line) for line in lines]


def ask_when_waiting(airflow, run_id, answer):
    run = urllib.parse.quote(run_id)
    task = f"/dags/audit_monthly/dagRuns/{run}/taskInstances/ask_a_person"
    deadline = time.monotonic() + 180
    while airflow_runs._call(airflow, "GET", task)["state"] != "awaiting_input":
        assert time.monotonic() < deadline
        time.sleep(1)
    asked = airflow_runs._call(airflow, "GET", f"{task}/-1/hitlDetails")
    # No person is so quick that the process which asked has not ended; Airflow 3.3 takes that for a crash.
    time.sleep(10)
    airflow_runs._call(airflow, "PATCH", f"{task}/-1/hitlDetails", answer)
    return asked


def told(arguments):
    return dict(zip(arguments[::2], arguments[1::2], strict=True))


def states(airflow, dag_id, runs):
    """The last state of each task."""
    return {change.task_id: change.state for change in airflow_runs.task_changes(airflow, dag_id, runs)}


@pytest.mark.parametrize("option", ["Reject", "Approve"])
def test_a_persons_answer_reaches_the_record_whichever_it_is(airflow, root, option):
    runs = airflow_runs.trigger(airflow, "audit_monthly", day=date(2026, 1, 31), params={"days": 7})
    answer = {"chosen_options": [option], "params_input": {"name": "Ada Lovelace", "note": "it's fine; ls"}}
    asked = ask_when_waiting(airflow, next(iter(runs)), answer)
    assert asked["subject"] == "Audit monthly-20260131-7: PASS"
    assert "/srv/audits/7.html" in asked["body"]
    assert states(airflow, "audit_monthly", runs) == {
        "audit_month": "success",
        "ask_a_person": "success",
        "approve_audit": "success",
    }
    (first, days), (second, said) = began(root)
    assert (first, days) == ("audit_month", ["--day", "2026-01-31", "--days", "7", "--on-demand"])
    assert second == "approve_audit"
    found = told(said)
    assert found["--audit-id"] == "monthly-20260131-7"
    assert (found["--answer"], found["--name"]) == (option.lower(), "Ada Lovelace")
    assert found["--note"] == "it's fine; ls"


def test_silence_reaches_the_record_as_a_rejection_by_nobody(airflow, root):
    runs = airflow_runs.trigger(airflow, "audit_hastily", day=date(2026, 1, 31), params={})
    assert states(airflow, "audit_hastily", runs) == {
        "audit_month": "success",
        "ask_a_person": "success",
        "approve_audit": "success",
    }
    found = told(began(root)[-1][1])
    assert (found["--answer"], found["--name"], found["--account"], found["--note"]) == ("reject", "", "", "")
