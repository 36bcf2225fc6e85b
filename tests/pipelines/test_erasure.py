"""A person is suppressed at once, then removed; nothing of the night brings them back."""

import dataclasses
from pathlib import Path

import pyarrow as pa
import pytest
from erasable import (
    DAYS,
    OTHER,
    RARE,
    RUN_ID,
    SHARDS,
    events,
    files_that_name,
    people,
    recommendations,
    write_installation,
)

from feature_defs.events import EVENTS
from feature_defs.recommendations import RECOMMENDATIONS
from feature_defs.record import ERASURES, QUARANTINE
from feature_defs.users import USERS
from pipelines.erasure import Receipt, erased_users, forget_again, receipts, suppress
from pipelines.errors import UsageError
from pipelines.lake import Lake
from pipelines.removal import remove_waiting
from pipelines.stores.embedded import EmbeddedStore


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_installation(tmp_path)
    return tmp_path


@pytest.fixture
def lake(home: Path) -> Lake:
    return Lake(str(home / "lake"))


@pytest.fixture
def store(home: Path):
    with EmbeddedStore(home / "lists.lmdb") as opened:
        yield opened


def remove(home: Path, lake: Lake, store, **options: int) -> dict[int, Receipt]:
    return remove_waiting(lake, store, home / "spool", home / "data_docs", **options)


def users_of(table: pa.Table) -> set[int]:
    return set(table.column("user_id").to_pylist())


def traces(home: Path) -> set[str]:
    """Where the user is, beside the record of the erasure and the free pages of the list store."""
    return {name for name in files_that_name(home) if not name.startswith(("lake/erasures/", "lists.lmdb/"))}


def test_before_an_erasure_the_user_is_in_all_these_places(home: Path) -> None:
    places = {name.split("/")[1] if name.startswith("lake/") else name.split("/")[0] for name in traces(home)}
    assert places == {"events", "users", "recommendations", "quarantine", "spool", "data_docs"}


def test_suppressed_the_user_is_read_from_no_table_and_no_old_version_and_others_are(lake: Lake, store) -> None:
    before = lake.version(EVENTS)
    receipt = suppress(lake, store, RARE)
    assert receipt.suppressed_at is not None
    assert receipt.removed_at is None
    assert users_of(lake.read(EVENTS)) == users_of(lake.read(EVENTS, version=before)) == {OTHER}
    assert users_of(pa.Table.from_batches(lake.batches(EVENTS, version=0))) == {OTHER}
    assert users_of(lake.read(USERS)) == users_of(lake.dataset(USERS).to_table()) == {OTHER}
    assert lake.read(USERS, columns=["signup_at"]).num_rows == len(DAYS)
    assert erased_users(lake) == {RARE}


def test_suppressed_the_store_answers_with_no_list_and_keeps_no_state(lake: Lake, store) -> None:
    receipt = suppress(lake, store, RARE)
    assert receipt.places["lists"].count == receipt.places["user_state"].count == 1
    assert store.live_list(RARE).user_list is None
    assert store.live_list(OTHER).user_list is not None
    assert store.state(RARE).state.is_forgotten
    assert RARE in store.forgotten()


def test_what_is_written_after_the_erasure_holds_nothing_of_the_user(lake: Lake, store, home: Path) -> None:
    suppress(lake, store, RARE)
    remove(home, lake, store)
    lake.replace(EVENTS, events(DAYS[1], RARE, OTHER), DAYS[1])
    lake.replace(USERS, people(OTHER, RARE), DAYS[1])
    lake.replace(RECOMMENDATIONS, recommendations(SHARDS[0], RARE), DAYS[1], where={"shard": SHARDS[0]})
    assert traces(home) == set()
    assert users_of(lake.read(EVENTS, DAYS[1], DAYS[1])) == {OTHER}


def test_a_rule_that_only_the_erased_user_breaks_refuses_no_night_and_quarantines_nothing(lake: Lake, store) -> None:
    suppress(lake, store, RARE)
    quarantined = lake.read(QUARANTINE).num_rows
    rows = people(OTHER, RARE).set_column(
        USERS.names.index("signup_at"), "signup_at", pa.array([DAYS[0], None]).cast(pa.timestamp("us", "UTC"))
    )
    assert lake.replace(USERS, rows, DAYS[1]).row_count == 1
    assert lake.read(QUARANTINE).num_rows == quarantined


