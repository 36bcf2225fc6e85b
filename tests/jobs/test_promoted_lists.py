"""Lists are served only if a signed promotion of the set that made them stands before their making.

Lists are made beforehand (`tests/worlds/made_lists.py`), by a set whose promotion is planted in the signed record.
"""

import json
import shutil
from collections.abc import Callable
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import pytest
from audited import add, plant_promotion
from judged import rewrite
from made_lists import make_lists, open_run, planned_run
from publishing import USERS_COUNT, Publishing

from feature_defs.audit_policy import DEMO_POLICY
from feature_defs.record import STEPS
from jobs import explain_list, rollback_lists
from jobs import publish_recommendations as publish
from pipelines.audit.records import records
from pipelines.digested_files import DigestedFiles
from pipelines.errors import DataError, RefusedError, UsageError
from pipelines.runs import Run, step
from pipelines.stores.places import Places

DAY = date(2026, 1, 31)
YESTERDAY = DAY - timedelta(1)


@pytest.fixture
def publishing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publishing:
    """An installation in which jobs of this process work too."""
    monkeypatch.setenv("MARQUEE_HOME", str(tmp_path))
    return Publishing(tmp_path, Places(str(tmp_path / "lists.lmdb")))


@pytest.fixture
def yesterday(publishing: Publishing) -> Run:
    """Yesterday's run, live."""
    made = publishing.make(YESTERDAY)
    publishing.publish(made)
    return made


def made_by(publishing: Publishing, model_set: str) -> Run:
    """Today's lists, made by this set and written."""
    with publishing.store() as store:
        opened = open_run(publishing.lake, store, planned_run(DAY))
    make_lists(publishing.lake, opened, USERS_COUNT, model_set)
    publishing.write(opened)
    return opened


def assert_refused(publishing: Publishing, sentence: str, go: Callable[[], None] | None = None) -> None:
    """Publish today, or do this, and see that it is refused and what is live stays live."""
    before = publishing.live()
    with pytest.raises(RefusedError) as error:
        (go or partial(publish.main, DAY))()
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)
    assert publishing.live() == before


