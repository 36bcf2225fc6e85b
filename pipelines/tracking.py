"""What MLflow shows of our work: the only module that imports it.

MLflow is a projection. The champion is what `pipelines.promotion` says; an alias written here, or by hand, changes
nothing that is served.
"""

import fcntl
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import UnavailableError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

EXPERIMENT = "marquee"
REGISTERED_MODEL = "marquee"
CHAMPION = "champion"
_SQLITE = "sqlite:///"


def log_training(uri: str, job: str, run_id: str, model_set: str, hyperparameters: Mapping[str, Any]) -> None:
    """Show a training: its hyperparameters whole, the run and the model set it made.

    Raises:
        UnavailableError: if MLflow does not answer.
    """
    with _client(uri) as client:
        run = _run_named(client, job, run_id)
        known = run.data.params
        for name, value in hyperparameters.items():
            if name not in known:
                client.log_param(run.info.run_id, name, value)
        client.set_tag(run.info.run_id, "model_set", model_set)
        client.set_terminated(run.info.run_id)


def log_decision(
    uri: str,
    job: str,
    run_id: str,
    model_set: str,
    source: str,
    metrics: Mapping[str, float],
    *,
    is_promoted: bool,
    card: str = "",
) -> None:
    """Show what a model set reached and whether it was promoted; the registry's alias follows the promotion.

    Args:
        uri: of the tracking server or its database.
        job: that trained the set.
        run_id: the run.
        model_set: digest of the set.
        source: where the set is kept.
        metrics: by name; names may not hold `@`.
        is_promoted: whether the set became champion.
        card: its model card, Markdown, shown as the description of its version.

    Raises:
        UnavailableError: if MLflow does not answer.
    """
    with _client(uri) as client:
        run = _run_named(client, job, run_id)
        for name, value in metrics.items():
            client.log_metric(run.info.run_id, name, value)
        client.set_tag(run.info.run_id, "verdict", "promoted" if is_promoted else "refused")
        client.set_terminated(run.info.run_id)
        if not client.search_registered_models(f"name = '{REGISTERED_MODEL}'"):
            client.create_registered_model(REGISTERED_MODEL, description="Model sets of Marquee, by digest.")
        versions = client.search_model_versions(f"name = '{REGISTERED_MODEL}' and tag.model_set = '{model_set}'")
        version = (
            versions[0]
            if versions
            else client.create_model_version(
                REGISTERED_MODEL, source, run.info.run_id, tags={"model_set": model_set, "run_id": run_id}
            )
        )
        if card:
            client.update_model_version(REGISTERED_MODEL, version.version, description=card)
        if is_promoted:
            client.set_registered_model_alias(REGISTERED_MODEL, CHAMPION, version.version)


@contextmanager
def _client(uri: str) -> Iterator["MlflowClient"]:
    # Read by MLflow when it is imported: it reports to nobody, and loads no pickle.
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    with warnings.catch_warnings():
        # MLflow warns of its own changes to come; none is ours to mend.
        warnings.simplefilter("ignore")
        from alembic.util import CommandError
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            with _alone(uri):
                yield MlflowClient(tracking_uri=uri, registry_uri=uri)
        except (MlflowException, SQLAlchemyError, CommandError, OSError) as error:
            raise UnavailableError(f"MLflow at {uri} does not answer: {str(error).splitlines()[0][:200]}") from error


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """One process at a time at a database file: whoever comes first makes its tables, and two must not.

    A tracking server sees to that itself.
    """
    if not uri.startswith(_SQLITE):
        yield
        return
    place = Path(uri.removeprefix(_SQLITE))
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_suffix(".lock").open("a") as lock:
        # The kernel lets go of it with the process, however that ends.
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run_named(client: "MlflowClient", job: str, run_id: str) -> "Run":
    """The MLflow run of a job of a run: made once, found again by a retry."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    number = experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT)
    found = client.search_runs([number], f"tags.run_id = '{run_id}' and tags.job = '{job}'", max_results=1)
    if found:
        return found[0]
    return client.create_run(number, run_name=job, tags={"run_id": run_id, "job": job})


def seen_champion(uri: str) -> str | None:
    """The model set that MLflow's alias points to: what people see there, never what is served.

    Raises:
        UnavailableError: if MLflow does not answer.
    """
    with _client(uri) as client:
        if not client.search_registered_models(f"name = '{REGISTERED_MODEL}'"):
            return None
        aliases = client.get_registered_model(REGISTERED_MODEL).aliases
        if CHAMPION not in aliases:
            return None
        version = client.get_model_version(REGISTERED_MODEL, aliases[CHAMPION])
        return str(version.tags["model_set"])
