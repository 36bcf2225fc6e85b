"""Answer with the precomputed lists until told to stop: python -m jobs.serve_lookup --workers 1

Listens on MARQUEE_HOST and MARQUEE_PORT (127.0.0.1:8080). SIGTERM or Ctrl-C ends it: what is being answered is
finished, and what was answered reaches the spool. Who asked is in no log.
"""

import os
import signal
import socket
import threading
import time
from functools import partial
from pathlib import Path

from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server import Server
from starlette.applications import Starlette

from pipelines.command_line import run, say, say_result
from pipelines.errors import UnavailableError, UsageError
from pipelines.serving.app import create_app
from pipelines.settings import read_settings
from pipelines.spool import Spool
from pipelines.stores.open_lookup import open_lookup
from pipelines.stores.places import Places, check_addresses

_DRAIN_SECONDS = 10
_WATCH_SECONDS = 0.5


def main(workers: int = 1) -> None:
    """Serve lists over HTTP.

    Args:
        workers: processes, one a core; each has its own metrics and its own segment of the spool.
    """
    if workers < 1:
        raise UsageError(f"--workers is {workers}: at least one is needed")
    settings = read_settings()
    places = settings.list_places
    check_addresses(places)
    _check_address(settings.host, settings.port)
    server = Server(
        "marquee",
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        workers=workers,
        websockets=False,
        log_level=LogLevels.warning,
        log_access=False,  # a path names its user
        respawn_failed_workers=True,
        workers_kill_timeout=_DRAIN_SECONDS,
    )
    say(f"serving {places.lists} on http://{settings.host}:{settings.port}")
    started = time.monotonic()
    server.serve(target_loader=partial(_app, places, settings.spool), wrap_loader=False)
    say_result({"job": "serve_lookup", "seconds": round(time.monotonic() - started, 2)})


def _app(places: Places, spool: Path) -> Starlette:
    """The application of one worker, made in its process: neither an open store nor a spool outlives a fork."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    return create_app(partial(open_lookup, places), Spool(spool))


def _end_with(parent: int) -> None:
    """Stop this worker when its supervisor is gone: killed, it cannot, and the port would stay taken."""
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def _check_address(host: str, port: int) -> None:
    """Granian shares its port with whoever else is willing to; we are not."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, OverflowError) as error:
        raise UnavailableError(
            f"cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}; "
            "set MARQUEE_HOST and MARQUEE_PORT"
        ) from None


if __name__ == "__main__":
    run(main, description=__doc__)
