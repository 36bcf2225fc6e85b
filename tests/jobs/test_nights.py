"""Two nights on a small world: a job killed anywhere leaves yesterday served, and its retry ends as a clean run.

The second night is run once as it should be, and its folder is kept as it was before each job. Each test then takes a
copy from just before the job it is about.
"""

import json

import pyarrow.compute as pc
import pytest
from night import ITEMS_COUNT, NIGHTS, SHARDS, USERS_COUNT, Night
from recorded_nights import LAST, SECOND, Recorded

from feature_defs.interactions import INTERACTIONS, LABELS
from feature_defs.recommendations import RECOMMENDATIONS
from feature_defs.record import EVALUATIONS, STEPS
from pipelines.crash_points import EXIT_CODE, POINTS, PUBLICATION_POINTS
from pipelines.digested_files import DigestedFiles
from pipelines.lists.codec import unpack
from pipelines.promotion import champion, decisions
from pipelines.runs import last_step, run_of
from pipelines.serving.snapshots import read_snapshot

pytestmark = pytest.mark.slow


def contents(night: Night) -> dict[str, object]:
    """What must not depend on how often a job was tried: content digests, the champion, the bytes of all lists."""
    run = run_of(night.lake, NIGHTS[1])
    now = champion(night.lake)
    tables = (INTERACTIONS, LABELS, EVALUATIONS)
    parts = {f"lists {shard}": night.lake.digests(RECOMMENDATIONS, where={"shard": shard}) for shard in SHARDS}
    return {
        "run": run.run_id,
        "champion": now.challenger if now else None,
        **{table.name: night.lake.digests(table) for table in tables},
        **parts,
        "bytes": night.lists(run.run_id),
    }


def test_the_planted_structure_comes_back_as_lists_with_reasons(recorded: Recorded) -> None:
    night = recorded.before(LAST)
    run = run_of(night.lake, NIGHTS[1])
    assert night.live_run() == run.run_id
    lists = {user: unpack(data) for user, data in night.lists(run.run_id).items() if data}
    assert set(lists) == set(range(1, USERS_COUNT)), "everybody but the one who opted out has a list"
    own = []
    for user, found in lists.items():
        watched = set(found.history.tolist())
        assert not watched & set(found.item_ids.tolist())
        new_of_own = [item for item in range(1, ITEMS_COUNT + 1) if item % 2 == user % 2 and item not in watched]
        top = found.item_ids[: len(new_of_own)].tolist()
        own.append(len(set(top) & set(new_of_own)) / max(len(new_of_own), 1))
        assert all(reason < len(found.history) or reason == 255 for reason in found.reasons.tolist())
    assert sum(own) / len(own) > 0.9


def test_from_a_served_list_one_walks_back_to_the_models_and_the_versions_read(recorded: Recorded) -> None:
    night = recorded.before(LAST)
    live = night.live_run()
    run = run_of(night.lake, NIGHTS[1])
    assert run.run_id == live
    assert set(run.inputs) == {"events", "items", "users"}
    assert night.lake.read(INTERACTIONS, version=run.inputs["events"].version) is not None
    decided = champion(night.lake)
    assert decided is not None
    assert decided.run_id in {live, run_of(night.lake, NIGHTS[0]).run_id}
    jobs = night.lake.read(STEPS, where=pc.field("run_id") == live).column("job").to_pylist()
    assert {"open_run", "train_als", "score_users", "write_lists", "publish_recommendations"} <= set(jobs)


def test_every_night_is_decided_and_every_decision_has_its_reasons(recorded: Recorded) -> None:
    made = decisions(recorded.before(LAST).lake)
    assert [decision.epoch for decision in made] == [1, 2]
    assert made[0].is_promoted
    assert all(decision.reasons for decision in made)
    assert made[1].champion_before == made[0].challenger


# Which job passes a point, and how often until it is the one that is meant.
WHERE = [
    ("lake.before_commit", "extract_events", 1),
    ("lake.before_commit", "extract_events", 3),
    ("lake.after_commit", "extract_events", 1),
    ("lake.before_commit", "build_features", 2),
    ("digested_files.before_manifest", "train_als", 1),
    ("digested_files.before_manifest", "assemble_models", 1),
    ("digested_files.before_manifest", "build_snapshot", 1),
    ("towers.after_checkpoint", "train_towers", 2),
    ("lake.before_commit", "evaluate_models", 1),
    ("promotion.before_record", "promote_models", 1),
    ("promotion.after_record", "promote_models", 1),
    ("lake.before_commit", "score_users", 1),
    ("lake.after_commit", "score_users", 1),
    ("write_lists.after_list", "write_lists", 7),
    ("publication.before_manifest", "publish_recommendations", 1),
    ("publication.before_pointer", "publish_recommendations", 1),
    ("publication.after_pointer", "publish_recommendations", 1),
]


