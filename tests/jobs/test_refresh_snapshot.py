"""A catalogue that changes between two nights: in answers within one refresh, by the towers that made the lists."""

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import small_models
from planted_lists import TODAY, YESTERDAY, publish

from feature_defs.items import ITEMS
from feature_defs.recommendations import NO_REASON
from jobs import refresh_snapshot
from pipelines.arrow_schemas import arrow_schema
from pipelines.digested_files import DigestedFiles
from pipelines.errors import DataError
from pipelines.exploration import Outcomes
from pipelines.lists.codec import pack, unpack
from pipelines.lists.funnel import retrieval_for
from pipelines.lists.funnel_configuration import FunnelConfiguration
from pipelines.models.model_set import ModelSet
from pipelines.models.nearest import build
from pipelines.models.towers_inputs import item_inputs, vocabularies, windows
from pipelines.models.towers_training import train_towers
from pipelines.serving.compiled import arrange
from pipelines.serving.placed import Asked
from pipelines.serving.snapshots import read_snapshot
from pipelines.snapshot import snapshot_files
from pipelines.snapshot_record import SnapshotRecord, read_record, write_record
from pipelines.stores.embedded import EmbeddedStore
from pipelines.stores.user_state import UserState
from pipelines.text_encoder import DEFAULT_ENCODER, embed, vectors_of
from pipelines.warehouse.duckdb import DuckDBWarehouse

pytestmark = pytest.mark.slow

BUILT_AT = datetime(2026, 2, 1, 3, tzinfo=UTC)
NEW = small_models.ITEMS + 1


def catalogue_rows() -> list[dict]:
    return small_models.small.items(small_models.ITEMS).to_pylist()


def rows_of(rows: list[dict]) -> pa.Table:
    return pa.Table.from_pylist(rows, arrow_schema(ITEMS))


@pytest.fixture(scope="module")
def models() -> tuple[ModelSet, np.ndarray]:
    """A set whose towers read what the sentence encoder makes of titles, and what it makes of them."""
    items = rows_of(catalogue_rows())
    histories, titles, people = (
        small_models.past(),
        small_models.small.catalogue(small_models.ITEMS),
        small_models.users(),
    )
    text = vectors_of(pa.concat_tables(embed(items, DEFAULT_ENCODER)), titles.item_ids, DEFAULT_ENCODER)
    settings = small_models.TOWERS
    known = vocabularies(
        titles, histories.item_ids, people, text.shape[1], settings.creator_buckets, settings.user_buckets
    )
    read = windows(histories, titles, people, known, settings.history_length)
    towers = train_towers(read, item_inputs(titles, text, known), known, settings)
    vectors = towers.encode_items(titles, text)
    made = replace(
        small_models.model_set(),
        towers=towers,
        item_vectors=vectors,
        index=build(vectors),
        text_encoder=DEFAULT_ENCODER,
    )
    return made, text


class Installation:
    def __init__(self, home: Path, models: tuple[ModelSet, np.ndarray]) -> None:
        self.home, self.snapshots = home, str(home / "snapshots")
        model_set, text = models
        self.model_set = DigestedFiles(str(home / "models")).save(model_set.to_files())
        self.rows = catalogue_rows()
        self.load()
        files = snapshot_files(
            rows_of(self.rows),
            retrieval_for(model_set, small_models.small.catalogue(small_models.ITEMS), text, small_models.popularity()),
            model_set.cohorts,
            small_models.users(),
            small_models.popularity(),
            Outcomes(*(np.zeros(0, np.int64) for _ in range(3))),
            self.model_set,
            small_models.small.DAY,
            FunnelConfiguration(),
        )
        self.digest = DigestedFiles(self.snapshots, "snapshot").save(files)
        with EmbeddedStore(home / "lists.lmdb") as store:
            for run_id in (YESTERDAY, TODAY):
                publish(store, run_id)
                write_record(self.snapshots, SnapshotRecord(run_id, self.digest, self.model_set, "audit", BUILT_AT))

    def load(self) -> None:
        """The warehouse knows the catalogue as it is in `rows`."""
        with DuckDBWarehouse(self.home / "warehouse.duckdb", is_writable=True) as warehouse:
            warehouse.replace_all({ITEMS: rows_of(self.rows).to_batches()})

    def publish_a_title(self) -> None:
        published = datetime.now(UTC) - timedelta(hours=1)
        self.rows.append({**self.rows[0], "item_id": NEW, "title": "Out at last", "published_at": published})
        self.load()