def test_after_the_removal_no_file_names_the_user_and_the_receipt_names_every_place(home, lake, store) -> None:
    suppress(lake, store, RARE)
    receipt = remove(home, lake, store)[RARE]
    assert traces(home) == set()
    assert receipt.removed_at is not None
    assert receipt.suppressed_at is not None
    assert receipt.suppressed_at < receipt.removed_at
    counts = {name: place.count for name, place in receipt.places.items()}
    assert counts == {
        "lists": 1,
        "user_state": 1,
        "lake.events": 6,
        "lake.users": 2,
        "lake.protected_attributes": 0,
        "lake.interactions": 0,
        "lake.user_features": 0,
        "lake.labels": 0,
        "lake.recommendations": 1,
        "lake.judged_lists": 0,
        "lake.quarantine": 6,
        "older_versions": 0,
        "spool": 4,
        "open_segments": 0,
        "data_docs": 2,
        "models": 0,
        "checkpoints": 0,
        "snapshots": 0,
        "mlflow": 0,
        "warehouse": None,
    }
    assert receipts(lake)[RARE] == receipt
    assert all(receipt.places[name].why for name in ("models", "checkpoints", "snapshots", "warehouse"))


def test_others_keep_all_that_is_theirs(home: Path, lake: Lake, store) -> None:
    suppress(lake, store, RARE)
    remove(home, lake, store)
    assert lake.read(EVENTS).num_rows == 6
    assert lake.read(QUARANTINE).num_rows == 6
    assert users_of(lake.read(RECOMMENDATIONS)) == {OTHER}
    assert store.get(RUN_ID, OTHER) is not None


def test_a_rewritten_day_has_the_digest_that_it_would_have_had_without_the_user(home, lake, store, tmp_path) -> None:
    suppress(lake, store, RARE)
    remove(home, lake, store)
    never = Lake(str(tmp_path / "never"))
    never.replace(EVENTS, events(DAYS[1], OTHER), DAYS[1])
    assert lake.digests(EVENTS)[str(DAYS[1])] == never.digests(EVENTS)[str(DAYS[1])]
    assert not lake.replace(EVENTS, events(DAYS[1], RARE, OTHER), DAYS[1]).is_new
    part = {"shard": SHARDS[1]}
    assert lake.digests(RECOMMENDATIONS, where={"shard": SHARDS[0]}) == {}
    assert not lake.replace(RECOMMENDATIONS, recommendations(SHARDS[1], OTHER), DAYS[1], where=part).is_new
    assert set(lake.digests(EVENTS)) == {str(day) for day in DAYS}


def test_a_run_in_flight_reads_its_pinned_version_through_the_removal(home: Path, lake: Lake, store) -> None:
    pinned = lake.version(EVENTS)
    suppress(lake, store, RARE)
    remove(home, lake, store)
    assert users_of(lake.read(EVENTS, version=pinned)) == {OTHER}
    lake.replace(EVENTS, events(DAYS[0], OTHER, 43), DAYS[0])
    assert users_of(lake.read(EVENTS, version=pinned)) == {OTHER}
    assert all(Path(file.removeprefix("file://")).exists() for file in lake.files(EVENTS, version=pinned))
    assert lake.digests(EVENTS, version=pinned)


def test_while_older_versions_are_kept_the_receipt_has_no_second_date(home: Path, lake: Lake, store) -> None:
    suppress(lake, store, RARE)
    early = remove(home, lake, store, keep_hours=24)[RARE]
    assert early.removed_at is None
    assert early.places["older_versions"].count == 4
    assert "24 hours" in early.places["older_versions"].why
    late = remove(home, lake, store)[RARE]
    assert late.removed_at is not None
    assert late.places["lake.events"].count == early.places["lake.events"].count == 6
    assert traces(home) == set()


def test_an_erasure_that_comes_while_a_table_is_being_written_wins(home: Path, lake: Lake, store, monkeypatch) -> None:
    write = Lake._write

    def write_meanwhile(self, *arguments):
        monkeypatch.setattr(Lake, "_write", write)
        other = Lake(lake.root)
        suppress(other, store, RARE)
        remove(home, other, store)
        write(self, *arguments)

    monkeypatch.setattr(Lake, "_write", write_meanwhile)
    lake.replace(EVENTS, events(DAYS[1], RARE, OTHER, 43), DAYS[1])
    assert users_of(lake.read(EVENTS, DAYS[1], DAYS[1])) == {OTHER, 43}
    assert traces(home) == set()


