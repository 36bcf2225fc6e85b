"""Asks one HTTP server over kept connections, as cheaply as Python can, in a process of its own.

    python tests/benchmarks/lookup_load.py    one JSON object on standard input, one on standard output

Two ways. *Closed*: so many connections, each asks again as soon as it was answered; what comes out is the throughput.
*Open*: moments of arrival are drawn beforehand (a Poisson process), and a latency is counted from the moment a request
was due, whether or not a connection was free for it then, so that a server that stalls is charged for all who waited.
Requests are encoded beforehand; of the answers only status and length are read, and some are kept whole to be checked.
No event loop: `epoll`, under a `select` that wakes in microseconds where `epoll` knows milliseconds.
"""

import json
import select
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass, field

import numpy as np

CHUNK = 1 << 18
KEEP_ONE_IN = 499
OPEN_CONNECTIONS = 64
# What is still unanswered so long after the last was due is an error.
PATIENCE_SECONDS = 10.0


@dataclass
class Tally:
    """What came back: seconds by request, statuses, connections that broke, some whole answers."""

    seconds: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)
    broken: int = 0
    kept: list[str] = field(default_factory=list)

    def take(self, head: bytes, body: bytes, seconds: float) -> None:
        """One answer."""
        self.seconds.append(seconds)
        status = head[9:12].decode("latin-1")
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status != "200" or len(self.seconds) % KEEP_ONE_IN == 0:
            self.kept.append(body.decode("utf-8", "replace"))


class Connection:
    """One connection: at most one request is on its way."""

    __slots__ = ("answer", "began", "expected", "fileno", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.fileno = self.socket.fileno()
        self.answer = b""
        self.expected = 0
        self.began = 0.0

    def ask(self, request: bytes, began: float) -> None:
        """Send a request; a few hundred bytes fit into the kernel's buffer."""
        self.began = began
        self.socket.send(request)

    def hear(self) -> tuple[bytes, bytes] | None:
        """Head and body, once they are whole. Raises OSError if the server hung up."""
        data = self.socket.recv(CHUNK)
        if not data:
            raise ConnectionResetError
        self.answer = self.answer + data if self.answer else data
        if not self.expected:
            end = self.answer.find(b"\r\n\r\n")
            if end < 0:
                return None
            head = self.answer[:end].lower()
            at = head.find(b"content-length: ")
            length = int(head[at + 16 :].split(b"\r", 1)[0]) if at >= 0 else 0
            self.expected = end + 4 + length
        if len(self.answer) < self.expected:
            return None
        head, _, body = self.answer.partition(b"\r\n\r\n")
        self.answer, self.expected = b"", 0
        return head, body


def closed(port: int, requests: list[bytes], connections: int, seconds: float) -> tuple[Tally, float]:
    """Every connection asks again at once; returns what came back, and after how many seconds the last did."""
    tally, epoll, held = Tally(), select.epoll(), {}
    following = _cycled(requests)
    started = time.perf_counter()
    ends = started + seconds
    for _ in range(connections):
        _open(port, epoll, held).ask(next(following), time.perf_counter())
    waiting = connections
    while waiting:
        for fileno, _ in epoll.poll(PATIENCE_SECONDS) or [(0, 0)]:
            if not fileno:
                tally.broken += waiting
                return tally, time.perf_counter() - started
            one = held[fileno]
            try:
                heard = one.hear()
            except OSError:
                tally.broken += 1
                _close(epoll, held, one)
                one = _open(port, epoll, held)
                one.ask(next(following), time.perf_counter())
                continue
            if heard is None:
                continue
            now = time.perf_counter()
            tally.take(*heard, now - one.began)
            if now < ends:
                one.ask(next(following), now)
            else:
                waiting -= 1
    return tally, time.perf_counter() - started


def opened(port: int, requests: list[bytes], rate: float, seconds: float, seed: int) -> tuple[Tally, float]:
    """Requests come when they come; returns what came back, and after how many seconds the last did."""
    rng = np.random.default_rng(seed)
    due = np.cumsum(rng.exponential(1 / rate, int(rate * seconds))).tolist()
    tally, epoll, held = Tally(), select.epoll(), {}
    free = deque(_open(port, epoll, held) for _ in range(OPEN_CONNECTIONS))
    following, waiting, at = _cycled(requests), deque(), 0
    started = time.perf_counter() + 0.05
    gives_up = started + due[-1] + PATIENCE_SECONDS
    while len(tally.seconds) + tally.broken < len(due):
        now = time.perf_counter()
        while at < len(due) and started + due[at] <= now:
            waiting.append((started + due[at], now))
            at += 1
        while waiting and free:
            was_due, noticed = waiting.popleft()
            # How late the generator was, not how long all connections waited for answers: that is the server's.
            tally.late.append(noticed - was_due)
            free.popleft().ask(next(following), was_due)
        if now > gives_up:
            tally.broken += len(due) - len(tally.seconds) - tally.broken
            break
        rest = started + due[at] - time.perf_counter() if at < len(due) else 0.1
        if not select.select([epoll], [], [], max(rest, 0))[0]:
            continue
        for fileno, _ in epoll.poll(0):
            one = held[fileno]
            try:
                heard = one.hear()
            except OSError:
                tally.broken += 1
                _close(epoll, held, one)
                free.append(_open(port, epoll, held))
                continue
            if heard is not None:
                tally.take(*heard, time.perf_counter() - one.began)
                free.append(one)
    return tally, time.perf_counter() - started


def _open(port: int, epoll: select.epoll, held: dict[int, Connection]) -> Connection:
    one = Connection(port)
    held[one.fileno] = one
    epoll.register(one.fileno, select.EPOLLIN)
    return one


def _close(epoll: select.epoll, held: dict[int, Connection], one: Connection) -> None:
    epoll.unregister(one.fileno)
    del held[one.fileno]
    one.socket.close()


def _cycled(requests: list[bytes]):
    while True:
        yield from requests


def encoded(paths: list[str], headers: dict[str, str]) -> list[bytes]:
    """Requests as they go over the wire."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return [f"GET {path} HTTP/1.1\r\nHost: bench\r\n{lines}\r\n".encode() for path in paths]


def _main() -> None:
    given = json.load(sys.stdin)
    requests = encoded(given["paths"], given.get("headers", {}))
    cpu = time.process_time()
    if given["kind"] == "closed":
        tally, seconds = closed(given["port"], requests, given["connections"], given["seconds"])
    else:
        tally, seconds = opened(given["port"], requests, given["rate"], given["seconds"], given.get("seed", 7))
    cpu = time.process_time() - cpu
    times = np.array(tally.seconds or [np.nan]) * 1e3
    late = np.array(tally.late or [0.0]) * 1e3
    told = {
        "requests": len(tally.seconds) + tally.broken,
        "per_second": round(len(tally.seconds) / seconds, 1),
        "statuses": tally.statuses,
        "broken": tally.broken,
        "errors": tally.broken + sum(count for status, count in tally.statuses.items() if status != "200"),
        **{f"p{share}_ms": round(float(np.percentile(times, share)), 3) for share in (50, 90, 99, 99.9)},
        "max_ms": round(float(times.max()), 3),
        "late_p99_ms": round(float(np.percentile(late, 99)), 3),
        "generator_microseconds": round(cpu / max(len(tally.seconds), 1) * 1e6, 2),
        "kept": tally.kept[:300],
    }
    print(json.dumps(told))


if __name__ == "__main__":
    _main()