@pytest.fixture
def here(tmp_path: Path, models, monkeypatch: pytest.MonkeyPatch) -> Installation:
    monkeypatch.setenv("MARQUEE_HOME", str(tmp_path))
    return Installation(tmp_path, models)


def test_a_title_published_an_hour_ago_is_in_the_answer_of_a_list_whose_vector_it_suits(here, capsys) -> None:
    before = read_snapshot(here.snapshots, TODAY)
    assert (len(before.fresh), NEW in before.titles.by_id) == (0, False)
    here.publish_a_title()
    refresh_snapshot.main()
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (said["is_changed"], said["fresh"], said["run_id"]) == (True, 1, TODAY)
    after = read_snapshot(here.snapshots, TODAY)
    assert (len(after.fresh), after.model_set, after.audit_id) == (1, here.model_set, "audit")
    assert after.generated_at > before.generated_at
    assert NEW in after.explorable.weights
    assert (after.neighbours, after.cohorts, after.trending) == (before.neighbours, before.cohorts, before.trending)
    items = list(range(1, 21))
    user_list = unpack(
        pack(
            item_ids=items,
            scores=[1.0] * 20,
            sources=[3] * 20,
            reasons=[NO_REASON] * 20,
            vector=[0.1] * small_models.TOWERS.width,
            generated_at=BUILT_AT,
        )
    )
    asked = Asked(1, 20, "home", None, None, frozenset(), frozenset(), 0, 1, datetime.now(UTC))
    fresh = [placed for placed in arrange(user_list, UserState(), after, asked).items if placed.is_fresh]
    assert [(placed.item_id, placed.slot, placed.reason.kind) for placed in fresh] == [(NEW, 2, "fresh")]


def test_what_was_withdrawn_or_is_no_longer_approved_is_out_of_every_answer_of_every_run_that_is_kept(here) -> None:
    here.rows[0]["withdrawn_at"] = datetime.now(UTC) - timedelta(minutes=1)
    here.rows[1]["moderation_state"] = "rejected"
    here.load()
    refresh_snapshot.main()
    for run_id in (TODAY, YESTERDAY):
        showable = read_snapshot(here.snapshots, run_id).titles.showable(datetime.now(UTC))
        assert showable.hidden == {1: "withdrawn", 2: "moderation"}
        assert len(showable.entries) == small_models.ITEMS - 2


def test_a_new_title_is_placed_once_and_an_unchanged_catalogue_makes_the_same_snapshot(here) -> None:
    here.publish_a_title()
    refresh_snapshot.main()
    first = read_record(here.snapshots, TODAY)
    shutil.rmtree(here.home / "models")
    refresh_snapshot.main()
    second = read_record(here.snapshots, TODAY)
    assert second.snapshot == first.snapshot != here.digest
    assert second.generated_at > first.generated_at


def test_a_catalogue_that_breaks_its_declaration_leaves_the_snapshot_as_it_is(here) -> None:
    here.rows[0]["title"] = None
    here.load()
    with pytest.raises(DataError, match="title"):
        refresh_snapshot.main()
    assert read_record(here.snapshots, TODAY).snapshot == here.digest
    assert read_record(here.snapshots, TODAY).generated_at == BUILT_AT


def test_before_anything_is_live_there_is_nothing_to_refresh(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("MARQUEE_HOME", str(tmp_path))
    refresh_snapshot.main()
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"job": "refresh_snapshot", "snapshot": None}