def test_a_removal_that_meets_a_writer_rewrites_what_the_writer_left(lake: Lake, store, monkeypatch) -> None:
    suppress(lake, store, RARE)
    rewrite = Lake._rewrite

    def rewrite_late(self, *arguments):
        monkeypatch.setattr(Lake, "_rewrite", rewrite)
        Lake(lake.root).replace(EVENTS, events(DAYS[1], OTHER, 43), DAYS[1])
        rewrite(self, *arguments)

    monkeypatch.setattr(Lake, "_rewrite", rewrite_late)
    lake.expunge(EVENTS, pa.array([RARE]))
    assert users_of(lake.read(EVENTS, DAYS[1], DAYS[1])) == {OTHER, 43}
    assert users_of(lake.read(EVENTS, DAYS[0], DAYS[0])) == {OTHER}


def test_whoever_reads_batch_by_batch_learns_of_an_erasure_in_the_midst(lake: Lake, store) -> None:
    reading = lake.batches(EVENTS, columns=["user_id", "day"])
    seen = next(reading).num_rows
    assert seen
    suppress(Lake(lake.root), store, RARE)
    assert all(RARE not in batch.column("user_id").to_pylist() for batch in reading)


def test_before_the_pointer_moves_a_list_that_was_written_late_is_forgotten_again(lake: Lake, store) -> None:
    suppress(lake, store, RARE)
    attempt = store.open_attempt(RUN_ID)
    store.put_many(RUN_ID, attempt, [(RARE, b"late"), (OTHER, b"list")])
    assert forget_again(lake, store) == 1
    assert store.get(RUN_ID, RARE) is None
    assert store.get(RUN_ID, OTHER) == b"list"


def test_a_store_that_was_made_anew_learns_who_is_forgotten(lake: Lake, store, tmp_path: Path) -> None:
    suppress(lake, store, RARE)
    with EmbeddedStore(tmp_path / "new.lmdb") as new:
        forget_again(lake, new)
        assert new.forgotten() == {RARE}


def test_without_erasures_there_is_nothing_to_forget(tmp_path: Path, store) -> None:
    lake = Lake(str(tmp_path / "empty"))
    assert erased_users(lake) == frozenset()
    assert forget_again(lake, store) == 0
    assert remove_waiting(lake, store, tmp_path / "spool", tmp_path / "docs") == {}


def test_asking_twice_is_harmless_and_gives_the_receipt_again(home: Path, lake: Lake, store) -> None:
    suppress(lake, store, RARE)
    first = remove(home, lake, store)[RARE]
    versions = {table.name: lake.version(table) for table in (EVENTS, USERS, QUARANTINE, ERASURES)}
    assert suppress(lake, store, RARE) == first
    assert remove(home, lake, store) == {}
    assert versions == {table.name: lake.version(table) for table in (EVENTS, USERS, QUARANTINE, ERASURES)}


def test_a_user_whom_nobody_knows_gets_a_receipt_that_counts_nothing(home: Path, lake: Lake, store) -> None:
    suppress(lake, store, 999)
    receipt = remove(home, lake, store)[999]
    assert receipt.removed_at is not None
    assert not any(place.count for place in receipt.places.values())
    assert users_of(lake.read(EVENTS)) == {RARE, OTHER}


def test_all_who_wait_are_removed_by_rewriting_each_table_once(home: Path, lake: Lake, store) -> None:
    for user in (RARE, OTHER):
        suppress(lake, store, user)
    before = lake.version(USERS)
    done = remove(home, lake, store)
    assert set(done) == {RARE, OTHER}
    assert lake.version(USERS) is not None
    assert before is not None
    commits = lake.version(USERS) - before
    assert commits <= 5, "one commit that rewrites; the others tell of deleted files"
    assert lake.read(USERS).num_rows == 0
    assert lake.days(USERS) == []
    assert lake.digests(USERS) == {}


@pytest.mark.parametrize("user_id", [0, -7, 2**63])
def test_what_can_be_no_user_id_is_refused_in_a_sentence(lake: Lake, store, user_id: int) -> None:
    with pytest.raises(UsageError, match=f"must lie between 1 and 2.63 - 1, not be {user_id}"):
        suppress(lake, store, user_id)
    assert lake.version(ERASURES) is None


def test_a_receipt_of_a_store_that_failed_is_gone_on_with(lake: Lake, store) -> None:
    class Broken(EmbeddedStore):
        def __init__(self) -> None:
            pass

        def state(self, user_id: int):
            raise ConnectionError

    with pytest.raises(ConnectionError):
        suppress(lake, Broken(), RARE)
    asked = receipts(lake)[RARE]
    assert asked.suppressed_at is None
    assert users_of(lake.read(EVENTS)) == {OTHER}, "nothing is built from here on"
    again = suppress(lake, store, RARE)
    assert dataclasses.replace(again, suppressed_at=None, places={}) == asked
