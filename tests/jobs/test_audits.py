"""Audits on the running pipeline: who is refused by what, what a person's silence means, and that lists stay fresh.

Two nights on a small world are recorded once; each test begins with a copy from just before the job it is about.
"""

import json
import shutil
from datetime import date, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pytest
from audited import add, said_of
from night import ITEMS_COUNT, NIGHTS, POLICY, USERS_COUNT, Night
from recorded_nights import LAST, SECOND, Recorded
from spoiled_sets import challenge_with, starving, with_random_weights

from pipelines.audit.fingerprint import fingerprint_of
from pipelines.audit.in_force import audit_for_promotion
from pipelines.audit.month_content import parts_of
from pipelines.audit.records import records
from pipelines.configuration import RunConfiguration
from pipelines.evaluation.judged_lists import evaluated_set
from pipelines.lake import Lake
from pipelines.promotion import champion, decisions
from pipelines.runs import last_step, run_of

pytestmark = pytest.mark.slow

DAY = ("--day", str(NIGHTS[1]))
FIRST_DAY = ("--day", str(NIGHTS[0]))


def at(job: str) -> int:
    return SECOND.index((job, *DAY))


def after(job: str) -> list[tuple[str, ...]]:
    return SECOND[at(job) + 1 :]


def audits_of(night: Night) -> list[tuple[str, str]]:
    own = {"genesis", "challenger", "monthly", "on_demand"}
    return [(one.moment, one.content["verdict"]) for one in records(night.lake) if one.moment in own]


def decided(night: Night) -> tuple[bool, str]:
    made = decisions(night.lake)[-1]
    assert made.day == NIGHTS[1]
    return made.is_promoted, "; ".join(made.reasons)


def policy_file(folder: Path, **changes: object) -> str:
    path = folder / "policy.json"
    path.write_text(json.dumps(json.loads(POLICY.read_text()) | changes))
    return str(path)


def without_a_champion(night: Night) -> None:
    """As on day one: nothing was decided, and nothing audited."""
    for table in ("decisions", "audit_records"):
        shutil.rmtree(night.home / "lake" / table)
    shutil.rmtree(night.home / "audits")


def answered(night: Night, day: date, made_on: date | None = None) -> None:
    """As if everybody had been answered twice on a day: ten titles each, titles all alike, of some run."""
    rows = [
        (f"r{day}-{user}-{page}", slot, user, (user * 7 + page * 10 + slot) % ITEMS_COUNT + 1, f"{day} 12:00:00+00")
        for user in range(1, USERS_COUNT + 1)
        for page in range(2)
        for slot in range(10)
    ]
    run_id = run_of(night.lake, made_on or day).run_id
    with duckdb.connect(night.home / "warehouse.duckdb") as database:
        database.execute("SET TimeZone = 'UTC'")
        database.executemany(
            f"INSERT INTO answers VALUES (?, ?, ?, ?, ?, '{run_id}', 'embedded', 1.0, 1.0)",
            rows,
        )


def test_day_one_of_a_new_installation_works_and_its_record_can_be_verified(recorded: Recorded) -> None:
    night = recorded.before(0)
    first, promotion = records(night.lake)
    assert (first.moment, first.content["verdict"], first.content["is_demo"]) == ("genesis", "PASS", True)
    assert (promotion.moment, promotion.content["is_promoted"]) == ("promotion", True)
    assert night.live_run() == run_of(night.lake, NIGHTS[0]).run_id
    now = champion(night.lake)
    assert now is not None
    folder = night.home / "audits"
    page = (folder / f"{first.audit_id}.html").read_text()
    assert "--expect-head" in page
    assert "http" not in page.replace("http-equiv", ""), "nothing is fetched"
    card = (folder / f"model_card-{now.challenger}.html").read_text()
    assert "language: hu" in card
    assert "Limits" in card
    said = night.must("verify_audit", "--records", folder / "records.jsonl", "--public-key", folder / "public_key.pem")
    assert promotion.digest in said


def test_no_user_can_be_told_from_the_record_or_a_page(recorded: Recorded) -> None:
    folder = recorded.before(LAST).home / "audits"
    for file in folder.iterdir():
        assert '"user_id' not in file.read_text()


def test_an_audit_that_is_made_again_leaves_one_entry(recorded: Recorded) -> None:
    night = recorded.before(at("audit_bias"))
    night.must("audit_bias", *DAY)
    before = records(night.lake)
    night.must("audit_bias", *DAY)
    assert records(night.lake) == before


def test_what_is_assembled_after_the_evaluation_is_neither_audited_nor_promoted(recorded: Recorded) -> None:
    night = recorded.before(at("audit_bias"))
    evaluated = evaluated_set(night.lake, run_of(night.lake, NIGHTS[1]))
    other = challenge_with(night, with_random_weights)
    night.must("audit_bias", *DAY)
    assert records(night.lake)[-1].content["model_set"] == evaluated
    night.must("promote_models", *DAY)
    decision = decisions(night.lake)[-1]
    assert decision.challenger == evaluated != other


