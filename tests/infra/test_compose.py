"""The whole system under Docker, held against the Compose specification where no engine runs.

`compose-spec.json` is the specification's own schema (Apache 2.0), as compose-go 2.16.2 carries it.
"""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from pipelines.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "infra" / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
# Settings left out: places that lie in the volume by themselves, what other warehouses, lakes, rings and clusters need,
# and numbers whose default holds for one machine too.
RIGHT_AS_THEY_ARE = {
    *("warehouse", "snowflake_password", "lake", "lake_options", "models", "snapshots", "spool", "data_docs"),
    *("redis_password", "cassandra_replication", "cassandra_datacenter"),
    *("cassandra_write_consistency", "cassandra_read_consistency", "retention_days", "cache_days"),
    *("spark_master", "spark_memory", "spark_options", "most_in_flight", "crash_at"),
}


def test_the_file_is_as_the_specification_says():
    schema = json.loads((Path(__file__).parent / "compose-spec.json").read_text())
    jsonschema.validate(COMPOSE, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(COMPOSE | {"services": {"redis": {"imgae": "valkey"}}}, schema)


def test_every_setting_of_ours_is_in_it_or_is_right_as_it_is():
    known = {f"MARQUEE_{name.upper()}" for name in Settings.model_fields}
    named = {name for service in SERVICES.values() for name in service.get("environment", {}) if "MARQUEE" in name}
    assert {"MARQUEE_LISTS", "MARQUEE_CACHE", "MARQUEE_CASSANDRA_PASSWORD"} <= named <= known
    assert known - named == {f"MARQUEE_{name.upper()}" for name in RIGHT_AS_THEY_ARE}


def test_every_job_has_the_settings_of_all():
    jobs = [service for service in SERVICES.values() if service["image"] == "marquee" and "entrypoint" not in service]
    assert len(jobs) == len({"migrate", "airflow", "endpoint", "job"})
    for service in jobs:
        assert COMPOSE["x-settings"].items() <= service["environment"].items()


def test_records_of_audits_and_their_key_lie_in_the_volume_where_nobody_says_otherwise(monkeypatch):
    monkeypatch.setenv("MARQUEE_HOME", COMPOSE["x-settings"]["MARQUEE_HOME"])
    for name in ("MARQUEE_AUDITS", "MARQUEE_AUDIT_KEY", "MARQUEE_AUDIT_POLICY"):
        assert COMPOSE["x-settings"][name] == f"${{{name}:-}}"
        monkeypatch.setenv(name, "")
    settings = Settings()
    assert (settings.audits, settings.audit_key) == (Path("/data/audits"), Path("/data/audit.key"))
    assert not settings.audit_policy


def test_nothing_is_published_beyond_this_machine():
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_what_is_built_and_what_is_run_is_there():
    for service in SERVICES.values():
        if "build" in service:
            assert (ROOT / "infra" / service["build"]["context"] / service["build"]["dockerfile"]).exists()
        for word in service.get("command", []):
            if word.startswith("jobs."):
                assert (ROOT / "jobs" / f"{word.removeprefix('jobs.')}.py").exists()
        assert service["image"] == "marquee" or re.fullmatch(r"[a-z/]+:\d[\d.]*", service["image"])


def test_the_image_copies_only_what_is_there():
    recipe = (ROOT / "infra" / "images" / "marquee.Dockerfile").read_text()
    copied = [word for line in re.findall(r"^COPY (.+)$", recipe, re.MULTILINE) for word in line.split()[:-1]]
    assert {"feature_defs", "pipelines", "jobs", "dags", "requirements.lock"} <= set(copied)
    assert all((ROOT / path).exists() for path in copied)


def test_what_goes_on_says_whether_it_is_well():
    ends_by_itself = {"cassandra-role", "migrate", "job"}
    assert {name for name, service in SERVICES.items() if "healthcheck" not in service} == ends_by_itself


def test_redis_drops_what_expires_and_never_a_pointer():
    assert "volatile-lfu" in SERVICES["redis"]["command"]


def test_no_password_is_written_in_it():
    assert "MARQUEE_CASSANDRA_PASSWORD:?" in SERVICES["cassandra-role"]["environment"]["ROLE_PASSWORD"]
