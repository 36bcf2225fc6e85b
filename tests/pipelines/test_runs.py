"""A run's name follows from what it reads, how it is configured and the code, and from nothing else."""

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from feature_defs.events import EVENTS
from feature_defs.items import ITEMS
from feature_defs.users import USERS
from pipelines.arrow_schemas import arrow_schema
from pipelines.configuration import (
    RunConfiguration,
    check_configuration,
    configuration_from_json,
    configuration_to_json,
)
from pipelines.errors import DataError, UsageError
from pipelines.lake import Lake
from pipelines.models.als import AlsConfiguration
from pipelines.models.towers_configuration import TowersConfiguration
from pipelines.runs import last_step, plan_run, record_run, run_of, step

DAY = date(2026, 1, 31)
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def fill(lake: Lake, share: float = 0.5) -> None:
    event = {"event_id": "e", "user_id": 1, "item_id": 1, "kind": "play", "happened_at": NOON, "received_at": NOON}
    item = {"item_id": 1, "title": "A", "kind": "video", "published_at": NOON, "moderation_state": "approved"}
    user = {"user_id": 1, "signup_at": NOON, "is_opted_out": False}
    for table, row in ((EVENTS, {**event, "watched_share": share}), (ITEMS, item), (USERS, user)):
        lake.replace(table, pa.Table.from_pylist([row], arrow_schema(table)), DAY)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    made = Lake(str(tmp_path / "lake"))
    fill(made)
    return made


def test_the_same_inputs_have_the_same_name_wherever_they_lie(lake: Lake, tmp_path: Path) -> None:
    other = Lake(str(tmp_path / "other"))
    fill(other, share=0.9)
    fill(other)  # a later version, the same content
    one, two = plan_run(lake, DAY, RunConfiguration()), plan_run(other, DAY, RunConfiguration())
    assert one.run_id == two.run_id
    assert one.run_id.startswith("20260131-")
    assert one.inputs["events"].version != two.inputs["events"].version


def test_another_input_or_configuration_has_another_name(lake: Lake, tmp_path: Path) -> None:
    name = plan_run(lake, DAY, RunConfiguration()).run_id
    assert plan_run(lake, DAY, RunConfiguration(als=AlsConfiguration(factors=8))).run_id != name
    fill(lake, share=0.6)
    assert plan_run(lake, DAY, RunConfiguration()).run_id != name


def test_the_run_opened_last_is_the_days_with_all_that_was_recorded(lake: Lake) -> None:
    configuration = RunConfiguration(truth_days=3, als=AlsConfiguration(factors=8, alpha=2.5))
    record_run(lake, plan_run(lake, DAY, RunConfiguration()), 1)
    opened = record_run(lake, plan_run(lake, DAY, configuration), 2)
    assert run_of(lake, DAY) == opened
    assert run_of(lake, DAY).configuration == configuration


def test_a_day_without_rows_or_without_a_run_says_which_job_is_missing(lake: Lake) -> None:
    with pytest.raises(DataError, match=r"events has no rows for 2026-02-01: run .*extract_events --day 2026-02-01"):
        plan_run(lake, date(2026, 2, 1), RunConfiguration())
    with pytest.raises(DataError, match=r"no run was opened for 2026-01-31: run .*open_run --day 2026-01-31"):
        run_of(lake, DAY)


def test_a_step_is_recorded_when_it_ends_well_and_only_then(lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    run = record_run(lake, plan_run(lake, DAY, RunConfiguration()), 1)
    with pytest.raises(ValueError, match="oh"), step(lake, run, "train_als"):
        raise ValueError("oh")
    with pytest.raises(DataError, match="train_als has not been run for 2026-01-31"):
        last_step(lake, run, "train_als")
    with step(lake, run, "train_als") as work:
        work.writes["model_set"] = "abc"
        work.counts = {"items": 3}
    assert last_step(lake, run, "train_als")["writes"] == {"model_set": "abc"}
    assert '"items": 3' in capsys.readouterr().out.splitlines()[-1]
    with pytest.raises(DataError, match=r"--shard 0/2"):
        last_step(lake, run, "train_als", "0/2")


def test_a_configuration_comes_back_from_its_json() -> None:
    configuration = RunConfiguration(truth_days=5, als=AlsConfiguration(factors=3, regularization=0.7))
    assert configuration_from_json(configuration_to_json(configuration)) == configuration


@pytest.mark.parametrize(
    ("configuration", "words"),
    [
        (RunConfiguration(truth_days=0), "--truth-days is 0; it must lie between 1 and 28"),
        (RunConfiguration(shard_count=-1), "--shard-count is -1"),
        (RunConfiguration(als=AlsConfiguration(factors=65)), "--als.factors is 65; it must lie between 1 and 64"),
        (RunConfiguration(als=AlsConfiguration(alpha=float("nan"))), "--als.alpha is nan"),
        (
            RunConfiguration(towers=TowersConfiguration(taste_width=33)),
            "--towers.taste-width is 33; it must lie between 0",
        ),
        (RunConfiguration(towers=TowersConfiguration(taste_weight=-1.0)), "--towers.taste-weight is -1.0; it must lie"),
        (RunConfiguration(towers=TowersConfiguration(later_share=0.6)), "--towers.later-share is 0.6; it must lie"),
    ],
)
def test_a_configuration_that_cannot_be_meant_is_refused(configuration: RunConfiguration, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_configuration(configuration)
    assert check_configuration(replace(RunConfiguration(), truth_days=2)).truth_days == 2