def test_lists_of_a_promoted_set_go_live_and_the_promotion_is_named(
    publishing: Publishing, yesterday: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    today = publishing.make(DAY)
    publishing.write(today)
    publish.main(DAY)
    assert f"was promoted by {records(publishing.lake)[1].audit_id}" in capsys.readouterr().out
    publishing.assert_serves(today)


def test_lists_of_a_set_that_was_never_promoted_are_not_published(publishing: Publishing, yesterday: Run) -> None:
    stranger = DigestedFiles(str(publishing.home / "models")).save({"set.txt": b"never judged"})
    today = made_by(publishing, stranger)
    assert_refused(publishing, f"were made by the model set {stranger}, which the signed record does not promote")
    # Nor can a person make them live, had they been committed.
    with publishing.store() as store:
        assert store.manifest(today.run_id) is None
        store.put_trending(today.run_id, today.attempt, b"trending")
        store.commit_manifest(today.run_id, today.attempt, {"lists": USERS_COUNT, "model_set": stranger})
    assert_refused(
        publishing, "does not promote", partial(rollback_lists.main, day=DAY, by="Ada", reason="a broken night")
    )
    ended = publishing.run("publish_recommendations", "--day", DAY)
    assert ended.returncode == 77
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    publishing.assert_serves(yesterday)


def test_lists_that_were_made_before_their_set_was_promoted_are_not_published(
    publishing: Publishing, yesterday: Run
) -> None:
    files = {"set.txt": b"promoted later"}
    made_by(publishing, DigestedFiles(str(publishing.home / "models")).save(files))
    plant_promotion(publishing.home, DAY, files)
    assert_refused(publishing, "before it was promoted")
    publishing.assert_serves(yesterday)


def test_a_set_that_was_swapped_after_it_passed_is_refused(publishing: Publishing, yesterday: Run) -> None:
    today = publishing.make(DAY)
    publishing.write(today)
    model_set = records(publishing.lake)[-1].content["model_set"]
    folder = publishing.home / "models" / model_set
    (folder / "set.txt").write_text("swapped")
    assert_refused(publishing, "is no longer the one that passed: set.txt of model set")
    # With a manifest that fits the files, the folder has another name than it should.
    other = DigestedFiles(str(publishing.home / "models")).save({"set.txt": b"swapped"})
    shutil.copy(publishing.home / "models" / other / "manifest.json", folder)
    assert_refused(publishing, "is no longer the one that passed: the manifest of model set")
    publishing.assert_serves(yesterday)


def test_a_refusal_is_no_promotion(publishing: Publishing, yesterday: Run) -> None:
    model_set = DigestedFiles(str(publishing.home / "models")).save({"set.txt": b"refused"})
    add(publishing.home, "promotion", {"model_set": model_set, "is_promoted": False}, YESTERDAY)
    made_by(publishing, model_set)
    assert_refused(publishing, "does not promote")
    publishing.assert_serves(yesterday)


@pytest.mark.parametrize(
    ("number", "is_published"), [(1, True), (2, False)], ids=["another entry", "the promotion itself"]
)
@pytest.mark.parametrize("how", ["altered", "deleted"])
def test_an_entry_that_was_tampered_with_does_not_stop_the_champions_lists_unless_it_is_its_promotion(
    publishing: Publishing, yesterday: Run, number: int, is_published: bool, how: str
) -> None:
    today = publishing.make(DAY)
    publishing.write(today)
    spoil: dict[str, Callable[[dict[str, object]], list[dict[str, object]]]] = {
        "altered": lambda row: [row | {"content": str(row["content"]).replace("planted", "tampered")}],
        "deleted": lambda _: [],
    }
    rewrite(
        publishing.lake,
        lambda rows: [one for row in rows for one in (spoil[how](row) if row["number"] == number else [row])],
    )
    if is_published:
        publish.main(DAY)
        publishing.assert_serves(today)
    else:
        assert_refused(publishing, "does not promote")
        publishing.assert_serves(yesterday)


def test_a_night_before_any_set_was_promoted_publishes_what_trends(
    publishing: Publishing, capsys: pytest.CaptureFixture[str]
) -> None:
    with publishing.store() as store:
        today = open_run(publishing.lake, store, planned_run(DAY))
    make_lists(publishing.lake, today, 0)
    for shard in ("0/2", "1/2"):
        with step(publishing.lake, today, "score_users", shard) as work:
            work.counts = {"users": 0, "champion": None}
    publishing.write(today)
    publish.main(DAY)
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (said["is_live"], said["lists"], said["model_set"]) == (True, 0, None)


def test_who_goes_back_and_why_is_in_the_signed_record(publishing: Publishing, yesterday: Run) -> None:
    publishing.publish(publishing.make(DAY))
    for by, reason in (("", ""), ("Ada", ""), ("", "a broken night"), (" ", "a broken night")):
        with pytest.raises(UsageError, match="--by NAME --reason WHY"):
            rollback_lists.main(day=YESTERDAY, by=by, reason=reason)
    rollback_lists.main(day=YESTERDAY, by="Ada", reason="a broken night")
    publishing.assert_serves(yesterday)
    entry = records(publishing.lake)[-1]
    assert entry.moment == "rollback"
    assert (entry.content["by"], entry.content["reason"]) == ("Ada", "a broken night")
    assert entry.content["run_id"] == yesterday.run_id
    assert entry.content["model_set"] == records(publishing.lake)[0].content["model_set"]


def test_with_a_broken_record_one_can_go_back_and_is_told_that_it_was_not_signed(
    publishing: Publishing, yesterday: Run
) -> None:
    publishing.publish(publishing.make(DAY))
    rewrite(publishing.lake, lambda rows: rows[1:])
    told = f"run {yesterday.run_id} is live, and that could not be recorded: record 1 was deleted"
    with pytest.raises(RefusedError, match=told):
        rollback_lists.main(day=YESTERDAY, by="Ada", reason="a broken night")
    publishing.assert_serves(yesterday)
    steps = publishing.lake.read(STEPS).to_pylist()
    assert [json.loads(row["counts"])["by"] for row in steps if row["job"] == "rollback_lists"] == ["Ada"]


def test_a_list_is_walked_back_to_its_run_set_tables_promotion_and_audits(
    publishing: Publishing, yesterday: Run
) -> None:
    ended = publishing.run("explain_list", "--user-id", 7, "--day", YESTERDAY)
    assert ended.returncode == 0, ended.stderr
    said = ended.stdout
    genesis, promotion = records(publishing.lake)
    model_set = promotion.content["model_set"]
    for told in (
        "list: 200 titles",
        f"run: {yesterday.run_id}, attempt {yesterday.attempt}",
        "    live",
        f"model set: {model_set}",
        str(publishing.home / "models" / model_set),
        f"promotion: {promotion.audit_id}: promoted on {promotion.content['recorded_at']}",
        f"audit in force on {YESTERDAY}: {genesis.audit_id}: PASS under the policy demo version {DEMO_POLICY.version}",
        ", for demos only",
        "record: every record is as it was signed",
        f"python -m jobs.verify_audit --records {publishing.home / 'audits' / 'records.jsonl'}",
    ):
        assert told in said, (told, said)
    last = json.loads(said.splitlines()[-1])
    assert last == {"job": "explain_list", "run_id": yesterday.run_id, "model_set": model_set, "is_live": True}


def test_who_has_no_list_and_what_is_no_longer_kept_are_explained_too(
    publishing: Publishing, yesterday: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    publishing.publish(publishing.make(DAY))
    explain_list.main(4711, DAY)
    assert "user 4711 has none in this run" in capsys.readouterr().out
    with publishing.store() as store:
        store.drop_runs(1)
    rewrite(publishing.lake, lambda rows: rows[1:])
    explain_list.main(7, YESTERDAY)
    said = capsys.readouterr().out
    assert "list: 200 titles" in said
    assert f"seen in {publishing.home / 'lake' / 'recommendations'}" in said
    assert "not published, or let go of" in said
    assert f"audit in force on {YESTERDAY}: none" in said
    assert "record: record 1 was deleted" in said


def test_a_day_without_a_run_is_named(publishing: Publishing) -> None:
    with pytest.raises(DataError, match="no run was opened for 2026-03-01"):
        explain_list.main(7, date(2026, 3, 1))
