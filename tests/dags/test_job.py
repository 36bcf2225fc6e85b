"""Which failures are tried again, and what a task hands on."""

import sys
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException


@pytest.fixture
def a_job(dags, tmp_path, monkeypatch):
    """Make the operator of a job that is this Python code, in a repository of its own."""
    module = sys.modules["job"]
    (tmp_path / "jobs").mkdir()
    monkeypatch.setattr(module, "PYTHON", sys.executable)
    monkeypatch.setattr(module, "ROOT", str(tmp_path))

    def make(code, **task):
        (tmp_path / "jobs" / "some_job.py").write_text(code)
        return module.job("some_job", **task)

    return make


def run(operator):
    return operator.execute({"dag_run": SimpleNamespace(run_id="r", conf={}, logical_date=None)})


@pytest.mark.parametrize("code", [2, 64, 65, 77])
def test_a_failure_that_lies_in_data_or_arguments_is_never_tried_again(a_job, code):
    with pytest.raises(AirflowFailException, match=f"exit code {code}"):
        run(a_job(f"import sys; sys.exit({code})"))


@pytest.mark.parametrize("code", [1, 69, 99, 130])
def test_any_other_failure_is_left_to_be_tried_again(a_job, code):
    with pytest.raises(AirflowException) as raised:
        run(a_job(f"import sys; sys.exit({code})"))
    assert not isinstance(raised.value, AirflowFailException)


def test_a_killed_job_is_left_to_be_tried_again(a_job):
    with pytest.raises(AirflowException) as raised:
        run(a_job("import os, signal; os.kill(os.getpid(), signal.SIGKILL)"))
    assert not isinstance(raised.value, AirflowFailException)


def test_the_shards_are_read_from_the_last_line(a_job):
    shards_of_run = sys.modules["job"].shards_of_run
    code = 'print("opening"); print(\'{"run_id": "2026-01-31-ab", "shards": ["0/2", "1/2"]}\')'
    operator = a_job(code, output_processor=shards_of_run)
    assert run(operator) == ["0/2", "1/2"]
    assert operator.do_xcom_push


@pytest.mark.parametrize("line", ["", "done", "[]", "{}", '{"shards": []}', '{"shards": 2}', '{"shards": ["0/2; ls"]}'])
def test_a_last_line_without_shards_is_never_tried_again(dags, line):
    with pytest.raises(AirflowFailException, match="names no shards"):
        sys.modules["job"].shards_of_run(line)


def test_other_tasks_hand_nothing_on(a_job):
    assert not a_job("").do_xcom_push


def test_a_job_inherits_the_environment(a_job, monkeypatch):
    monkeypatch.setenv("MARQUEE_HOME", "/srv/data")
    assert run(a_job("import os; print(os.environ['MARQUEE_HOME'])")) == "/srv/data"


def test_trainings_that_may_use_the_gpu_wait_for_its_one_slot_and_nothing_else_does(dags):
    pools = {
        (dag.dag_id, task.task_id): task.pool for dag in dags.dags.values() for task in dag.tasks if task.pool == "gpu"
    }
    assert set(pools) == {
        ("recommend_daily", "train_towers"),
        ("retrain_weekly", "train_towers"),
        ("retrain_weekly", "train_ranker"),
    }
