"""How fast lists go out: `jobs.write_lists` beside a bare loop that writes the same bytes, and the memory it takes.

    make bench-publish                                       servers of its own, 50,000 users in two shards
    python tests/benchmarks/publish.py --redis redis://127.0.0.1:6379/30 --cassandra cassandra://USER@HOST/KEYSPACE

The job reads the lake, checks every place of every list, packs, writes, reads a sample back and records it, a process a
shard. The bare loop has the packed bytes in memory and only writes: pipelined `SET` with an expiry, or prepared inserts
by `execute_concurrent_with_args`; as many processes. They take turns; the figure is the median of the repeats. Both
are timed from the first connection to the last answer, without the start of Python; what the job takes with it is said
beside. Peak memory is that of one job for all users. The last line is one JSON object.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "worlds"))
from machine import MEASURED, machine, versions
from made_lists import DAY, make_lists, open_run, planned_run
from publishing import settings_of

from pipelines.days import end_of
from pipelines.lake import Lake
from pipelines.lists.packing import pack_many
from pipelines.lists.place_checks import check_places
from pipelines.lists.stored import stored_lists
from pipelines.runs import Run
from pipelines.shards import shards
from pipelines.stores.interface import tally_of
from pipelines.stores.open import open_store
from pipelines.stores.places import Places

ROOT = Path(__file__).parents[2]
VERSIONS = ("redis", "cassandra-driver", "pyarrow", "deltalake", "numpy")
SHARDS = 2
SETS_A_TURN = 500
EXPIRY_SECONDS = 14 * 86_400
CONCURRENCY = 256


@dataclass(frozen=True)
class Ended:
    """Processes that ran beside each other: the longest time each kind of clock saw, and the largest memory."""

    seconds: float
    wall_seconds: float
    peak_mb: float


def main() -> None:
    """Measure and say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--redis", default="", help="redis://HOST:PORT/DATABASE, emptied; else a server of its own")
    parser.add_argument("--cassandra", default="", help="cassandra://USER@HOST/KEYSPACE, dropped after; else its own")
    parser.add_argument("--memory-users", type=int, nargs="*", default=[20_000, 200_000])
    parser.add_argument("--only", choices=["redis", "cassandra"], help="measure one store")
    parser.add_argument("--bare", nargs=3, help=argparse.SUPPRESS)  # store, file, attempt: one process of the loop
    given = parser.parse_args()
    if given.bare:
        _bare(given.bare[0], Path(given.bare[1]), int(given.bare[2]))
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="marquee-bench-")))
        places = _places(given, folder, stack)
        told: dict[str, object] = {"users": given.users, "repeats": given.repeats, **_stages(folder)}
        for name, place in places.items():
            told |= _beside_the_bare_loop(name, place, folder / name, given.users, given.repeats)
        if "redis" in places:
            for users in given.memory_users:
                told[f"peak_mb_{users // 1000}k"] = _peak_mb(places["redis"], folder / f"memory-{users}", users)
        print(json.dumps(told | {"versions": versions(*VERSIONS), "machine": machine()}))


def _places(given: argparse.Namespace, folder: Path, stack: ExitStack) -> dict[str, Places]:
    found = {}
    if given.only != "cassandra":
        found["redis"] = Places(given.redis or _own_redis(folder, stack))
        _empty(found["redis"].lists)
        stack.callback(_empty, found["redis"].lists)
    if given.only != "redis":
        from pipelines.cassandra_schema import migrate
        from pipelines.stores.cassandra_session import connect

        password = os.environ.get("MARQUEE_CASSANDRA_PASSWORD", "")
        place = Places(given.cassandra, cassandra_password=password) if given.cassandra else _own_ring(folder, stack)
        migrate(place)
        cluster, session = connect(place)
        stack.callback(cluster.shutdown)
        stack.callback(session.execute, f"DROP KEYSPACE {place.lists.rpartition('/')[2]}")
        found["cassandra"] = place
    return found


