"""Airflow for tests: a home of its own, set before Airflow is first imported, and our DAG files as it reads them."""

import atexit
import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import pytest

DAGS = Path(__file__).resolve().parents[2] / "dags"

# Airflow reads these once, when it is imported, and writes its configuration there.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="marquee-airflow-")
atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(DAGS)
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"

with warnings.catch_warnings():
    # Airflow 3.3.2 and what it imports warn of their own future; ours stay errors.
    warnings.simplefilter("ignore")
    import airflow.dag_processing.dagbag
    import airflow.providers.standard.operators.bash
    import airflow.sdk
    from scheduled_dag import as_scheduled


@pytest.fixture(scope="session")
def dags():
    """The DAG files as Airflow reads them on a machine where the repository lies in /srv/marquee."""
    return read_dags({"MARQUEE_PYTHON": "python3.11", "MARQUEE_ROOT": "/srv/marquee"})


@pytest.fixture(scope="session")
def recommend_daily(dags):
    return dags.dags["recommend_daily"]


@pytest.fixture(scope="session")
def retrain_weekly(dags):
    return dags.dags["retrain_weekly"]


@pytest.fixture
def read_dags_with():
    """Read the DAG files anew under other settings."""
    return read_dags


def read_dags(environment):
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("MARQUEE_PYTHON", "MARQUEE_ROOT"):
            patch.delenv(name, raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.syspath_prepend(str(DAGS))
        sys.modules.pop("job", None)
        return airflow.dag_processing.dagbag.DagBag(str(DAGS))


@pytest.fixture(scope="session")
def command_of():
    """The command of a DAG's only task for what a form says; a form that the scheduler would refuse raises."""

    def command(dag, form):
        (task,) = dag.tasks
        params = as_scheduled(dag).params.deep_merge(form).validate()
        return task.render_template(task.bash_command, {"params": params, "task": task}, dag.get_template_env())

    return command
