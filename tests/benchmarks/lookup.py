"""The endpoint beside a bare handler, and under open-loop load: one Granian worker, real stores, all rules on.

    make bench-lookup                                       20,000 users, 2,000 requests a second for 60 s
    python tests/benchmarks/lookup.py --users 2000 --seconds 5 --rate 500 --repeats 2

Throughput: closed loop over 32 connections, the endpoint and `lookup_bare.py` in turns; medians of the repeats, and
beside them the processor's time for a request, which other work on the machine hardly changes. `bare` asks Redis with
`redis.asyncio`, as one would write it; `bare_shared` over the endpoint's own connection, so that only rules and records
are between it and the endpoint.
Latency: open loop (`lookup_load.py`: moments of arrival drawn beforehand, latency counted from the moment a request was
due). Redis in front of Cassandra first, then Cassandra alone, then the embedded store. The generator is a process of
its own and is measured against a server that only repeats one answer. The last line is one JSON object.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import lookup_world
import redis
from machine import machine, versions

ROOT = Path(__file__).parents[2]
BESIDE = Path(__file__).parent
sys.path.insert(0, str(ROOT))

from pipelines.cassandra_schema import migrate  # noqa: E402
from pipelines.local_cassandra import start_cassandra  # noqa: E402
from pipelines.local_redis import start_redis  # noqa: E402
from pipelines.local_servers import free_port, stop_servers  # noqa: E402
from pipelines.stores.open import open_store  # noqa: E402
from pipelines.stores.places import Places  # noqa: E402

VERSIONS = ("starlette", "granian", "msgspec", "redis", "hiredis", "cassandra-driver", "lmdb", "numpy", "uvloop")
CONNECTIONS = 32
ITEMS = 20
KEY = "a key of the benchmark, and of nothing else"
COUNTRIES = ("DE", "US", "FR", "JP", "BR")
DEVICES = ("tv", "phone", "web")
REPEATS_ONE_ANSWER = """
import asyncio, sys, uvloop
ANSWER = b"HTTP/1.1 200 OK\\r\\ncontent-length: 2500\\r\\n\\r\\n" + b"x" * 2500
class Repeating(asyncio.Protocol):
    def connection_made(self, transport): self.transport = transport
    def data_received(self, data): self.transport.write(ANSWER)
async def main():
    server = await asyncio.get_running_loop().create_server(Repeating, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()
uvloop.run(main())
"""


def main() -> None:
    """Measure and say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--rate", type=float, default=2000, help="requests a second of the open loop")
    parser.add_argument("--seconds", type=float, default=60, help="of the open loop; a quarter for other stores")
    parser.add_argument("--repeats", type=int, default=5, help="of the throughput, 4 seconds each")
    parser.add_argument("--only", choices=["redis", "embedded", "cassandra"], help="measure one kind of store")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="marquee-bench-")))
        told: dict[str, object] = {"users": given.users, "repeats": given.repeats, "rate": given.rate}
        told["generator"] = _ceiling()
        if given.only != "embedded":
            pair, hot_port = _servers(folder, given.users, stack)
            if given.only != "cassandra":
                told |= _beside_bare(pair, hot_port, folder, given)
            alone = Places(pair.lists, cassandra_password=pair.cassandra_password)
            if given.only != "redis":
                told["cassandra_only"] = _other(alone, folder / "cassandra-only", given)
        if given.only in (None, "embedded"):
            home = folder / "embedded"
            home.mkdir()
            embedded = Places(str(home / "lists.lmdb"))
            with open_store(embedded) as store:
                lookup_world.publish(store, given.users)
            told["embedded"] = _other(embedded, home, given)
        print(json.dumps(told | {"versions": versions(*VERSIONS), "machine": _machine()}))


def _servers(folder: Path, users: int, stack: ExitStack) -> tuple[Places, int]:
    """A Cassandra and a Redis with the world in both, and the packed lists once more for the bare handler."""
    hot = start_redis(folder / "redis-server", port=free_port(), memory="2gb")
    stack.callback(stop_servers, [hot.server])
    ring = start_cassandra(
        folder / "cassandra-server", port=free_port(), storage_port=free_port(), password="for benchmarks"
    )
    stack.callback(stop_servers, list(ring.servers))
    places = Places(ring.address("bench_lookup"), cache=hot.address, cassandra_password=ring.password)
    migrate(places)
    began = time.monotonic()
    with open_store(places) as store:
        lookup_world.publish(store, users)
    with redis.Redis(port=hot.port) as client, client.pipeline(transaction=False) as pipe:
        for user_id, data in lookup_world.lists(users):
            pipe.set(f"bare:{user_id}", data)
        pipe.execute()
    _say(f"published {users:,} lists in {time.monotonic() - began:.0f} s")
    return places, hot.port


