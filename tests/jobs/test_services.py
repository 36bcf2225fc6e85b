"""Cassandra and Redis with one command, without Docker."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from pipelines.local_servers import free_port, process_named_in
from pipelines.stores.open import open_store
from pipelines.stores.places import Places

ROOT = Path(__file__).parents[2]


def job(home, name, *arguments):
    return subprocess.run(
        [sys.executable, "-m", f"jobs.{name}", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "MARQUEE_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )


def settings_in(path):
    lines = path.read_text().splitlines()
    return dict(line.removeprefix("export ").replace("'", "").split("=", 1) for line in lines)


@pytest.mark.slow
def test_services_start_with_their_keyspace_and_stop_and_leave_nothing_running(tmp_path):
    ports = [free_port() for _ in range(3)]
    where = ("--port", ports[0], "--storage-port", ports[1], "--redis-port", ports[2])
    started = job(tmp_path, "start_services", *where)
    try:
        assert started.returncode == 0, started.stderr
        settings_file = tmp_path / "services" / "settings.env"
        assert str(settings_file.name) in started.stdout
        assert settings_file.stat().st_mode & 0o077 == 0
        settings = settings_in(settings_file)
        places = Places(
            settings["MARQUEE_LISTS"],
            cache=settings["MARQUEE_CACHE"],
            cassandra_password=settings["MARQUEE_CASSANDRA_PASSWORD"],
        )
        with open_store(places) as store:
            assert store.live() is None
            assert store.open_attempt("20260131-aaaaaaaaaaaa") == 1
        again = job(tmp_path, "start_services", *where)
        assert again.returncode == 69
        assert "run already" in again.stderr
    finally:
        stopped = job(tmp_path, "stop_services")
    assert stopped.returncode == 0, stopped.stderr
    assert process_named_in(tmp_path / "services" / "pid") is None
    for port in ports:
        with pytest.raises(redis.ConnectionError):
            redis.Redis(port=port, socket_connect_timeout=1).ping()
    assert "no services run here" in job(tmp_path, "stop_services").stdout


def test_a_taken_port_is_said_in_one_sentence_before_anything_runs(tmp_path, redis_server):
    ended = job(tmp_path, "start_services", "--redis-port", redis_server.port)
    assert ended.returncode == 69
    assert f"cannot listen on 127.0.0.1:{redis_server.port}" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "services" / "pid").exists()


def test_a_ring_of_two_is_refused(tmp_path):
    ended = job(tmp_path, "start_services", "--nodes", 2)
    assert ended.returncode in {64, 69}
    assert "1 or 3" in ended.stderr
