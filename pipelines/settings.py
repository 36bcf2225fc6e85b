"""Where things are: the one class of settings, read from the environment (`MARQUEE_...`) by whoever runs a job.

Made in a job's `main` and passed down in parts; nothing else under `pipelines/` reads the environment.
"""

from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipelines import crash_points
from pipelines.errors import UsageError
from pipelines.stores.places import Places

_IN_HOME = {
    "warehouse": "warehouse.duckdb",
    "lake": "lake",
    "models": "models",
    "snapshots": "snapshots",
    "lists": "lists.lmdb",
    "spool": "spool",
    "data_docs": "data_docs",
    "audits": "audits",
    "audit_key": "audit.key",
}


class Settings(BaseSettings):
    """Places and addresses. Every default lies in `home`, so that one variable moves a whole installation."""

    model_config = SettingsConfigDict(env_prefix="MARQUEE_", frozen=True)

    home: Path = Path("work")
    # A path to a DuckDB file, or snowflake://USER@ACCOUNT/DATABASE/SCHEMA?warehouse=NAME&role=NAME.
    warehouse: str = ""
    snowflake_password: SecretStr = SecretStr("")
    # A folder, or a URI of an object store with its credentials in `lake_options` (a JSON object).
    lake: str = ""
    lake_options: dict[str, str] = {}
    models: str = ""
    snapshots: str = ""
    # A folder, cassandra://USER@HOST[:PORT][,HOST...]/KEYSPACE or redis://HOST[:PORT]/DATABASE.
    lists: str = ""
    # Empty, or redis://HOST[:PORT]/DATABASE: a hot copy of the lists.
    cache: str = ""
    cassandra_password: SecretStr = SecretStr("")
    redis_password: SecretStr = SecretStr("")
    # Of the keyspace when `migrate_cassandra` makes it, a JSON object as in CQL.
    cassandra_replication: dict[str, str] = {"class": "NetworkTopologyStrategy", "datacenter1": "1"}
    cassandra_datacenter: str = "datacenter1"
    cassandra_write_consistency: str = "LOCAL_QUORUM"
    cassandra_read_consistency: str = "LOCAL_ONE"
    retention_days: int = Field(14, ge=1, le=3650)
    cache_days: int = Field(3, ge=1, le=3650)
    spool: Path = Path()
    data_docs: Path = Path()
    # Records of audits, the key that signs them, and a file of the policy they are judged by; empty: the built-in one.
    audits: Path = Path()
    audit_key: Path = Path()
    audit_policy: str = ""
    mlflow: str = ""
    spark_master: str = "local[*]"
    spark_memory: str = "2g"
    # More Spark settings as a JSON object, for a cluster.
    spark_options: dict[str, str] = {}
    host: str = "127.0.0.1"
    port: int = 8080
    # Who may ask the endpoint: a JSON object of caller to key, or the path of a file that holds one. Empty: anybody on
    # this machine may, and it listens on loopback addresses only.
    api_keys: SecretStr = SecretStr("")
    # Requests that one worker answers at the same time; more are refused with 503.
    most_in_flight: int = Field(256, ge=1, le=65536)
    # For tests: where the process is to die (`pipelines.crash_points`).
    crash_at: str = ""

    @model_validator(mode="before")
    @classmethod
    def _fill_from_home(cls, values: Any) -> Any:
        home = Path(values.get("home") or "work")
        for name, place in _IN_HOME.items():
            values[name] = values.get(name) or str(home / place)
        values["mlflow"] = values.get("mlflow") or f"sqlite:///{home.absolute()}/mlflow.db"
        return values

    @property
    def list_places(self) -> Places:
        """Where lists are kept, for `pipelines.stores.open`."""
        return Places(
            lists=self.lists,
            cache=self.cache,
            cassandra_password=self.cassandra_password.get_secret_value(),
            redis_password=self.redis_password.get_secret_value(),
            cassandra_replication=self.cassandra_replication,
            cassandra_datacenter=self.cassandra_datacenter,
            cassandra_write_consistency=self.cassandra_write_consistency,
            cassandra_read_consistency=self.cassandra_read_consistency,
            retention_days=self.retention_days,
            cache_days=self.cache_days,
        )


def read_settings() -> Settings:
    """The settings of this process.

    Raises:
        UsageError: if a variable does not fit its type; names the variable.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "MARQUEE_" + "_".join(str(part) for part in first["loc"]).upper()
        raise UsageError(f"the setting {name} is wrong: {first['msg']}") from None
    crash_points.arm(settings.crash_at)
    return settings
