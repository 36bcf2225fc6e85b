"""The reference day, from extract to live, step by step.

    python tests/benchmarks/day.py                                              2,000 users: does it all still work
    python tests/benchmarks/day.py --users 200000 --titles 8000 --events 10000000 --beside 50000 --home FOLDER
    python tests/benchmarks/day.py --users 200000 ... --home FOLDER --until train_als     a part now, the rest later

One night of `dags/recommend_daily.py` over a simulated service: each task is the job's own command in a process of its
own, one after another but for the shards, two of which run beside each other as Airflow would let them. What comes
before that night is timed apart: the world, the past's extraction and features, and a ranker. What was measured is kept
in the folder, so that a day can be measured in pieces; without --home it is a temporary one.

A step's seconds are those until its command ends; its memory is the largest sum of what its processes held at one
moment (a JVM included); its processor time is that of all of them. Beside each stands how long 5 million additions took
just before it, for the speed of a shared machine changes within the hour. With --beside a second day of the same titles
and as many events a user is measured: `slope` says how the seconds grew relative to the users (1 is in line with them),
`line` draws processor time through both sizes. The last line is one JSON object.
"""

import argparse
import ctypes
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path

from machine import machine, versions

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "tests" / "dags" / "recorded" / "recommend_daily.txt"
LAST_DAY = date(2026, 6, 30)  # of every simulated world
EVENTS_A_USER_DAY = 3.0
CORES = 2
SECONDS_ASKED, MB_ASKED = 20 * 60, 8_000
LOOP = 5_000_000
SAMPLE_SECONDS = 0.2
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20
# The weekly ranker only has to be there, as lists are ranked by one: it and what retrieves for it learn little.
RANKER = ("--truth-days", "1", "--ranker.epochs", "1", "--towers.epochs", "1", "--towers.history-length", "10")
VERSIONS = ("pyspark", "torch", "numba", "numpy", "pyarrow", "duckdb", "deltalake", "faiss-cpu")


@dataclass(frozen=True)
class Measured:
    """What a step took."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    loop_seconds: float


@dataclass(frozen=True)
class World:
    """Of which size the simulated service is."""

    users: int
    titles: int
    events: int
    seed: int

    @property
    def days(self) -> int:
        return max(math.ceil(self.events / self.users / EVENTS_A_USER_DAY), 4)

    def of(self, users: int) -> "World":
        """As many titles, and events a user, for fewer users."""
        return World(users, self.titles, self.events * users // self.users, self.seed)


def main() -> None:
    """Measure and say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=2_000)
    parser.add_argument("--titles", type=int, default=500)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--beside", type=int, help="users of a second day, for the slope")
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--learning", default="", help='flags of `jobs.open_run`: "--towers.epochs 1"')
    parser.add_argument("--home", type=Path, help="kept, with what was measured in it")
    parser.add_argument("--until", help="stop after this step, as `past/build_features` or `day/train_als`")
    given = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    _adopt_orphans()
    world = World(given.users, given.titles, given.events, given.seed)
    with _folder(given.home) as home:
        worlds = [world] if given.beside is None else [world, world.of(given.beside)]
        days = [Day(home / str(one.users), one, given.learning.split(), given.shards) for one in worlds]
        for one in days:
            one.measure(given.until)
        print(json.dumps(_result(days, given.learning)))


