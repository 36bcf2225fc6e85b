"""A challenger is promoted on its metrics, its own audit and one in force; whatever is missing refuses it, in words.

The challenger is planted and judged beforehand (`tests/worlds/judged.py`): only `promote_models` is run.
"""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from judged import Judged

import jobs.promote_models
from feature_defs.audit_policy import DEMO_POLICY
from feature_defs.record import AUDIT_RECORDS, EVALUATIONS
from pipelines.arrow_schemas import arrow_schema
from pipelines.audit.policy_file import policy_to_json
from pipelines.configuration import RunConfiguration
from pipelines.errors import DataError
from pipelines.promotion import champion, decisions
from pipelines.runs import last_step, run_of, steps_of
from pipelines.tracking import log_decision, seen_champion

DAY = date(2026, 1, 31)
NEXT = DAY + timedelta(1)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Judged:
    """A new installation with a challenger."""
    monkeypatch.setenv("MARQUEE_HOME", str(tmp_path))
    return Judged(tmp_path)


@pytest.fixture
def started(world: Judged, monkeypatch: pytest.MonkeyPatch) -> Judged:
    """A set was promoted on its genesis audit, and the next challenger has passed its own; MLflow is left out."""
    monkeypatch.setattr(jobs.promote_models, "log_decision", lambda *_, **__: None)
    monkeypatch.setattr(jobs.promote_models, "seen_champion", lambda _: None)
    first = judge(world, "first", DAY)
    jobs.promote_models.main(DAY)
    assert champion_of(world) == first
    judge(world, "second", NEXT)
    return world


def judge(world: Judged, letter: str, day: date, difference: float = 0.01) -> str:
    _, model_set = world.judge(day, letter, difference)
    world.let_pass(model_set, day)
    return model_set


def champion_of(world: Judged) -> str | None:
    now = champion(world.lake)
    return now.challenger if now else None


def refused(world: Judged, day: date = NEXT) -> tuple[str, ...]:
    """Decide, and see that the champion stays; the reasons."""
    before = champion_of(world)
    jobs.promote_models.main(day)
    decision = decisions(world.lake)[-1]
    assert not decision.is_promoted
    assert champion_of(world) == before
    assert all("\n" not in reason for reason in decision.reasons)
    return decision.reasons


def test_the_first_set_is_promoted_on_its_genesis_audit_and_mlflow_follows(
    world: Judged, capsys: pytest.CaptureFixture[str]
) -> None:
    model_set = judge(world, "first", DAY)
    jobs.promote_models.main(DAY)
    assert champion_of(world) == model_set
    genesis, promotion = world.entries
    assert (genesis.moment, promotion.moment) == ("genesis", "promotion")
    said = promotion.content
    assert said["own_audit"] == said["audit_in_force"] == genesis.audit_id
    assert (said["is_promoted"], said["attempts"], said["epoch"]) == (True, 1, 1)
    assert (said["model_set"], said["champion_before"]) == (model_set, None)
    assert said["reasons"] == list(decisions(world.lake)[-1].reasons)
    assert f'"audit_head": "{promotion.digest}"' in capsys.readouterr().out
    uri = f"sqlite:///{world.home}/mlflow.db"
    assert seen_champion(uri) == model_set

    # Somebody moves the alias by hand, before a night that refuses.
    stranger = "b" * 32
    log_decision(uri, "assemble_models", "by hand", stranger, "nowhere", {}, is_promoted=True)
    judge(world, "second", NEXT, difference=-0.1)
    jobs.promote_models.main(NEXT)
    assert f"MLflow's alias points to {stranger}, which is not the champion" in capsys.readouterr().out
    assert champion_of(world) == model_set
    counts = steps_of(world.lake, run_of(world.lake, NEXT).run_id, NEXT)[-1]["counts"]
    assert '"is_alias_moved": true' in counts


