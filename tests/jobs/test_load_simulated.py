import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from feature_defs.events import EVENTS
from pipelines.simulation.configuration import LAST_DAY
from pipelines.warehouse.duckdb import DuckDBWarehouse


def load(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jobs.load_warehouse", *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"MARQUEE_HOME": str(home)},
    )


def test_a_simulated_service_fills_the_warehouse(tmp_path: Path) -> None:
    done = load(tmp_path, "--source", "simulated", "--users", "80", "--titles", "120", "--days", "5", "--seed", "2")
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])
    assert (counts["users"], counts["items"], counts["protected_attributes"]) == (80, 120, 80)
    with DuckDBWarehouse(tmp_path / "warehouse.duckdb") as warehouse:
        days = warehouse.days(EVENTS)
    assert days is not None
    assert days[1] == LAST_DAY
    assert counts["events"] > 100


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--source", "simulated", "--data", "somewhere"), "--source simulated reads no data"),
        (("--source", "movielens"), "--source movielens needs --data"),
        (("--source", "simulated", "--users", "999999999999"), "from 10 to 1,000,000 as users"),
        (("--source", "simulated", "--days", "0"), "from 2 to 366 as days"),
    ],
)
def test_flags_that_make_no_sense_end_in_one_sentence(
    tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    done = load(tmp_path, *arguments)
    assert done.returncode == 64
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
