"""What the store holds is compared with what was made, list by list where it is looked at, before anything is live."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from audited import plant_promotion
from made_lists import DAY
from publishing import USERS_COUNT, Publishing

from feature_defs.recommendations import RECOMMENDATIONS
from feature_defs.record import ERASURES
from pipelines.arrow_schemas import arrow_schema
from pipelines.errors import DataError, UnavailableError
from pipelines.lists.stored import stored_lists
from pipelines.publication import show_expectations, verify
from pipelines.runs import Run
from pipelines.stores.interface import tally_of
from pipelines.stores.places import Places


@pytest.fixture
def publishing(tmp_path: Path) -> Publishing:
    return Publishing(tmp_path, Places(str(tmp_path / "lists.lmdb")))


@pytest.fixture
def made(publishing: Publishing) -> Run:
    return publishing.make(DAY)


def test_the_manifest_says_what_was_written_and_by_which_models(publishing: Publishing, made: Run) -> None:
    publishing.write(made)
    with publishing.store() as store:
        manifest = verify(publishing.lake, made, store)
    clean = tally_of(publishing.expected(made).items())
    assert manifest == {
        "lists": USERS_COUNT,
        "checksum": f"{clean.checksum:016x}",
        "model_set": plant_promotion(publishing.home, DAY),
        "recommendations_version": publishing.lake.version(RECOMMENDATIONS),
    }


def test_the_same_again_says_the_same_though_the_table_grew_meanwhile(publishing: Publishing, made: Run) -> None:
    publishing.write(made)
    with publishing.store() as store:
        before = verify(publishing.lake, made, store)
    publishing.make(DAY + timedelta(1))
    with publishing.store() as store:
        assert verify(publishing.lake, made, store) == before


def test_a_part_that_was_not_written_is_named(publishing: Publishing, made: Run) -> None:
    publishing.write(made, ["0/2"])
    with publishing.store() as store, pytest.raises(DataError, match=r"write_lists has not been run .* --shard 1/2"):
        verify(publishing.lake, made, store)


def test_a_list_that_is_gone_or_one_too_many_is_found(publishing: Publishing, made: Run) -> None:
    publishing.write(made)
    with publishing.store() as store:
        store.put_many(made.run_id, made.attempt, [(USERS_COUNT + 1, b"one more")])
        with pytest.raises(UnavailableError, match=r"the store holds 41 lists .* 40 with .* were written"):
            verify(publishing.lake, made, store)
        store.forget_user(USERS_COUNT + 1)
        store.forget_user(3)
        with pytest.raises(UnavailableError, match="the store holds 39 lists"):
            verify(publishing.lake, made, store)


def test_lists_that_differ_from_the_lake_are_found_though_they_are_as_recorded(
    publishing: Publishing, made: Run
) -> None:
    publishing.write(made)
    rows = publishing.lake.read(RECOMMENDATIONS, DAY, DAY).filter(pa.compute.field("shard") == "0/2")
    scores = pa.compute.list_slice(rows["scores"], 0, 200)
    halved = pa.array([[score / 2 for score in row] for row in scores.to_pylist()], pa.list_(pa.float32()))
    changed = rows.set_column(rows.schema.get_field_index("scores"), "scores", halved).drop_columns(["day"])
    publishing.lake.replace(RECOMMENDATIONS, changed, DAY, where={"shard": "0/2"})
    with publishing.store() as store, pytest.raises(UnavailableError, match="is not the one that was made"):
        verify(publishing.lake, made, store)


def test_the_page_for_people_is_written_and_a_run_without_lists_has_none(publishing: Publishing, made: Run) -> None:
    docs = publishing.home / "docs"
    show_expectations(publishing.lake, made, docs)
    assert (docs / str(DAY) / "publish_recommendations" / "index.html").exists()
    show_expectations(publishing.lake, Run(f"{DAY:%Y%m%d}-{9:012x}", DAY, "daily", 1, made.configuration, {}), docs)


def test_lists_are_read_by_run_and_part_in_blocks(publishing: Publishing, made: Run) -> None:
    publishing.make(DAY, number=2, users_count=10)
    for shard, parity in (("0/2", 0), ("1/2", 1)):
        users = [
            user
            for block in stored_lists(publishing.lake, DAY, f"{DAY:%Y%m%d}-{2:012x}", shard)
            for user in block.column("user_id").to_pylist()
        ]
        assert sorted(users) == [user for user in range(1, 11) if user % 2 == parity]
    assert list(stored_lists(publishing.lake, DAY + timedelta(1), made.run_id)) == []


def test_users_whose_erasure_was_asked_for_are_not_among_them(publishing: Publishing, made: Run) -> None:
    now = datetime.now(UTC)
    row = {"erasure_id": "e1", "user_id": 4, "asked_at": now, "places": "{}", "recorded_at": now}
    publishing.lake.append(ERASURES, pa.Table.from_pylist([row], arrow_schema(ERASURES)), DAY)
    found = set(publishing.expected(made))
    assert len(found) == USERS_COUNT - 1
    assert 4 not in found