def test_random_weights_are_refused_by_the_metrics_and_lists_stay_fresh(recorded: Recorded) -> None:
    night = recorded.before(at("evaluate_models"))
    before = champion(night.lake)
    challenge_with(night, with_random_weights)
    for step in SECOND[at("evaluate_models") :]:
        night.must(*step)
    is_promoted, reasons = decided(night)
    assert not is_promoted
    assert "worse" in reasons
    assert "against champion" in reasons
    assert champion(night.lake) == before
    run = run_of(night.lake, NIGHTS[1])
    assert night.live_run() == run.run_id, "the champion's lists of this night"
    assert before is not None
    assert last_step(night.lake, run, "score_users", "0/2")["counts"]["champion"] == before.challenger


def test_a_challenger_that_starves_a_group_is_refused_by_the_audit_though_its_metrics_pass(recorded: Recorded) -> None:
    night = recorded.before(at("evaluate_models"))
    without_a_champion(night)
    challenge_with(night, lambda trained: starving(trained, np.arange(1, ITEMS_COUNT + 1, 2)))
    night.must("evaluate_models", *DAY)
    said = night.must("audit_bias", *DAY)
    assert json.loads(said.splitlines()[-1])["verdict"] == "FAIL"
    night.must("promote_models", *DAY)
    is_promoted, reasons = decided(night)
    assert not is_promoted
    assert "not worse: ndcg_at_20" in reasons, "it was the audit, not the metrics"
    assert "the challenger's own audit, ended in FAIL" in reasons
    assert "language is" in reasons
    # Trying again changes nothing.
    night.must("audit_bias", *DAY)
    night.must("promote_models", *DAY)
    assert not decided(night)[0]


def test_a_small_group_is_named_inconclusive_and_holds_promotion_if_it_is_primary(
    recorded: Recorded, tmp_path: Path
) -> None:
    night = recorded.before(at("audit_bias"))
    without_a_champion(night)
    policy = policy_file(tmp_path, least_users=30)
    told = night.run("audit_bias", *DAY, MARQUEE_AUDIT_POLICY=policy)
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout.splitlines()[-1])["verdict"] == "INCONCLUSIVE"
    assert "language hu has 29 users, fewer than 30" in told.stdout
    assert night.run("promote_models", *DAY, MARQUEE_AUDIT_POLICY=policy).returncode == 0
    is_promoted, reasons = decided(night)
    assert not is_promoted
    assert "language hu has 29 users" in reasons


def test_an_attribute_that_is_missing_holds_promotion_with_one_sentence_and_the_night_goes_on(
    recorded: Recorded, tmp_path: Path
) -> None:
    night = recorded.before(at("audit_bias"))
    policy = policy_file(tmp_path, attributes=[{"name": "country", "is_primary": True}])
    told = night.run("audit_bias", *DAY, MARQUEE_AUDIT_POLICY=policy)
    assert told.returncode == 0, told.stderr
    assert "country is known of nobody, and the policy asks for it" in told.stdout
    assert audits_of(night)[-1] == ("challenger", "INCONCLUSIVE")


def test_a_broken_record_is_said_and_the_champion_goes_on(recorded: Recorded) -> None:
    night = recorded.before(at("audit_bias"))
    before = champion(night.lake)
    export = night.home / "audits" / "records.jsonl"
    # As if the end of the record in the lake had been cut off: what was exported before is not in it.
    export.write_text(export.read_text().replace(records(night.lake)[-1].digest, "0" * 64))
    assert "cannot be relied on" in night.must("audit_bias", *DAY)
    night.must("promote_models", *DAY)
    assert not decided(night)[0]
    assert champion(night.lake) == before


def test_a_month_without_impressions_ends_with_one_sentence(recorded: Recorded) -> None:
    told = recorded.before(LAST).run("audit_month", *DAY, "--days", "3")
    assert told.returncode == 65
    assert told.stderr.count("\n") == 1
    assert "nothing was shown to anybody from 2026-01-10 to 2026-01-12" in told.stderr


def test_where_nobody_answers_the_month_is_rejected_and_the_champions_fresh_lists_go_out(recorded: Recorded) -> None:
    night = recorded.before(at("audit_bias"))
    before = champion(night.lake)
    answered(night, NIGHTS[0])
    audited = json.loads(night.must("audit_month", *FIRST_DAY, "--days", "1").splitlines()[-1])
    assert audited["audited"] == USERS_COUNT - 1, "all but the one who opted out"
    assert Path(audited["report"]).exists()
    said = night.must("approve_audit", "--audit-id", audited["audit_id"], "--answer", "reject")
    assert "nobody answered in time: that is a rejection" in said
    night.must("audit_bias", *DAY)
    for step in after("audit_bias"):
        night.must(*step)
    is_promoted, reasons = decided(night)
    assert not is_promoted
    assert audited["audit_id"] in reasons
    assert "was rejected by nobody in time" in reasons
    assert champion(night.lake) == before
    assert night.live_run() == run_of(night.lake, NIGHTS[1]).run_id


