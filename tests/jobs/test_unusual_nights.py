"""Nights out of the ordinary on a small world: thin days, weekly rankers, refusals, back-fills."""

import json
from datetime import timedelta

import duckdb
import pytest
from night import NIGHTS, SMALL_TOWERS, steps_of_night
from recorded_nights import LAST, SECOND, Recorded

from feature_defs.ranking import HEADS
from pipelines.digested_files import DigestedFiles
from pipelines.models.model_set import ModelSet
from pipelines.models.ranker import Ranker
from pipelines.promotion import champion, decisions
from pipelines.runs import last_step, run_of

pytestmark = pytest.mark.slow


def test_a_back_fill_of_an_older_day_neither_promotes_nor_goes_live_unless_told_to(recorded: Recorded) -> None:
    night = recorded.before(LAST)
    live, now = night.live_run(), champion(night.lake)
    older = steps_of_night(NIGHTS[0])
    for step in older:
        night.must(*step)
    assert night.live_run() == live
    after = champion(night.lake)
    assert now is not None
    assert after is not None
    assert after.challenger == now.challenger
    night.must(*older[-1], "--allow-older")
    assert night.live_run() == run_of(night.lake, NIGHTS[0]).run_id


def test_a_day_with_one_interaction_decides_nothing_and_lists_are_made_all_the_same(recorded: Recorded) -> None:
    night = recorded.before(0)
    before = champion(night.lake)
    with duckdb.connect(night.home / "warehouse.duckdb") as database:
        database.execute(f"DELETE FROM events WHERE received_at >= '{NIGHTS[1]}' AND event_id != 'e11-003-0'")
    for step in SECOND:
        night.must(*step)
    assert champion(night.lake) == before
    (decision,) = [made for made in decisions(night.lake) if made.day == NIGHTS[1]]
    assert not decision.is_promoted
    assert "too few to judge" in decision.reasons[0]
    assert night.live_run() == run_of(night.lake, NIGHTS[1]).run_id


def test_a_weekly_ranker_is_learned_with_its_heads_masked_and_carried_by_the_next_night(recorded: Recorded) -> None:
    night = recorded.before(0)
    weekly = ("--day", str(NIGHTS[0]), "--cadence", "weekly")
    night.must("open_run", *weekly, "--truth-days", "3", "--als.factors", "8", *SMALL_TOWERS)
    for job in ("embed_items", "train_als", "train_towers", "assemble_models"):
        night.must(job, *weekly)
    said = night.must("train_ranker", "--day", str(NIGHTS[0]))
    trained = json.loads(said.splitlines()[-1])
    # Nothing was shown in this world, and nobody skipped, shared, followed or reported.
    assert trained["masked"] == ["share", "follow", "skip", "not_interested", "report"]
    assert said.count("masked: the data says nothing of it") == 5
    assert set(trained["calibration_errors"]) == {"watch", "complete"}
    again = json.loads(night.must("train_ranker", "--day", str(NIGHTS[0])).splitlines()[-1])
    assert again["model"] == trained["model"], "the same days, the same ranker"
    for step in SECOND:
        night.must(*step)
    run = run_of(night.lake, NIGHTS[1])
    assembled = last_step(night.lake, run, "assemble_models")
    assert assembled["counts"]["ranker_of"] == str(NIGHTS[0])
    assert assembled["counts"]["recalibration"] == {"days": {}, "examples": 0, "heads": {}}, "it knows all days"
    files = DigestedFiles(str(night.home / "models")).load(assembled["writes"]["model_set"])
    assert ModelSet.from_files(files).ranker is not None
    assert night.live_run() == run.run_id


def test_a_ranker_that_learned_from_the_days_judged_on_is_not_taken(recorded: Recorded) -> None:
    night = recorded.before(LAST)
    weekly = ("--day", str(NIGHTS[1]), "--cadence", "weekly")
    night.must("open_run", *weekly, "--truth-days", "3", "--als.factors", "8", *SMALL_TOWERS)
    for job in ("embed_items", "train_als", "train_towers", "assemble_models"):
        night.must(job, *weekly)
    night.must("train_ranker", "--day", str(NIGHTS[1]))
    night.must("assemble_models", "--day", str(NIGHTS[1]))
    assert last_step(night.lake, run_of(night.lake, NIGHTS[1]), "assemble_models")["counts"]["ranker_of"] is None


def test_a_refused_challenger_does_not_mean_stale_lists(recorded: Recorded) -> None:
    night = recorded.before(SECOND.index(("promote_models", "--day", str(NIGHTS[1]))))
    before = champion(night.lake)
    night.must("promote_models", "--day", NIGHTS[1], "--no-promote")
    for step in SECOND[SECOND.index(("promote_models", "--day", str(NIGHTS[1]))) + 1 :]:
        night.must(*step)
    assert champion(night.lake) == before
    assert night.live_run() == run_of(night.lake, NIGHTS[1]).run_id


def test_a_carried_ranker_is_calibrated_on_the_days_it_has_not_learned_from(recorded: Recorded) -> None:
    night = recorded.before(LAST)
    weekly = ("--day", str(NIGHTS[0] - timedelta(days=1)), "--cadence", "weekly")
    # Its catalogue: the past was loaded for the day of the first night.
    night.must("extract_events", *weekly[:2])
    night.must("open_run", *weekly, "--truth-days", "3", "--als.factors", "8", *SMALL_TOWERS)
    for job in ("embed_items", "train_als", "train_towers", "assemble_models"):
        night.must(job, *weekly)
    night.must("train_ranker", *weekly[:2])
    said = night.must("assemble_models", "--day", str(NIGHTS[1]))
    counts = json.loads(said.splitlines()[-1])["recalibration"]
    # The set of the night before learned until the day before it, and so did not know it.
    earlier = last_step(night.lake, run_of(night.lake, NIGHTS[0]), "assemble_models")["counts"]
    assert counts["days"] == {str(NIGHTS[0]): earlier["model_set"]}
    assert counts["examples"] > 1000
    assert set(counts["heads"]) == {"watch", "complete"}
    models = DigestedFiles(str(night.home / "models"))
    digest = last_step(night.lake, run_of(night.lake, NIGHTS[1]), "assemble_models")["writes"]["model_set"]
    carried = ModelSet.from_files(models.load(digest)).ranker
    run = run_of(night.lake, NIGHTS[0] - timedelta(days=1), "weekly")
    learned = Ranker.from_files(models.load(last_step(night.lake, run, "train_ranker")["writes"]["model"]))
    assert carried is not None
    for head, figures in counts["heads"].items():
        column = HEADS.index(head)
        assert figures["is_kept"] == (figures["after"] < figures["before"])
        is_same = carried.facts.calibration.slopes[column] == learned.facts.calibration.slopes[column]
        assert is_same != figures["is_kept"]
    again = json.loads(night.must("assemble_models", "--day", str(NIGHTS[1])).splitlines()[-1])
    assert again["model_set"] == digest, "the same nights, the same set"
