"""A DAG as Airflow's scheduler knows it; Airflow's home is set before, by `tests/dags/conftest.py`."""

from datetime import UTC, datetime

from airflow.serialization.definitions.dag import SerializedDAG
from airflow.serialization.serialized_objects import DagSerialization


def as_scheduled(dag) -> SerializedDAG:
    """The DAG from its serialized form alone."""
    return DagSerialization.from_dict(DagSerialization.to_dict(dag))


def at(text) -> datetime:
    """A moment in UTC, from ISO 8601."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