def test_the_next_set_is_promoted_on_its_own_audit_and_the_one_in_force(started: Judged) -> None:
    jobs.promote_models.main(NEXT)
    assert decisions(started.lake)[-1].is_promoted
    moments = [entry.moment for entry in started.entries]
    assert moments == ["genesis", "promotion", "challenger", "promotion"]
    own, promotion = started.entries[2:]
    assert promotion.content["own_audit"] == own.audit_id
    assert promotion.content["audit_in_force"] == started.entries[0].audit_id


def test_the_same_again_adds_nothing_and_a_promotion_that_was_not_yet_signed_is(
    started: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Exception):
        pass

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(jobs.promote_models, "append_record", killed)
        with pytest.raises(Killed):
            jobs.promote_models.main(NEXT)
    assert len(decisions(started.lake)) == 2
    assert len(started.entries) == 3
    for _ in range(2):
        jobs.promote_models.main(NEXT)
        assert len(decisions(started.lake)) == 2
        assert len(started.entries) == 4


def test_a_challenger_worse_by_its_metrics_is_refused_though_its_audit_passed(started: Judged) -> None:
    day = NEXT + timedelta(1)
    judge(started, "worse", day, difference=-0.1)
    assert refused(started, day)[0].startswith("shown to be worse")
    assert started.entries[-1].content["is_promoted"] is False


def test_without_an_audit_of_its_own_it_is_refused(started: Judged) -> None:
    day = NEXT + timedelta(1)
    _, model_set = started.judge(day, "unaudited")
    assert refused(started, day)[0] == f"the challenger {model_set[:12]} was not audited"


def test_a_set_that_was_assembled_after_the_evaluation_is_not_promoted(started: Judged) -> None:
    evaluated = str(last_step(started.lake, run_of(started.lake, NEXT), "evaluate_models")["writes"]["model_set"])
    other = started.assemble(run_of(started.lake, NEXT), "never evaluated")
    # Though its own audit passed and one is in force.
    started.let_pass(other, NEXT)
    jobs.promote_models.main(NEXT)
    assert champion_of(started) == evaluated
    assert other not in {entry.content["model_set"] for entry in started.entries if entry.moment == "promotion"}


def test_figures_of_another_set_than_the_evaluated_one_promote_nothing(started: Judged) -> None:
    evaluated = str(last_step(started.lake, run_of(started.lake, NEXT), "evaluate_models")["writes"]["model_set"])
    # As an evaluation leaves them that is killed before it is recorded.
    rows = started.lake.read(EVALUATIONS, NEXT, NEXT, columns=EVALUATIONS.names).to_pylist()
    changed = [row | {"model_set": row["model_set"] and "f" * 32} for row in rows]
    started.lake.replace(EVALUATIONS, pa.Table.from_pylist(changed, arrow_schema(EVALUATIONS)), NEXT)
    before = champion_of(started)
    with pytest.raises(DataError, match=f"are of model set {'f' * 32}, and not of {evaluated}"):
        jobs.promote_models.main(NEXT)
    assert champion_of(started) == before


def test_one_that_starves_a_group_is_refused_and_trying_again_is_of_no_use(started: Judged) -> None:
    day = NEXT + timedelta(1)
    _, model_set = started.judge(day, "starving")
    started.audit("challenger", model_set, day, verdict="FAIL", reasons=["gender f is starved"], in_force_until=None)
    started.audit("challenger", model_set, day, in_force_until=None)
    reasons = refused(started, day)
    assert reasons[0].endswith("the challenger's own audit, ended in FAIL: gender f is starved")
    assert "audited 2 times" in reasons[1]
    assert started.entries[-1].content["attempts"] == 2
    assert started.entries[-1].content["reasons"] == list(reasons)


def test_every_reason_is_listed_at_once(started: Judged) -> None:
    day = DAY + timedelta(36)
    _, model_set = started.judge(day, "bad", difference=-0.1)
    started.audit("challenger", model_set, day, verdict="INCONCLUSIVE", reasons=["too few"], in_force_until=None)
    first, second, third = refused(started, day)
    assert first.startswith("shown to be worse")
    assert "ended in INCONCLUSIVE: too few" in second
    assert third.endswith(f"has expired: it was in force until {DAY + timedelta(35)}")