def test_every_crash_point_is_tried() -> None:
    # These belong to publication alone: test_publication_faults.py kills in each of its points, on every store.
    elsewhere = {
        "write_lists.before_part_recorded",
        "write_lists.before_record",
        "publication.after_verify",
        "pair.between_pointers",
    }
    assert elsewhere <= set(PUBLICATION_POINTS)
    assert {point for point, _, _ in WHERE} == set(POINTS) - elsewhere


@pytest.mark.parametrize(("point", "job", "count"), WHERE)
def test_a_job_killed_in_the_middle_leaves_yesterday_served_and_its_retry_ends_as_a_clean_run(
    recorded: Recorded, point: str, job: str, count: int
) -> None:
    step = next(number for number, command in enumerate(SECOND) if command[0] == job)
    night, clean = recorded.before(step), recorded.before(step + 1)
    yesterday = run_of(night.lake, NIGHTS[0]).run_id
    ended = night.run(*SECOND[step], MARQUEE_CRASH_AT=f"{point}:{count}")
    assert ended.returncode == EXIT_CODE, ended.stdout + ended.stderr
    served = clean.live_run() if point == "publication.after_pointer" else yesterday
    assert night.live_run() == served
    assert all(unpack(data) for data in night.lists(served).values() if data)
    night.must(*SECOND[step])
    if job == "extract_events":
        assert night.lake.digests(INTERACTIONS) == clean.lake.digests(INTERACTIONS)
        night.must(*SECOND[1])
        assert run_of(night.lake, NIGHTS[1]).run_id == run_of(recorded.before(LAST).lake, NIGHTS[1]).run_id
    else:
        assert contents(night) == contents(clean)
    assert night.live_run() == clean.live_run()


def test_the_same_day_twice_has_the_same_digests_and_the_same_list_bytes(recorded: Recorded) -> None:
    once, twice = recorded.before(LAST), recorded.before(LAST)
    for step in SECOND:
        twice.must(*step)
    before, after = contents(once), contents(twice)
    # Who is champion when the challenger is judged differs; what is learned, scored and served does not.
    assert before.pop(EVALUATIONS.name) != ""
    after.pop(EVALUATIONS.name)
    assert before == after
    assert len(decisions(twice.lake)) >= len(decisions(once.lake))


def test_the_snapshot_of_a_night_has_a_list_for_every_cohort_and_neighbours_that_may_be_shown(
    recorded: Recorded,
) -> None:
    night = recorded.before(LAST)
    built = last_step(night.lake, run_of(night.lake, NIGHTS[1]), "build_snapshot")
    files = DigestedFiles(str(night.home / "snapshots"), "snapshot").load(built["writes"]["snapshot"])
    assert set(files) == {
        "titles.msgpack", "neighbours.msgpack", "cohorts.msgpack", "trending.bin", "explorable.msgpack",
        "fresh.msgpack", "rules.json",
    }  # fmt: skip
    rules = json.loads(files["rules.json"])
    now = champion(night.lake)
    assert now is not None
    assert (rules["model_set"], rules["genre_limit"]) == (now.challenger, 5)
    run_id = run_of(night.lake, NIGHTS[1]).run_id
    snapshot = read_snapshot(str(night.home / "snapshots"), run_id)
    assert (snapshot.digest, snapshot.run_id) == (built["writes"]["snapshot"], run_id)
    assert snapshot.model_set == now.challenger
    assert len(snapshot.titles) == ITEMS_COUNT
    for item, near in snapshot.neighbours.items():
        assert item not in near
        assert len(set(near)) == len(near) <= 20
    same = [other % 2 == item % 2 for item, near in snapshot.neighbours.items() for other in near[:3]]
    assert sum(same) / len(same) > 0.9, "titles of one parity are watched together"
    assert [unpack(packed).item_ids.size for packed in snapshot.cohorts.values()] == [ITEMS_COUNT]
    assert len(unpack(snapshot.trending)) == ITEMS_COUNT
    assert 0 < len(snapshot.explorable) < ITEMS_COUNT
    assert sum(snapshot.explorable.weights.values()) == pytest.approx(1)
