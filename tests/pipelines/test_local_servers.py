"""Servers are started, waited for, and ended with all that they started."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from pipelines.errors import UnavailableError
from pipelines.local_servers import (
    free_port,
    refuse_a_taken_port,
    start_server,
    stop_servers,
    wait_until_done,
    wait_until_ready,
)

# Starts a child in a session of its own, as Airflow's tasks are, writes both ids down, and stays.
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {child!r}], start_new_session=True)
open("child", "w").write(str(child.pid))
print("up", flush=True)
time.sleep(600)
"""


@pytest.fixture
def start(tmp_path):
    started = []

    def _start(code, name="the server"):
        server = start_server(
            name,
            [sys.executable, "-c", code],
            log=tmp_path / "logs" / "server.log",
            environment=os.environ,
            folder=tmp_path,
        )
        started.append(server)
        return server

    yield _start
    stop_servers(started, grace_seconds=1)


def runs(pid):
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], check=False, capture_output=True, text=True).stdout
    return bool(state.strip()) and not state.startswith("Z")


def wait_for_file(path):
    deadline = time.monotonic() + 20
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return path.read_text()


def test_a_server_is_ready_when_it_says_so(start, tmp_path):
    server = start("import time; open('ready', 'w').write('yes'); time.sleep(600)")
    wait_until_ready([server], (tmp_path / "ready").exists, seconds=20)
    assert server.is_running


def test_a_server_that_ends_first_is_reported_with_its_last_words_and_its_log(start):
    server = start("import sys; print('hello'); sys.exit('no such database')")
    with pytest.raises(UnavailableError, match=r"the server ended with exit code 1 .*: no such database .*server\.log"):
        wait_until_ready([server], lambda: False, seconds=20)


def test_a_server_that_is_never_ready_is_reported_with_its_log(start):
    server = start("import time; time.sleep(600)")
    with pytest.raises(UnavailableError, match=r"not ready within 0 seconds; see .*server\.log"):
        wait_until_ready([server], lambda: False, seconds=0.2)


def test_a_program_that_ends_well_is_done_and_one_that_does_not_is_reported(start):
    wait_until_done(start("print('done')"), seconds=20)
    with pytest.raises(UnavailableError, match=r"the server ended with exit code 3: bad luck .*server\.log"):
        wait_until_done(start("import sys; print('bad luck'); sys.exit(3)"), seconds=20)
    with pytest.raises(UnavailableError, match="the server did not end within 0 seconds"):
        wait_until_done(start("import time; time.sleep(600)"), seconds=0.2)


def test_a_program_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(UnavailableError, match="the server cannot be started: /no/such/program: No such file"):
        start_server("the server", ["/no/such/program"], log=tmp_path / "log", environment={}, folder=tmp_path)


def test_a_server_ends_with_what_it_started_in_other_sessions(start, tmp_path):
    server = start(PARENT.format(child="import time; time.sleep(600)"))
    child = int(wait_for_file(tmp_path / "child"))
    stop_servers([server], grace_seconds=5)
    assert not runs(server.process.pid)
    assert not runs(child)
    assert runs(os.getpid())


def test_what_ignores_a_polite_word_is_killed(start, tmp_path):
    ignore = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    server = start(f"{ignore}; open('deaf', 'w').write('yes'); time.sleep(600)")
    wait_for_file(tmp_path / "deaf")
    stop_servers([server], grace_seconds=0.3)
    assert server.process.returncode == -signal.SIGKILL


def test_what_a_killed_server_left_in_its_group_is_ended(start, tmp_path):
    code = PARENT.format(child="import time; time.sleep(600)").replace(", start_new_session=True", "")
    server = start(code)
    child = int(wait_for_file(tmp_path / "child"))
    server.process.kill()
    server.process.wait()
    assert runs(child)
    stop_servers([server], grace_seconds=5)
    assert not runs(child)


def test_stopping_twice_does_no_harm(start):
    server = start("import time; time.sleep(600)")
    stop_servers([server])
    stop_servers([server])
    assert not server.is_running


def test_a_taken_port_is_refused_and_a_free_one_is_not():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(
            UnavailableError, match=f"Airflow cannot listen on 127.0.0.1:{port}: Address already in use"
        ):
            refuse_a_taken_port("Airflow", port)
    refuse_a_taken_port("Airflow", port)


def test_a_free_port_can_be_listened_on():
    with socket.socket() as listener:
        port = free_port()
        listener.bind(("127.0.0.1", port))
        listener.listen()
        assert listener.getsockname() == ("127.0.0.1", port)
