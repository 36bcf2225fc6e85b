"""From a lake and a champion to a snapshot that the endpoint reads, and finds by its run."""

import itertools
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import small_models

from feature_defs.events import EVENTS
from feature_defs.interactions import ITEM_PLAYS
from feature_defs.items import ITEM_TEXT_VECTORS, ITEMS
from feature_defs.users import USERS
from jobs import build_snapshot
from pipelines.arrow_schemas import arrow_schema
from pipelines.configuration import RunConfiguration
from pipelines.digested_files import DigestedFiles
from pipelines.evaluation.gate import Verdict
from pipelines.lake import Lake
from pipelines.lists.codec import unpack
from pipelines.promotion import decide
from pipelines.runs import last_step, plan_run, record_run, run_of
from pipelines.serving.snapshots import read_snapshot

DAY = small_models.small.DAY
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def event(number: int, item: int, kind: str) -> dict:
    return {
        "event_id": f"{number}-{kind}",
        "request_id": f"r{number}",
        "user_id": 1,
        "item_id": item,
        "kind": kind,
        "happened_at": NOON,
        "received_at": NOON,
    }


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setenv("MARQUEE_HOME", str(tmp_path))
    lake = Lake(str(tmp_path / "lake"))
    plays = {"happened_on": DAY, "play_count": 3, "complete_count": 1, "share_count": 1, "share_millionths": 500_000}
    rows = {
        EVENTS: [event(1, 1, "impression"), event(2, 5, "impression"), event(2, 5, "click")],
        ITEMS: small_models.small.items(small_models.ITEMS, maturity=[0] * 59 + [21]).to_pylist(),
        USERS: small_models.users().to_pylist(),
        # Titles 1 to 20 are played, the first of them most.
        ITEM_PLAYS: [
            {"item_id": item, **plays, "play_count": 40 // item, "last_played_at": NOON} for item in range(1, 21)
        ],
        ITEM_TEXT_VECTORS: [
            {"item_id": item + 1, "encoder": "planted", "text_digest": "", "vector": vector.tolist()}
            for item, vector in enumerate(small_models.text())
        ],
    }
    for table, some in rows.items():
        lake.replace(table, pa.Table.from_pylist(some, arrow_schema(table)), DAY)
    record_run(lake, plan_run(lake, DAY, RunConfiguration()), 1)
    return lake


def test_before_a_set_is_champion_there_is_no_snapshot(lake: Lake, tmp_path: Path) -> None:
    build_snapshot.main(DAY)
    assert not (tmp_path / "snapshots").exists()


def test_the_snapshot_of_a_run_is_found_by_it_and_says_what_the_lake_does(lake: Lake, tmp_path: Path, capsys) -> None:
    champion = DigestedFiles(str(tmp_path / "models")).save(small_models.model_set().to_files())
    run_id = run_of(lake, DAY).run_id
    decide(lake, run_id, DAY, champion, Verdict(is_promoted=True, reasons=("the first",)))
    build_snapshot.main(DAY)
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    snapshot = read_snapshot(str(tmp_path / "snapshots"), run_id)
    assert (
        said["snapshot"]
        == snapshot.digest
        == last_step(lake, run_of(lake, DAY), "build_snapshot")["writes"]["snapshot"]
    )
    assert (snapshot.run_id, snapshot.model_set, snapshot.audit_id) == (run_id, champion, None)
    assert len(snapshot.titles) == small_models.ITEMS
    assert set(snapshot.neighbours) == set(range(1, 61))
    assert unpack(snapshot.trending).item_ids[0] == 1
    said_by = {(None, None, None)}
    for user in small_models.users().to_pylist():
        genre = (user["onboarding_genres"] or [None])[0]
        for ages, cities, genres in itertools.product(
            *({None, value} for value in (user["age_band"], user["city"], genre))
        ):
            said_by.add((ages, cities, genres))
    assert set(snapshot.cohorts) == said_by, "whoever says less than all three is of a wider cohort"
    # What carries most of the plays is known well enough.
    assert 1 not in snapshot.explorable.weights
    weights = snapshot.explorable.weights
    assert 60 in weights, "whatever the catalogue holds: the rules keep it from being drawn"
    assert snapshot.titles.showable(NOON).hidden == {60: "restricted"}
    assert sum(weights.values()) == pytest.approx(1)
    build_snapshot.main(DAY)
    again = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert again["snapshot"] == said["snapshot"], "the same again"
    assert np.isfinite(list(weights.values())).all()