class Day:
    """A simulated service's past and its last night, in a folder of its own."""

    def __init__(self, home: Path, world: World, learning: Sequence[str], shards: int) -> None:
        self.home, self.world, self.learning, self.shards = home, world, learning, shards
        self.kept = home / "measured.json"
        self.parts: dict[str, dict[str, Measured]] = {"past": {}, "day": {}}
        if self.kept.exists():
            said = json.loads(self.kept.read_text())
            if said["world"] != asdict(world):
                sys.exit(f"{home} holds another world: {said['world']}")
            for part, steps in said["parts"].items():
                self.parts[part] = {name: Measured(**step) for name, step in steps.items()}

    def commands(self) -> Iterator[tuple[str, str, list[list[str]]]]:
        """Part, step, and the commands of it that run beside each other."""
        world, day, eve = self.world, str(LAST_DAY), str(LAST_DAY - timedelta(days=1))
        past = ["--from-day", str(LAST_DAY - timedelta(days=world.days - 1)), "--day", eve]
        weekly = ["--day", eve, "--cadence", "weekly"]
        sizes = {"--users": world.users, "--titles": world.titles, "--days": world.days, "--seed": world.seed}
        simulated = ["--source", "simulated", *(str(word) for pair in sizes.items() for word in pair)]
        for name, arguments in (
            ("load_warehouse", simulated),
            ("extract_events", past),
            ("build_features", past),
            ("open_run", [*weekly, *RANKER]),
            ("embed_items", weekly),
            ("train_als", weekly),
            ("train_towers", weekly),
            ("assemble_models", weekly),
            ("train_ranker", weekly[:2]),
        ):
            yield "past", name, [[name, *arguments]]
        for name, *arguments in self._nightly(day):
            commands = [[name, *arguments]]
            if name == "open_run":
                commands = [[name, "--day", day, "--shard-count", str(self.shards), *self.learning]]
            elif "--shard" in arguments:
                commands = [[name, "--day", day, "--shard", f"{one}/{self.shards}"] for one in range(self.shards)]
            yield "day", name, commands

    @staticmethod
    def _nightly(day: str) -> Iterator[list[str]]:
        """The commands of a scheduled night, from the record that the DAG is held against: job, then arguments."""
        title, *lines = RECORDED.read_text(encoding="utf-8").split("\n\n")[0].splitlines()
        recorded = title.removeprefix("# The run of ").partition(",")[0]
        for line in lines:
            yield line.partition(" -m jobs.")[2].replace(recorded, day).split()

    def measure(self, until: str | None) -> None:
        """Take every step that was not measured yet."""
        self.home.mkdir(parents=True, exist_ok=True)
        for part, name, commands in self.commands():
            if name not in self.parts[part]:
                measured = self._step(commands)
                self.parts[part][name] = measured
                kept = {"world": asdict(self.world), "parts": _as_json(self.parts)}
                self.kept.write_text(json.dumps(kept, indent=1))
                print(
                    f"{self.world.users:,} users  {part}/{name:<24} {measured.seconds:7.1f} s {measured.peak_mb:7,.0f} "
                    f"MB {measured.cpu_seconds:7.1f} s of processor  (loop {measured.loop_seconds:.2f} s)",
                    flush=True,
                )
            if until == f"{part}/{name}":
                break

    def _step(self, commands: list[list[str]]) -> Measured:
        environment = {**os.environ, "MARQUEE_HOME": str(self.home.absolute()), "MLFLOW_DISABLE_TELEMETRY": "true"}
        if len(commands) > 1:
            environment["OMP_NUM_THREADS"] = "1"
        loop = loop_seconds()
        total, cpu, peak = 0.0, 0.0, 0.0
        for start in range(0, len(commands), CORES):
            seconds, used, held = beside_each_other(commands[start : start + CORES], environment, self.home)
            total, cpu, peak = total + seconds, cpu + used, max(peak, held)
        return Measured(round(total, 2), round(cpu, 2), round(peak, 1), round(loop, 3))

    def bytes(self) -> dict[str, int]:
        """What lies in each part of the folder; of the lake by table."""
        parts = [path for path in self.home.iterdir() if path.name not in ("lake", self.kept.name)]
        sizes = {path.name: _size(path) for path in sorted(parts)}
        lake = self.home / "lake"
        return sizes | {f"lake/{path.name}": _size(path) for path in sorted(lake.iterdir())} if lake.exists() else sizes


def beside_each_other(
    commands: Sequence[Sequence[str]], environment: dict[str, str], home: Path
) -> tuple[float, float, float]:
    """Run jobs at once: seconds until the last ends, processor seconds, and the most megabytes held at one moment.

    Ends the benchmark, with what it said last, if a job fails.
    """
    log = home / "said.log"
    with log.open("wb") as said, _watched_memory() as held:
        started = time.monotonic()
        running = {
            subprocess.Popen(
                [sys.executable, "-m", f"jobs.{command[0]}", *command[1:]],
                cwd=ROOT,
                env=environment,
                stdout=said,
                stderr=said,
            ).pid
            for command in commands
        }
        seconds, cpu, largest, codes = 0.0, 0.0, 0.0, []
        while True:
            try:
                # A JVM outlives the Python that started it by a moment; it is ours then.
                pid, status, used = os.wait4(-1, 0)
            except ChildProcessError:
                break
            cpu += used.ru_utime + used.ru_stime
            largest = max(largest, used.ru_maxrss / 1024)
            if pid in running:
                running.remove(pid)
                codes.append(os.waitstatus_to_exitcode(status))
                seconds = time.monotonic() - started
    if any(codes):
        sys.exit(f"{commands}\n{log.read_text()[-3000:]}")
    # One that was short of a sample is told by the kernel.
    return seconds, cpu, max(held[0], largest)