def _own_redis(folder: Path, stack: ExitStack) -> str:
    from pipelines.local_redis import start_redis
    from pipelines.local_servers import free_port, stop_servers

    server = start_redis(folder / "redis-server", port=free_port(), memory="2gb")
    stack.callback(stop_servers, [server.server])
    return server.address


def _own_ring(folder: Path, stack: ExitStack) -> Places:
    from pipelines.local_cassandra import start_cassandra
    from pipelines.local_servers import free_port, stop_servers

    ring = start_cassandra(
        folder / "cassandra-server", port=free_port(), storage_port=free_port(), password="for benchmarks"
    )
    stack.callback(stop_servers, list(ring.servers))
    return Places(ring.address("bench_publish"), cassandra_password=ring.password)


def _empty(address: str) -> None:
    import redis

    with redis.Redis.from_url(address) as client:
        client.flushdb()


def _made(place: Places, home: Path, users: int, shard_count: int) -> tuple[Lake, Run]:
    lake = Lake(str(home / "lake"))
    with open_store(place) as store:
        opened = open_run(lake, store, planned_run(shard_count=shard_count))
    make_lists(lake, opened, users)
    return lake, opened


def _beside_the_bare_loop(name: str, place: Places, home: Path, users: int, repeats: int) -> dict[str, object]:
    """The job and the loop in turns; medians."""
    lake, this_run = _made(place, home, users, SHARDS)
    files = []
    for shard in map(str, shards(SHARDS)):
        files.append(home / f"packed-{len(files)}")
        _lay_down(_packed(lake, this_run, shard), files[-1])
    jobs, loops = [], []
    for number in range(repeats + 1):  # the first warms the server
        if name == "redis":
            _empty(place.lists)
        with open_store(place) as store:
            this_run = open_run(lake, store, replace(this_run, attempt=0))
        variables = {"MARQUEE_HOME": str(home), **settings_of(place)}
        job = [["-m", "jobs.write_lists", "--day", str(DAY), "--shard", str(shard)] for shard in shards(SHARDS)]
        loop = [[__file__, "--bare", name, str(file), str(-number - 1)] for file in files]
        turns: list[Callable[[], None]] = [
            lambda: jobs.append(_run(job, variables)),  # noqa: B023  (called before the next turn)
            lambda: loops.append(_run(loop, variables)),  # noqa: B023
        ]
        for turn in turns if number % 2 else reversed(turns):
            turn()
    seconds, bare = (statistics.median(one.seconds for one in kind[1:]) for kind in (jobs, loops))
    return {
        f"{name}_lists_per_second": round(users / seconds),
        f"{name}_bare_lists_per_second": round(users / bare),
        f"{name}_ratio": round(bare / seconds, 3),
        f"{name}_ratios": [round(loop.seconds / job.seconds, 3) for job, loop in zip(jobs[1:], loops[1:], strict=True)],
        f"{name}_job_seconds_with_start": round(statistics.median(one.wall_seconds for one in jobs[1:]), 2),
    }


def _peak_mb(place: Places, home: Path, users: int) -> float:
    _made(place, home, users, 1)
    ended = _run([["-m", "jobs.write_lists", "--day", str(DAY)]], {"MARQUEE_HOME": str(home), **settings_of(place)})
    _empty(place.lists)
    return round(ended.peak_mb, 1)


