"""How a job becomes an Airflow task: the one place that knows tasks are shell commands on this machine.

A task runs `PYTHON -m jobs.NAME ARGUMENTS` in the repository's folder, with the scheduler's environment. Moving the
tasks to Kubernetes or to spark-submit changes this file alone. Two variables, read where DAG files are parsed:

    MARQUEE_PYTHON    the interpreter that holds the jobs' libraries (default: the one that runs Airflow)
    MARQUEE_ROOT      the folder that holds `jobs/` (default: the folder above this one)
"""

import json
import os
import re
import shlex
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowException, AirflowFailException

PYTHON = os.environ.get("MARQUEE_PYTHON") or sys.executable
ROOT = os.environ.get("MARQUEE_ROOT") or str(Path(__file__).resolve().parents[1])

# A job says by its exit code whose fault a failure is: wrong arguments (2, 64), bad data (65), a refusal (77). Trying
# again changes none of them; everything else (69: something does not answer; a crash; a kill) is worth another try.
NEVER_RETRIED = frozenset({2, 64, 65, 77})
RETRIES = {
    "retries": 2,
    "retry_delay": timedelta(minutes=2),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=15),
}

# How every DAG of jobs runs: one run at a time, and what was missed is not made up for unasked.
RUNS = {
    "catchup": False,
    "max_active_runs": 1,
    "default_args": {"owner": "recommendations", "execution_timeout": timedelta(hours=1)},
    "user_defined_filters": {"quote": lambda value: shlex.quote(str(value))},
}
# What may train on a GPU, which two trainings cannot share: one at a time, over all DAGs, in a pool of one slot, which
# `pipelines.airflow_runs` makes; elsewhere: airflow pools set gpu 1 "Trainings that may use the GPU".
GPU_POOL = "gpu"
ON_GPU = frozenset({"train_towers", "train_ranker"})
# How long a training may take; on all users it belongs on a cluster or a GPU.
TRAINING = timedelta(hours=4)


# The last complete day of an interval that ends on the day on which its run starts.
LAST_DAY = (
    "--day {{ params.day or ((dag_run.data_interval_end or dag_run.run_after) - macros.timedelta(days=1)) | ds }}"
)


def day_form(description: str) -> dict[str, Param]:
    """What the form of a DAG says of the day it is for; `description` says what an empty one means."""
    return {"day": Param(None, type=["null", "string"], format="date", title="Day", description=description)}


def learning_form() -> dict[str, Param]:
    """What the form of a DAG says of how models learn."""
    return {
        "epochs": Param(20, type="integer", minimum=1, maximum=1000, description="Passes of the two towers."),
        "factors": Param(64, type="integer", minimum=4, maximum=64, description="Length of an ALS vector."),
        "iterations": Param(10, type="integer", minimum=1, maximum=50, description="Rounds of ALS."),
    }


# The same as arguments of `open_run`.
LEARNING = (
    "--als.factors {{ params.factors | quote }}",
    "--als.iterations {{ params.iterations | quote }}",
    "--towers.epochs {{ params.epochs | quote }}",
)


class JobOperator(BashOperator):
    """A shell command whose exit code decides whether it is tried again; a mapped task's template names its `shard`."""

    template_fields: Sequence[str] = ("shard", *BashOperator.template_fields)

    def __init__(self, *, shard: str | None = None, **kwargs: Any) -> None:
        # No exit code means "skipped": a job that has nothing to do succeeds.
        super().__init__(skip_on_exit_code=None, **kwargs)
        self.shard = shard

    def execute(self, context: Any) -> Any:
        """Run the command; raises AirflowFailException where trying again would change nothing."""
        try:
            return super().execute(context)
        except AirflowFailException:
            raise
        except AirflowException:
            process = self.subprocess_hook.sub_process
            if process is None or process.returncode not in NEVER_RETRIED:
                raise
            raise AirflowFailException(
                f"jobs.{self.task_id} ended with exit code {process.returncode}: trying again would change nothing; "
                "the reason is the line above that begins with 'marquee:'"
            ) from None


def job(name: str, *arguments: str, **task: Any) -> JobOperator:
    """The task that runs `jobs.NAME` with these arguments (Jinja templates, quoted for the shell by their author)."""
    return JobOperator(**_task(name, arguments, task))


def job_for_each(shards: Any, name: str, *arguments: str, **task: Any) -> Any:
    """The task that runs `jobs.NAME` once a shard, beside each other; `shards` is the output of another task."""
    settings = _task(name, (*arguments, "--shard {{ task.shard }}"), task)
    return JobOperator.partial(**settings, map_index_template="shard {{ task.shard }}").expand(shard=shards)


def shards_of_run(last_line: str) -> list[str]:
    """The shards ("0/2", "1/2") that a job names in its last line of output, a JSON object; all that XCom carries."""
    try:
        shards = json.loads(last_line)["shards"]
    except (ValueError, KeyError, TypeError):
        shards = None
    if not isinstance(shards, list) or not shards or not all(re.fullmatch(r"\d+/\d+", str(shard)) for shard in shards):
        raise AirflowFailException(f"the job's last line names no shards: {last_line[:200]!r}")
    return shards


def _task(name: str, arguments: Sequence[str], task: dict[str, Any]) -> dict[str, Any]:
    return {
        "task_id": name,
        "bash_command": " ".join([shlex.quote(PYTHON), "-m", f"jobs.{name}", *arguments]),
        "cwd": ROOT,
        "do_xcom_push": "output_processor" in task,
        **({"pool": GPU_POOL} if name in ON_GPU else {}),
        **RETRIES,
        **task,
    }
