"""MLflow shows what we record, once for a run however often it is tried, and its alias follows the promotion."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.errors import UnavailableError
from pipelines.tracking import log_decision, log_training, seen_champion


def test_a_training_a_refusal_and_a_promotion_are_shown(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    for _ in range(2):
        log_training(uri, "train_als", "20260131-aaaaaaaaaaaa", "a" * 32, {"factors": 8, "alpha": 1.0})
    shown = {"metrics": {"ndcg_at_20": 0.25}, "source": str(tmp_path / "models")}
    log_decision(uri, "train_als", "20260131-aaaaaaaaaaaa", "a" * 32, **shown, is_promoted=True)
    log_training(uri, "train_als", "20260201-bbbbbbbbbbbb", "b" * 32, {"factors": 8})
    log_decision(uri, "train_als", "20260201-bbbbbbbbbbbb", "b" * 32, **shown, is_promoted=False)

    from mlflow import MlflowClient

    client = MlflowClient(uri, uri)
    runs = client.search_runs([client.get_experiment_by_name("marquee").experiment_id])
    assert len(runs) == 2
    first = next(run for run in runs if run.data.tags["run_id"].startswith("20260131"))
    assert first.data.params == {"factors": "8", "alpha": "1.0"}
    assert first.data.metrics == {"ndcg_at_20": 0.25}
    assert first.data.tags["verdict"] == "promoted"
    assert len(client.search_model_versions("name = 'marquee'")) == 2
    assert seen_champion(uri) == "a" * 32


@pytest.mark.slow
def test_trainings_that_meet_at_a_database_that_is_not_there_yet_are_all_shown(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    jobs = ["train_als", "train_towers", "train_ranker"]
    program = "import sys; from pipelines.tracking import log_training; log_training(*sys.argv[1:5], {'factors': 8})"
    running = [
        subprocess.Popen([sys.executable, "-c", program, uri, job, "20260131-aaaaaaaaaaaa", "a" * 32]) for job in jobs
    ]
    assert [process.wait(180) for process in running] == [0, 0, 0]

    from mlflow import MlflowClient

    client = MlflowClient(uri, uri)
    runs = client.search_runs([client.get_experiment_by_name("marquee").experiment_id])
    assert sorted(run.data.tags["job"] for run in runs) == sorted(jobs)


def test_an_mlflow_that_does_not_answer_is_named_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database, and long enough to be none " * 50)
    with pytest.raises(UnavailableError, match=r"MLflow at sqlite:.* does not answer"):
        log_training(f"sqlite:///{tmp_path}/mlflow.db", "train_als", "r", "a" * 32, {})
