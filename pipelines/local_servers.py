"""Servers that we start beside us on this machine, and end with everything they started."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import UnavailableError

_LOOK_AGAIN_SECONDS = 0.1


@dataclass(frozen=True)
class LocalServer:
    """A process of ours in a process group of its own; what it says goes to `log`."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def is_running(self) -> bool:
        """Whether the server itself still runs (what it started may outlive it until `stop`)."""
        return self.process.poll() is None


def start_server(
    name: str, command: Sequence[str], *, log: Path, environment: Mapping[str, str], folder: Path
) -> LocalServer:
    """Start a server and return at once; `environment` is all that it gets, `log` is appended to.

    Raises:
        UnavailableError: if its program cannot be started.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as said:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=folder,
                # Its own group: a Ctrl-C in our terminal reaches us alone, and we end our servers in order.
                start_new_session=True,
            )
        except OSError as error:
            raise UnavailableError(f"{name} cannot be started: {command[0]}: {error.strerror}") from None
    return LocalServer(name, process, log)


def wait_until_ready(servers: Iterable[LocalServer], is_ready: Callable[[], bool], *, seconds: float) -> None:
    """Return as soon as `is_ready()`; the servers are left running when it does not come to that.

    Raises:
        UnavailableError: if one of them ends first or the time is over; names the log and its last line.
    """
    watched = tuple(servers)
    deadline = time.monotonic() + seconds
    while not is_ready():
        for server in watched:
            if not server.is_running:
                raise UnavailableError(
                    f"{server.name} ended with exit code {server.process.returncode} before it was ready"
                    f"{_last_words(server.log)}"
                )
        if time.monotonic() > deadline:
            logs = ", ".join(str(server.log) for server in watched)
            raise UnavailableError(f"{watched[0].name} was not ready within {seconds:.0f} seconds; see {logs}")
        time.sleep(_LOOK_AGAIN_SECONDS)


def wait_until_done(server: LocalServer, *, seconds: float) -> None:
    """Return when a program that is to end has ended well; it is left running when it does not end in time.

    Raises:
        UnavailableError: if its exit code is not 0 or the time is over; names the log and its last line.
    """
    try:
        exit_code = server.process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"{server.name} did not end within {seconds:.0f} seconds; see {server.log}") from None
    if exit_code:
        raise UnavailableError(f"{server.name} ended with exit code {exit_code}{_last_words(server.log)}")


def stop_servers(servers: Iterable[LocalServer], *, grace_seconds: float = 10) -> None:
    """End servers, the last started first, and everything they have started; return when none of it runs any more.

    A server is asked first (SIGTERM) so that it can end in order; what is left after the grace is told, then killed.
    """
    for server in reversed(tuple(servers)):
        groups = _groups_of(server)
        if server.is_running:
            server.process.terminate()
            _wait_for(lambda server=server: not server.is_running, grace_seconds)  # type: ignore[misc]
        for how in (signal.SIGTERM, signal.SIGKILL):
            # Looked up again each time: what the server left behind may have started more.
            groups |= _groups_of(server)
            _signal_groups(groups, how)
            if _wait_for(lambda groups=groups: not _members(groups), grace_seconds):  # type: ignore[misc]
                break
        # Collects the exit code, so that nothing of it stays in the process table.
        server.process.wait()


def process_named_in(pid_file: Path) -> int | None:
    """The id of the process whose number a file holds, if that process runs and is one of our jobs."""
    try:
        pid = int(pid_file.read_text(encoding="utf-8"))
        command = subprocess.run(
            ["ps", "-o", "stat=,args=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
    except (OSError, ValueError):
        return None
    # The number may be another's by now.
    is_ours = "jobs." in command.stdout and not command.stdout.lstrip().startswith("Z")
    return pid if is_ours else None


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nothing listens on now; whoever asks should take it soon."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def refuse_a_taken_port(name: str, port: int, *, host: str = "127.0.0.1") -> None:
    """Raise UnavailableError if something listens on the port already, before a server is started in vain."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UnavailableError(
                f"{name} cannot listen on {host}:{port}: {error.strerror}; name another port"
            ) from None


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").rstrip().splitlines()
    return f": {lines[-1].strip()} (all of it in {log})" if lines else f" and said nothing ({log})"


def _wait_for(is_done: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not is_done():
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_AGAIN_SECONDS)
    return True


def _processes() -> list[tuple[int, int, int]]:
    """All processes that still run, as (process id, parent's, group's); `ps` is on every machine we run on."""
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,pgid=,stat="], capture_output=True, check=True, text=True)
    rows = (line.split() for line in listing.stdout.splitlines())
    return [(int(pid), int(parent), int(group)) for pid, parent, group, state in rows if not state.startswith("Z")]


def _groups_of(server: LocalServer) -> set[int]:
    """The server's process group and those of everything descended from it, orphans of its group included."""
    groups = {server.process.pid}
    processes = _processes()
    while True:
        ours = {pid for pid, _, group in processes if group in groups}
        found = {group for _, parent, group in processes if parent in ours} - groups
        if not found:
            # Never our own, however it came there.
            return groups - {os.getpgrp()}
        groups |= found


def _members(groups: set[int]) -> list[int]:
    return [pid for pid, _, group in _processes() if group in groups]


def _signal_groups(groups: set[int], how: signal.Signals) -> None:
    for group in groups & {group for _, _, group in _processes()}:
        try:
            os.killpg(group, how)
        except ProcessLookupError:
            continue