def _beside_bare(places: Places, hot_port: int, folder: Path, given: argparse.Namespace) -> dict[str, object]:
    """Throughput in turns with the bare handler, then the open loop; memory of the worker before it and after."""
    paths = _paths(given.users)
    bare_paths = [f"/bare/{path.split('/')[3].split('?')[0]}" for path in paths]
    rates: dict[str, list[float]] = {"ours": [], "bare": [], "bare_shared": []}
    costs: dict[str, list[float]] = {name: [] for name in rates}
    with _endpoint(places, folder / "pair") as (port, worker):
        _warm(port, given.users)
        with _bare(hot_port, "redis-py") as (bare_port, bare_worker), _bare(hot_port, "ours") as (shared_port, shared):
            turns = [
                ("ours", port, paths, worker),
                ("bare", bare_port, bare_paths, bare_worker),
                ("bare_shared", shared_port, bare_paths, shared),
            ]
            for number in range(given.repeats + 1):  # the first warms
                for name, at, asked, pid in turns if number % 2 else reversed(turns):
                    began = _cpu_seconds(pid)
                    said = _load(kind="closed", port=at, paths=asked, connections=CONNECTIONS, seconds=4)
                    cost = (_cpu_seconds(pid) - began) / said["requests"] * 1e6
                    _check(said, "store" if name == "ours" else None)
                    if number:
                        rates[name].append(said["per_second"])
                        costs[name].append(cost)
                    _say(f"{name:>11} {said['per_second']:9.0f} a second, {cost:6.1f} µs of the processor each")
        before = _rss_mb(worker)
        said = _load(kind="open", port=port, paths=paths, rate=given.rate, seconds=given.seconds)
        after = _rss_mb(worker)
    stores = _check(said, "store")
    ours, bare, shared_rate = (statistics.median(rates[name]) for name in ("ours", "bare", "bare_shared"))
    return {
        "requests_per_second": round(ours),
        "bare_requests_per_second": round(bare),
        "bare_shared_requests_per_second": round(shared_rate),
        "ratio_to_bare": round(ours / bare, 3),
        "ratio_to_bare_shared": round(ours / shared_rate, 3),
        **{f"{name}_processor_microseconds": round(statistics.median(found), 1) for name, found in costs.items()},
        "ratios": [round(one / other, 3) for one, other in zip(rates["ours"], rates["bare"], strict=True)],
        f"p50_ms_at_{given.rate:.0f}": said["p50_ms"],
        f"p99_ms_at_{given.rate:.0f}": said["p99_ms"],
        "p999_ms": said["p99.9_ms"],
        "max_ms": said["max_ms"],
        "errors": said["errors"],
        "requests": said["requests"],
        "answered_per_second": said["per_second"],
        "generator_late_p99_ms": said["late_p99_ms"],
        "rss_mb_before": before,
        "rss_mb_after": after,
        "stores_of_sampled_answers": stores,
    }


def _other(places: Places, home: Path, given: argparse.Namespace) -> dict[str, object]:
    """The same of another store: throughput, then the open loop, a quarter as long and at most at half of that."""
    with _endpoint(places, home) as (port, worker):
        _warm(port, min(given.users, 2000))
        before = _rss_mb(worker)
        paths = _paths(given.users)
        rates = []
        for _ in range(max(given.repeats - 2, 1)):
            said = _load(kind="closed", port=port, paths=paths, connections=CONNECTIONS, seconds=4)
            _check(said, "store")
            rates.append(said["per_second"])
        ours = statistics.median(rates)
        rate = min(given.rate, ours / 2)
        said = _load(kind="open", port=port, paths=paths, rate=rate, seconds=max(given.seconds / 4, 2))
        return {
            "requests_per_second": round(ours),
            "rate": round(rate),
            "p50_ms": said["p50_ms"],
            "p99_ms": said["p99_ms"],
            "errors": said["errors"],
            "requests": said["requests"],
            "rss_mb_before": before,
            "rss_mb_after": _rss_mb(worker),
            "stores_of_sampled_answers": _check(said, "store"),
        }


