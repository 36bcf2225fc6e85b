"""Answer with the precomputed lists until told to stop: python -m jobs.serve_lookup --workers 1

Listens on MARQUEE_HOST and MARQUEE_PORT (127.0.0.1:8080). Who may ask is said in MARQUEE_API_KEYS; without keys it
listens on loopback addresses only. SIGTERM or Ctrl-C ends it: what is being answered is finished, and what was answered
reaches the spool. Who asked is in no log.
"""

import gc
import ipaddress
import os
import secrets
import signal
import socket
import threading
import time
from functools import partial
from pathlib import Path

from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import Server
from starlette.applications import Starlette

from pipelines.command_line import run, say, say_result
from pipelines.errors import UnavailableError, UsageError
from pipelines.serving.app import Bounds, create_app
from pipelines.serving.keys import ApiKeys, read_api_keys
from pipelines.serving.library import compiled_rules
from pipelines.serving.snapshots import Snapshots
from pipelines.settings import read_settings
from pipelines.spool import Spool
from pipelines.stores.open_lookup import open_lookup
from pipelines.stores.places import Places, check_addresses

_DRAIN_SECONDS = 10
_WATCH_SECONDS = 0.5
_HEADER_MILLISECONDS = 5_000
_HEADER_BYTES = 32 * 1024
# A young object is looked at once in so many allocations: collecting costs a request more than what it frees. Few of
# these make a middle-aged generation: each read of Cassandra leaves a cycle, and all that came to be are looked at with
# no request answered meanwhile.
_COLLECT_AFTER = (20_000, 4, 250)


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
    keys = read_api_keys(settings.api_keys.get_secret_value())
    if keys.is_open and not _is_loopback(settings.host):
        raise UsageError(
            f"the setting MARQUEE_HOST is {settings.host}, where others reach it, and MARQUEE_API_KEYS is empty: "
            "set keys, or listen on 127.0.0.1"
        )
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
        backpressure=max(1024, 4 * settings.most_in_flight),  # more are refused in words, not left waiting
        http1_settings=HTTP1Settings(header_read_timeout=_HEADER_MILLISECONDS, max_buffer_size=_HEADER_BYTES),
        respawn_failed_workers=True,
        workers_kill_timeout=_DRAIN_SECONDS,
    )
    who = "whoever is on this machine may ask, as no keys are set" if keys.is_open else "for callers with a key"
    say(f"serving {places.lists} on http://{settings.host}:{settings.port}, {who}")
    if compiled_rules() is None:
        say("the rules run interpreted, at a quarter of their speed: no arrange.so of this version: run make setup")
    started = time.monotonic()
    bounds = Bounds(most_in_flight=settings.most_in_flight)
    app = partial(_app, places, settings.spool, settings.snapshots, keys, bounds, secrets.token_bytes(32))
    server.serve(target_loader=app, wrap_loader=False)
    say_result({"job": "serve_lookup", "seconds": round(time.monotonic() - started, 2)})


def _app(places: Places, spool: Path, snapshots: str, keys: ApiKeys, bounds: Bounds, secret: bytes) -> Starlette:
    """The application of one worker, made in its process: neither an open store nor a spool outlives a fork."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    gc.set_threshold(*_COLLECT_AFTER)
    return create_app(
        partial(open_lookup, places),
        Spool(spool),
        snapshots=Snapshots(snapshots),
        keys=keys,
        bounds=bounds,
        secret=secret,
        # Hundreds of thousands of titles that the collector need not walk through again and again.
        on_snapshot=gc.freeze,
    )


def _end_with(parent: int) -> None:
    """Stop this worker when its supervisor is gone: killed, it cannot, and the port would stay taken."""
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def _is_loopback(host: str) -> bool:
    """Whether every address of a host is one of this machine's own."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return all(ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found)
    except (OSError, ValueError):
        return False


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
