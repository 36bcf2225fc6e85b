"""A small world on disk, and its nights run as a person would: job by job, each a process of its own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_defs.events import EVENTS
from feature_defs.items import ITEMS
from feature_defs.users import USERS
from pipelines.arrow_schemas import arrow_schema
from pipelines.lake import Lake
from pipelines.stores.embedded import EmbeddedStore

ROOT = Path(__file__).parents[2]
POLICY = Path(__file__).with_name("small_policy.json")
FIRST_DAY = date(2026, 1, 1)
DAYS = 12
USERS_COUNT, ITEMS_COUNT = 60, 60
# Before the last two days everything is past; each of them is a night.
NIGHTS = (FIRST_DAY + timedelta(DAYS - 2), FIRST_DAY + timedelta(DAYS - 1))
SHARDS = ("0/2", "1/2")
# Small jobs end before the JVM's second compiler has paid for itself.
SHORT_JOBS = {
    "spark.driver.extraJavaOptions": "-Duser.timezone=UTC -Xss4m -XX:TieredStopAtLevel=1",
    "spark.sql.shuffle.partitions": "2",
    "spark.default.parallelism": "2",
}

SMALL_TOWERS = (
    "--towers.width", "16", "--towers.blocks", "1", "--towers.epochs", "40", "--towers.history-length", "20",
    "--towers.batch-tokens", "256", "--towers.dropout", "0.1", "--towers.learning-rate", "0.01",
    "--towers.checkpoint-steps", "50",
)  # fmt: skip


def write_world(folder: Path) -> None:
    """User u likes titles of one language, whatever their genre: watches two a day, and begins one of the other's."""
    folder.mkdir(parents=True)
    start = datetime(2026, 1, 1, 8, tzinfo=UTC)
    # In no order that one could learn: who likes a title is planted, not what follows it.
    orders = [np.random.default_rng(user).permutation(ITEMS_COUNT // 2) for user in range(USERS_COUNT)]
    events = []
    for day in range(DAYS):
        for user in range(USERS_COUNT):
            liked = [2 * int(orders[user][2 * day + step]) + user % 2 for step in range(2)]
            other = 2 * ((user * 7 + day) % (ITEMS_COUNT // 2)) + 1 - user % 2
            for number, (item, share) in enumerate([(liked[0], 1.0), (liked[1], 0.9), (other, 0.05)]):
                at = start + timedelta(days=day, minutes=user * 3 + number)
                events.append(
                    {
                        "event_id": f"e{day:02d}-{user:03d}-{number}",
                        "user_id": user + 1,
                        "item_id": item + 1,
                        "kind": "play",
                        "happened_at": at,
                        "received_at": at,
                        "watched_share": share,
                    }
                )
    early = start - timedelta(days=30)
    items = [
        {"item_id": item + 1, "title": f"Title {item + 1}", "genres": [f"Genre {item // 2 % 6}"], "kind": "video"}
        | {"language": "hu" if item % 2 else "is", "published_at": early, "moderation_state": "approved"}
        for item in range(ITEMS_COUNT)
    ]
    users = [{"user_id": user + 1, "signup_at": early, "is_opted_out": user == 59} for user in range(USERS_COUNT)]
    for table, rows in ((EVENTS, events), (ITEMS, items), (USERS, users)):
        pq.write_table(pa.Table.from_pylist(rows, arrow_schema(table)), folder / f"{table.name}.parquet")


@dataclass
class Night:
    """An installation in a folder of its own."""

    home: Path

    @property
    def lake(self) -> Lake:
        return Lake(str(self.home / "lake"))

    def run(self, job: str, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MARQUEE_")},
            "MARQUEE_HOME": str(self.home),
            # The demo's asks for more users than there are here.
            "MARQUEE_AUDIT_POLICY": str(POLICY),
            "MARQUEE_SPARK_MASTER": "local[2]",
            "MARQUEE_SPARK_MEMORY": "1g",
            "MARQUEE_SPARK_OPTIONS": json.dumps(SHORT_JOBS),
            **variables,
        }
        command = [sys.executable, "-m", f"jobs.{job}", *map(str, arguments)]
        return subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)

    def must(self, job: str, *arguments: object) -> str:
        ended = self.run(job, *arguments)
        assert ended.returncode == 0, f"{job} {arguments}: {ended.stdout}\n{ended.stderr}"
        return ended.stdout

    def live_run(self) -> str | None:
        store = EmbeddedStore(self.home / "lists.lmdb")
        try:
            live = store.live()
            return live.run_id if live else None
        finally:
            store.close()

    def lists(self, run_id: str) -> dict[int, bytes | None]:
        store = EmbeddedStore(self.home / "lists.lmdb")
        try:
            return {user: store.get(run_id, user) for user in range(1, USERS_COUNT + 1)}
        finally:
            store.close()


def steps_of_night(day: date) -> list[tuple[str, ...]]:
    """The jobs of a night in order, each with its arguments."""
    at = ("--day", str(day))
    return [
        ("extract_events", *at),
        ("open_run", *at, "--truth-days", "1", "--als.factors", "8", "--als.alpha", "10", *SMALL_TOWERS),
        ("build_features", *at),
        ("embed_items", *at),
        ("train_als", *at),
        ("train_towers", *at),
        ("assemble_models", *at),
        ("evaluate_models", *at),
        ("audit_bias", *at),
        ("promote_models", *at),
        *(("score_users", *at, "--shard", shard) for shard in SHARDS),
        *(("write_lists", *at, "--shard", shard) for shard in SHARDS),
        ("build_snapshot", *at),
        ("publish_recommendations", *at),
    ]