def test_an_answer_is_given_once_by_a_named_person_and_to_an_audit_that_passed(recorded: Recorded) -> None:
    night = recorded.before(LAST)
    answered(night, NIGHTS[1])
    audited = json.loads(night.must("audit_month", *DAY, "--days", "1", "--on-demand").splitlines()[-1])
    assert audited["audit_id"].startswith("on_demand-")
    assert audited["verdict"] == "PASS"
    approve = ("approve_audit", "--audit-id", audited["audit_id"], "--answer", "approve", "--name", "Ada Lovelace")
    said = night.must(*approve)
    assert said == night.must(*approve), "a task that is tried again"
    last = records(night.lake)[-1]
    assert (last.moment, last.content["by"]) == ("approval", "Ada Lovelace")
    assert last.content["is_approved"] is True
    told = night.run("approve_audit", "--audit-id", audited["audit_id"], "--answer", "reject", "--name", "Eve")
    assert (told.returncode, told.stderr.count("\n")) == (77, 1)
    assert "answered already, by Ada Lovelace" in told.stderr
    told = night.run("approve_audit", "--audit-id", "monthly-20260101-99", "--answer", "approve", "--name", "Eve")
    assert told.returncode == 77


def test_a_month_is_of_the_champions_architecture_and_on_demand_of_that_of_the_nights_challenger(
    recorded: Recorded,
) -> None:
    night = recorded.before(at("audit_bias"))
    now = champion(night.lake)
    assert now is not None
    # The champion was promoted with another architecture than that of this night.
    older, first = RunConfiguration(), now.challenger
    shutil.rmtree(night.home / "lake" / "audit_records")
    shutil.rmtree(night.home / "audits")
    add(night.home, "genesis", said_of(first, NIGHTS[0], older), NIGHTS[0])
    add(night.home, "promotion", said_of(first, NIGHTS[0], older, is_promoted=True), NIGHTS[0])
    answered(night, NIGHTS[1])
    run = run_of(night.lake, NIGHTS[1])
    newer, second = fingerprint_of(run.configuration), evaluated_set(night.lake, run)

    said = night.must("audit_month", *DAY, "--days", "1")
    assert "As the champion would serve: PASS" in said
    assert "this night has another configuration than the champion" in said
    monthly = records(night.lake)[-1]
    assert (monthly.content["model_set"], monthly.content["fingerprint"]) == (first, fingerprint_of(older))
    night.must("approve_audit", "--audit-id", monthly.audit_id, "--answer", "approve", "--name", "Ada Lovelace")
    policy = monthly.content["policy"]
    assert audit_for_promotion(records(night.lake), second, policy, newer, NIGHTS[1]).in_force is None

    assert "As the challenger would serve: PASS" in night.must("audit_month", *DAY, "--days", "1", "--on-demand")
    asked_for = records(night.lake)[-1]
    assert (asked_for.content["model_set"], asked_for.content["fingerprint"]) == (second, newer)
    assert "challenger_lists" in asked_for.content
    night.must("approve_audit", "--audit-id", asked_for.audit_id, "--answer", "approve", "--name", "Ada Lovelace")
    assert audit_for_promotion(records(night.lake), second, policy, newer, NIGHTS[1]).in_force == asked_for.audit_id


def test_what_a_demo_left_is_audited_into_a_record_of_its_own(recorded: Recorded, tmp_path: Path) -> None:
    night = recorded.before(LAST)
    # Every week of its four.
    for weeks in range(4):
        answered(night, NIGHTS[1] - timedelta(weeks=weeks), made_on=NIGHTS[0])
    night.home.rename(tmp_path / "demo")
    ended = Night(tmp_path).run("run_demo_audit", MARQUEE_AUDIT_POLICY="")
    assert ended.returncode == 0, ended.stderr
    assert "The simulated service: " in ended.stdout
    (entry,) = records(Lake(str(tmp_path / "demo_audit" / "lake")))
    now = champion(Lake(str(tmp_path / "demo" / "lake")))
    assert now is not None
    assert (entry.moment, entry.content["model_set"]) == ("on_demand", now.challenger)
    assert [name for name, _ in parts_of(entry.content)] == ["As served", "As the champion would serve"]
    assert all(part["user_count"] == USERS_COUNT - 1 for _, part in parts_of(entry.content))
    assert "in_force_until" not in entry.content, "it opens nothing"
    assert ended.stdout.splitlines()[-1].endswith(f"--expect-head {entry.digest}")