@contextmanager
def _endpoint(places: Places, home: Path) -> Iterator[tuple[int, int]]:
    """The real one: its port and the process id of its worker."""
    port = free_port()
    settings = {
        "MARQUEE_HOME": str(home),
        "MARQUEE_PORT": str(port),
        "MARQUEE_HOST": "127.0.0.1",
        "MARQUEE_LISTS": places.lists,
        "MARQUEE_CACHE": places.cache,
        "MARQUEE_CASSANDRA_PASSWORD": places.cassandra_password,
        "MARQUEE_API_KEYS": json.dumps({"bench": KEY}),
    }
    home.mkdir(parents=True, exist_ok=True)
    lookup_world.lay_down_snapshot(str(home / "snapshots"))
    command = ["-m", "jobs.serve_lookup", "--workers", "1"]
    with _process(command, settings, home / "endpoint.log") as process:
        _await(process, port, "/readyz", home / "endpoint.log")
        yield port, _worker_of(process)


@contextmanager
def _bare(redis_port: int, client: str) -> Iterator[tuple[int, int]]:
    port = free_port()
    command = [str(BESIDE / "lookup_bare.py"), str(port), str(redis_port), client]
    with tempfile.TemporaryDirectory() as folder, _process(command, {}, Path(folder) / "bare.log") as process:
        _await(process, port, "/bare/1", Path(folder) / "bare.log")
        yield port, _worker_of(process)


@contextmanager
def _process(command: list[str], settings: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MARQUEE_")}
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env=environment | dict(settings), stdout=said, stderr=said
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)


def _await(process: subprocess.Popen[bytes], port: int, path: str, log: Path, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(_request(port, path), timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{path} on port {port} does not answer: {log.read_text()[-2000:]}")
            time.sleep(0.1)


def _request(port: int, path: str) -> urllib.request.Request:
    return urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=_headers())


def _headers() -> dict[str, str]:
    return {"Authorization": f"Bearer {KEY}"}


def _paths(users: int, count: int = 20_000) -> list[str]:
    """What is asked for: users at random, from somewhere, on something."""
    rng = random.Random(11)
    return [
        f"/v1/recommendations/{rng.randint(1, users)}?k={ITEMS}"
        f"&surface=home&device={rng.choice(DEVICES)}&country={rng.choice(COUNTRIES)}"
        for _ in range(count)
    ]


def _warm(port: int, users: int) -> None:
    """Everybody, more than once, so that what the hot copy lacks is copied: so it is after an hour of a real day."""
    paths = [f"/v1/recommendations/{user_id}?k={ITEMS}" for user_id in range(1, users + 1)]
    for start in range(0, users, 2000):
        _load(kind="closed", port=port, paths=paths[start : start + 2000], connections=8, seconds=5)


def _load(**asked: object) -> dict:
    """What the generator found, in its own process."""
    done = subprocess.run(
        [sys.executable, str(BESIDE / "lookup_load.py")],
        input=json.dumps(asked | {"headers": _headers()}),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def _check(said: dict, key: str | None) -> dict[str, int]:
    """The answers that were kept have their titles; returns how many came from which store."""
    counts: dict[str, int] = {}
    for body in said["kept"]:
        answer = json.loads(body)
        if "items" not in answer:
            _say(f"refused: {body[:200]}")
            continue
        ids = [item["item_id"] for item in answer["items"]]
        if len(ids) != ITEMS or len(set(ids)) != ITEMS:
            sys.exit(f"an answer has {len(set(ids))} titles, not {ITEMS}: {body[:2000]}")
        if key:
            name = f"{answer['source']}/{answer[key]}"
            counts[name] = counts.get(name, 0) + 1
    return counts


def _ceiling() -> dict[str, object]:
    """What the generator can ask for, of a server that repeats one answer."""
    port = free_port()
    command = ["-c", REPEATS_ONE_ANSWER, str(port)]
    with tempfile.TemporaryDirectory() as folder, _process(command, {}, Path(folder) / "log") as process:
        _await(process, port, "/", Path(folder) / "log")
        said = _load(kind="closed", port=port, paths=["/"], connections=CONNECTIONS, seconds=3)
    found = {"requests_per_second": said["per_second"], "microseconds_a_request": said["generator_microseconds"]}
    _say(f"the generator: {found}")
    return found


def _worker_of(process: subprocess.Popen[bytes]) -> int:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(children[0])


def _cpu_seconds(pid: int) -> float:
    """Of all threads of a process, its own and the kernel's for it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise LookupError(pid)


def _machine() -> dict[str, object]:
    return {**machine(), "load_average": round(os.getloadavg()[0], 2)}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
