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


def test_the_file_is_as_the_specification_says():
    schema = json.loads((Path(__file__).parent / "compose-spec.json").read_text())
    jsonschema.validate(COMPOSE, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(COMPOSE | {"services": {"redis": {"imgae": "valkey"}}}, schema)


def test_every_setting_in_it_is_one_of_ours():
    known = {f"MARQUEE_{name.upper()}" for name in Settings.model_fields}
    named = {name for service in SERVICES.values() for name in service.get("environment", {}) if "MARQUEE" in name}
    assert {"MARQUEE_LISTS", "MARQUEE_CACHE", "MARQUEE_CASSANDRA_PASSWORD"} <= named <= known


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
