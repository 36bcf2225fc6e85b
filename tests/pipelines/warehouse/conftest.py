"""Both warehouses, each behind the same fixture: a DuckDB file, and a server that speaks Snowflake's protocol."""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import duckdb
import pytest
import snowflake.connector

from pipelines.warehouse.open import open_for_loading


@pytest.fixture(scope="session")
def snowflake_port() -> Iterator[int]:
    """The port of a server that answers the real connector over HTTP, as a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "uvicorn", "fakesnow.server:app", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1)
            except urllib.error.HTTPError:
                break
            except OSError:
                assert server.poll() is None, "the server ended"
                time.sleep(0.1)
        yield port
    finally:
        server.terminate()
        server.wait()


class Place:
    """Where a warehouse is, how it is opened, and how its owner runs a statement in it."""

    def __init__(self, url: str, run: Callable[[str], None]) -> None:
        self.url = url
        self.run = run

    def open(self):
        return open_for_loading(self.url, "a password")


@pytest.fixture(params=["duckdb", "snowflake"])
def place(request, tmp_path: Path) -> Place:
    if request.param == "duckdb":
        path = tmp_path / "warehouse.duckdb"

        def run_in_duckdb(sql: str) -> None:
            with duckdb.connect(path) as connection:
                connection.execute(sql).fetchall()

        return Place(str(path), run_in_duckdb)
    port = request.getfixturevalue("snowflake_port")
    schema = f"S{uuid4().hex[:12]}"

    def run_in_snowflake(sql: str) -> None:
        with snowflake.connector.connect(
            user="owner",
            password="secret",
            account="fakesnow",
            host="127.0.0.1",
            port=port,
            protocol="http",
            database="MARQUEE",
            schema=schema,
            session_parameters={"CLIENT_OUT_OF_BAND_TELEMETRY_ENABLED": False},
        ) as connection:
            connection.cursor().execute(sql)

    return Place(
        f"snowflake://owner@fakesnow/MARQUEE/{schema}?host=127.0.0.1&port={port}&protocol=http", run_in_snowflake
    )
