"""Days of made lists in a home of their own, published by jobs that are processes, into any store."""

import json
import multiprocessing
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from audited import plant_promotion
from made_lists import make_lists, open_run, planned_run
from night import ROOT

from feature_defs.recommendations import RECOMMENDATIONS
from pipelines.days import end_of
from pipelines.lake import Lake
from pipelines.lists.packing import pack_many
from pipelines.lists.stored import stored_lists
from pipelines.runs import Run, step
from pipelines.shards import parse_shard
from pipelines.stores.interface import ListStore, Live, Tally, tally_of
from pipelines.stores.open import open_store
from pipelines.stores.places import Places

USERS_COUNT = 40
SHARDS = ("0/2", "1/2")


@dataclass
class Publishing:
    """A lake and a store; `places` says where the lists are."""

    home: Path
    places: Places
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def lake(self) -> Lake:
        return Lake(str(self.home / "lake"))

    def store(self) -> ListStore:
        return open_store(self.places)

    def make(self, day: date, number: int = 1, users_count: int = USERS_COUNT) -> Run:
        with self.store() as store:
            opened = open_run(self.lake, store, planned_run(day, number))
        make_lists(self.lake, opened, users_count, plant_promotion(self.home, day))
        return opened

    def begin_again(self, this_run: Run) -> Run:
        """A new attempt at a run, of which the lists are made."""
        with self.store() as store:
            return open_run(self.lake, store, replace(this_run, attempt=0))

    def start(self, job: str, *arguments: object, **variables: str) -> "subprocess.Popen[str]":
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MARQUEE_")},
            "MARQUEE_HOME": str(self.home),
            **settings_of(self.places),
            **self.variables,
            **variables,
        }
        command = [sys.executable, "-m", f"jobs.{job}", *map(str, arguments)]
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, job: str, *arguments: object, **variables: str) -> "subprocess.CompletedProcess[str]":
        process = self.start(job, *arguments, **variables)
        said, complained = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, said, complained)

    def must(self, job: str, *arguments: object) -> dict[str, object]:
        ended = self.run(job, *arguments)
        assert ended.returncode == 0, f"{job} {arguments}: {ended.stdout}\n{ended.stderr}"
        said: dict[str, object] = json.loads(ended.stdout.splitlines()[-1])
        return said

    def write(self, this_run: Run, parts: Sequence[str] = SHARDS) -> None:
        """Its lists, written and recorded as by `jobs.write_lists`, without a process."""
        lists = self.expected(this_run)
        with self.store() as store:
            for shard in map(parse_shard, parts):
                of_shard = [pair for pair in lists.items() if pair[0] % shard.count == shard.index]
                with step(self.lake, this_run, "write_lists", str(shard)) as work:
                    tally = store.put_many(this_run.run_id, this_run.attempt, of_shard, part=str(shard))
                    work.reads = {"recommendations": self.lake.version(RECOMMENDATIONS) or 0}
                    work.counts = {"lists": tally.list_count, "checksum": f"{tally.checksum:016x}"}

    def publish(self, this_run: Run) -> None:
        """Its lists, written, committed and live, without a process."""
        self.write(this_run)
        with self.store() as store:
            store.put_trending(this_run.run_id, this_run.attempt, b"trending")
            manifest = {"lists": USERS_COUNT, "model_set": plant_promotion(self.home, this_run.day)}
            store.commit_manifest(this_run.run_id, this_run.attempt, manifest)
            store.go_live(this_run.run_id, this_run.attempt)

    def live(self) -> Live | None:
        with self.store() as store:
            return store.live()

    def tally(self, run_id: str) -> Tally:
        with self.store() as store:
            return store.tally(run_id)

    def expected(self, this_run: Run) -> dict[int, bytes]:
        """The lists of a run as they were made."""
        return {
            user_id: data
            for block in stored_lists(self.lake, this_run.day, this_run.run_id)
            for user_id, data in pack_many(block, generated_at=end_of(this_run.day))
        }

    def served(self, store: ListStore | None = None) -> tuple[str | None, dict[int, bytes]]:
        """What everybody gets who asks now: the run of every answer, which must be one, and the lists."""
        with store or self.store() as opened:
            answers = {user: opened.live_list(user) for user in range(1, USERS_COUNT + 1)}
        runs = {answer.live.run_id if answer else None for answer in answers.values()}
        assert len(runs) == 1, f"answers of several runs: {runs}"
        lists = {user: answer.user_list for user, answer in answers.items() if answer and answer.user_list}
        return runs.pop(), lists

    def assert_serves(self, this_run: Run) -> None:
        expected = self.expected(this_run)
        assert expected
        assert self.served() == (this_run.run_id, expected)

    def assert_written_as_made(self, this_run: Run) -> None:
        assert self.tally(this_run.run_id) == tally_of(self.expected(this_run).items())


def overtake(publishing: Publishing, this_run: Run) -> Run:
    """A newer attempt at a run goes live."""
    newer = publishing.begin_again(this_run)
    publishing.publish(newer)
    return newer


def publish_another(publishing: Publishing, day: date) -> Run:
    """Another run of a day goes live."""
    another = publishing.make(day, number=2)
    publishing.publish(another)
    return another


def elsewhere(happens: Callable[..., Run], *arguments: object) -> Run:
    """Let something happen in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as processes:
        return processes.submit(happens, *arguments).result()


def settings_of(places: Places) -> Mapping[str, str]:
    """These places as settings of a job."""
    return {
        "MARQUEE_LISTS": places.lists,
        "MARQUEE_CACHE": places.cache,
        "MARQUEE_CASSANDRA_PASSWORD": places.cassandra_password,
        "MARQUEE_REDIS_PASSWORD": places.redis_password,
    }


def closed_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