def _run(commands: Sequence[list[str]], variables: dict[str, str]) -> Ended:
    """Processes beside each other; each says on its last line how many seconds it worked."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MARQUEE_")},
        **variables,
    }
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder) / str(number) for number in range(len(commands))]
        processes = []
        for command, output in zip(commands, outputs, strict=True):
            measured = [sys.executable, "-c", MEASURED, sys.executable, *command]
            with output.open("wb") as said:
                processes.append(subprocess.Popen(measured, cwd=ROOT, env=environment, stdout=said, stderr=said))
        codes = [process.wait() for process in processes]
        wall = time.monotonic() - started
        texts = [output.read_text() for output in outputs]
    if any(codes):
        sys.exit("\n".join(texts))
    said_last = [[json.loads(line) for line in text.splitlines()[-2:]] for text in texts]
    return Ended(max(one["seconds"] for one, _ in said_last), wall, max(one["peak_mb"] for _, one in said_last))


def _packed(lake: Lake, this_run: Run, shard: str) -> Iterator[tuple[int, bytes]]:
    for block in stored_lists(lake, this_run.day, this_run.run_id, shard):
        yield from pack_many(block, generated_at=end_of(this_run.day))


def _lay_down(lists: Iterator[tuple[int, bytes]], file: Path) -> None:
    with file.open("wb") as out:
        for user_id, data in lists:
            out.write(user_id.to_bytes(8, "big") + len(data).to_bytes(4, "big") + data)


def _picked_up(file: Path) -> list[tuple[int, bytes]]:
    data, lists, at = file.read_bytes(), [], 0
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at + 8 : at + 12], "big")
        lists.append((int.from_bytes(data[at : at + 8], "big"), data[at + 12 : end]))
        at = end
    return lists


def _bare(name: str, file: Path, attempt: int) -> None:
    """One process of the bare loop: the lists are in memory, and are written."""
    lists = _picked_up(file)
    seconds = (_bare_redis if name == "redis" else _bare_cassandra)(lists, attempt)
    print(json.dumps({"seconds": seconds}))


def _bare_redis(lists: list[tuple[int, bytes]], attempt: int) -> float:
    import redis

    started = time.monotonic()
    with redis.Redis.from_url(os.environ["MARQUEE_LISTS"]) as client:
        for start in range(0, len(lists), SETS_A_TURN):
            pipe = client.pipeline(transaction=False)
            for user_id, data in lists[start : start + SETS_A_TURN]:
                pipe.set(f"bare:{attempt}:{user_id}", data, ex=EXPIRY_SECONDS)
            pipe.execute()
    return time.monotonic() - started


def _bare_cassandra(lists: list[tuple[int, bytes]], attempt: int) -> float:
    from cassandra.concurrent import execute_concurrent_with_args

    from pipelines.stores.cassandra_session import connect

    place = Places(os.environ["MARQUEE_LISTS"], cassandra_password=os.environ["MARQUEE_CASSANDRA_PASSWORD"])
    started = time.monotonic()
    cluster, session = connect(place)
    insert = session.prepare("INSERT INTO lists (attempt, user_id, data) VALUES (?, ?, ?) USING TIMESTAMP ? AND TTL ?")
    values = [(attempt, user_id, data, 1, EXPIRY_SECONDS) for user_id, data in lists]
    execute_concurrent_with_args(session, insert, values, concurrency=CONCURRENCY)
    seconds = time.monotonic() - started
    cluster.shutdown()
    return seconds


def _stages(folder: Path, users: int = 10_000) -> dict[str, object]:
    """Processor time of what the job does before it writes, in microseconds a list."""
    lake, this_run = _made(Places(str(folder / "stages" / "lists.lmdb")), folder / "stages", users, 1)
    blocks = list(stored_lists(lake, DAY, this_run.run_id))
    lists = [pair for block in blocks for pair in pack_many(block, generated_at=end_of(DAY))]
    stages: dict[str, Callable[[], object]] = {
        "read": lambda: list(stored_lists(lake, DAY, this_run.run_id)),
        "check": lambda: list(check_places(blocks, "lists")),
        "pack": lambda: [pair for block in blocks for pair in pack_many(block, generated_at=end_of(DAY))],
        "checksum": lambda: tally_of(lists),
    }
    found = {}
    for name, stage in stages.items():
        times = []
        for _ in range(3):
            started = time.process_time()
            stage()
            times.append(time.process_time() - started)
        found[name] = round(min(times) / users * 1e6, 2)
    return {"microseconds_a_list": found}


if __name__ == "__main__":
    main()