def test_an_expired_audit_refuses(started: Judged) -> None:
    judge(started, "late", DAY + timedelta(36))
    assert "has expired" in refused(started, DAY + timedelta(36))[0]


def test_another_policy_refuses(started: Judged, monkeypatch: pytest.MonkeyPatch) -> None:
    path = started.home / "policy.json"
    path.write_text(policy_to_json(replace(DEMO_POLICY, version=DEMO_POLICY.version + 1)))
    monkeypatch.setenv("MARQUEE_AUDIT_POLICY", str(path))
    own, in_force = refused(started)[:2]
    assert own.endswith("the challenger's own audit, was judged by another policy than the one in use")
    assert in_force.endswith("the newest full audit, was judged by another policy than the one in use")


def test_another_architecture_refuses_until_a_full_audit_of_it_was_approved(started: Judged) -> None:
    day = NEXT + timedelta(1)
    wider = RunConfiguration()
    started.configuration = replace(wider, towers=replace(wider.towers, blocks=5))
    opened, model_set = started.judge(day, "wider")
    record_configured(started, opened)
    started.let_pass(model_set, day)
    assert "a new architecture or feature set needs a full audit of its own" in refused(started, day)[0]


def record_configured(world: Judged, opened: Any) -> None:
    from pipelines.runs import record_run

    record_run(world.lake, replace(opened, configuration=world.configuration), opened.attempt)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda rows: [altered(rows[0]), *rows[1:]], "record 1 was altered"),
        (lambda rows: rows[:1] + rows[2:], "record 2 was deleted: record 3 stands in its place"),
        (lambda rows: [rows[1] | {"number": 1}, rows[0] | {"number": 2}, rows[2]], "the records were reordered"),
        (lambda rows: rows[:2], "the chain was truncated or rewritten: it ends with record 2"),
    ],
    ids=["altered", "deleted", "reordered", "truncated"],
)
def test_a_record_that_was_tampered_with_refuses_with_what_befell_it(
    started: Judged, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]], reason: str
) -> None:
    started.tamper(change)
    count = len(started.lake.read(AUDIT_RECORDS))
    first = refused(started)[0]
    assert first.startswith(f"the record of audits cannot be relied on: {reason}"), first
    assert len(started.lake.read(AUDIT_RECORDS)) == count, "nothing is built on a broken chain"


def altered(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"content": row["content"].replace('"user_count":0', '"user_count":9')}


def test_a_record_of_a_foreign_key_refuses(started: Judged) -> None:
    (started.home / "audit.key").unlink()
    reason = "the record of audits cannot be relied on: record 1 was signed with a foreign key"
    assert refused(started)[0].startswith(reason)


def test_a_set_whose_files_were_swapped_after_its_audit_is_not_decided_on(started: Judged) -> None:
    model_set = started.entries[-1].content["model_set"]
    (started.home / "models" / model_set / "set.txt").write_text("swapped")
    with pytest.raises(DataError, match=r"set.txt of model set .* does not have the digest of its manifest"):
        jobs.promote_models.main(NEXT)


def test_a_decision_that_was_planted_beside_the_record_is_reported(
    started: Judged, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipelines.evaluation.gate import Verdict
    from pipelines.promotion import decide

    planted = Verdict(is_promoted=True, reasons=("planted",))
    decide(started.lake, "20260131-ffffffffffff", DAY, "e" * 32, planted)
    shutil.rmtree(started.home / "models" / ("e" * 32), ignore_errors=True)
    day = NEXT + timedelta(1)
    judge(started, "worse", day, difference=-0.1)
    jobs.promote_models.main(day)
    said = capsys.readouterr().out
    assert f"the champion {'e' * 32} is not the one that the signed record promoted" in said