@contextmanager
def _watched_memory() -> Iterator[list[float]]:
    """The most megabytes that all processes below this one held at one moment, sampled."""
    peak, has_ended = [0.0], threading.Event()

    def watch() -> None:
        while not has_ended.wait(SAMPLE_SECONDS):
            peak[0] = max(peak[0], _held_below(os.getpid()))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        has_ended.set()
        thread.join()


def _held_below(root: int) -> float:
    parents: dict[int, int] = {}
    pages: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(folder.name)], pages[int(folder.name)] = int(words[1]), int(words[21])
    total = 0.0
    for pid, count in pages.items():
        above = parents[pid]
        while above not in (0, root) and above in parents:
            above = parents[above]
        if above == root:
            total += count * PAGE_MB
    return total


def _adopt_orphans() -> None:
    """Ask Linux to make this process the parent of what its children leave behind, so that it is counted."""
    if ctypes.CDLL(None).prctl(36, 1, 0, 0, 0):
        sys.exit("this benchmark needs Linux")


def loop_seconds() -> float:
    """How long 5 million additions take in Python, here and now."""
    started, total = time.perf_counter(), 0
    for number in range(LOOP):
        total += number
    return time.perf_counter() - started


def _result(days: Sequence[Day], learning: str) -> dict[str, object]:
    first = days[0]
    steps = first.parts["day"]
    seconds = sum(step.seconds for step in steps.values())
    peak = max((step.peak_mb for step in steps.values()), default=0.0)
    result: dict[str, object] = {
        "seconds": round(seconds, 1),
        "peak_mb": peak,
        "is_within": seconds <= SECONDS_ASKED and peak <= MB_ASKED,
        **_as_json({"steps": steps, "past": first.parts["past"]}),
        "bytes": first.bytes(),
        "world": asdict(first.world) | {"days": first.world.days},
        "shards": first.shards,
        "learning": learning,
        "loop_seconds_of_20_million": round(loop_seconds() * 20_000_000 / LOOP, 2),
        "machine": machine(),
        "versions": versions(*VERSIONS),
    }
    if len(days) > 1:
        other = days[1]
        grown = first.world.users / other.world.users
        both = {name: (step, other.parts["day"][name]) for name, step in steps.items() if name in other.parts["day"]}
        whole = [sum(pair[at].seconds for pair in both.values()) for at in (0, 1)]
        result |= {
            "beside": {"world": asdict(other.world), **_as_json({"steps": other.parts["day"]}), "bytes": other.bytes()},
            "slope": {name: round(one.seconds / less.seconds / grown, 3) for name, (one, less) in both.items()}
            | ({"all": round(whole[0] / whole[1] / grown, 3)} if both else {}),
            "line": {
                name: line((less.cpu_seconds, other.world.users), (one.cpu_seconds, first.world.users))
                for name, (one, less) in both.items()
            },
        }
    return result


def line(less: tuple[float, int], more: tuple[float, int]) -> dict[str, float]:
    """The straight line through two sizes: processor seconds whatever the users, and those of each million of them."""
    rate = (more[0] - less[0]) / (more[1] - less[1])
    return {"fixed": round(less[0] - rate * less[1], 2), "a_million_users": round(rate * 1_000_000, 1)}


def _as_json(parts: dict[str, dict[str, Measured]]) -> dict[str, dict[str, dict[str, float]]]:
    return {part: {name: asdict(step) for name, step in steps.items()} for part, steps in parts.items()}


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_blocks * 512 for file in files if file.is_file())


@contextmanager
def _folder(home: Path | None) -> Iterator[Path]:
    if home is not None:
        yield home
        return
    with tempfile.TemporaryDirectory(prefix="marquee-day-") as made:
        yield Path(made)


if __name__ == "__main__":
    main()
