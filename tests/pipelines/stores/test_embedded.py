import shutil
import subprocess
import sys

import pytest

from pipelines.errors import UnavailableError
from pipelines.stores.embedded import EmbeddedStore

TODAY = "20260131-bbbbbbbbbbbb"


def publish(store, run_id=TODAY, users=range(1, 50), data=b"x" * 1900):
    attempt = store.open_attempt(run_id)
    store.put_many(run_id, attempt, ((user_id, data) for user_id in users))
    store.put_trending(run_id, attempt, b"trending")
    store.commit_manifest(run_id, attempt, {})
    return store.go_live(run_id, attempt)


def test_a_reader_that_finds_no_store_says_so_and_makes_none(tmp_path):
    with pytest.raises(UnavailableError, match="nothing was published"):
        EmbeddedStore(tmp_path / "lists.lmdb", is_reader=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"not a store" * 2000])
def test_a_file_that_is_no_store_is_unavailable_to_a_reader(tmp_path, content):
    path = tmp_path / "lists.lmdb"
    path.mkdir()
    (path / "data.mdb").write_bytes(content)
    with pytest.raises(UnavailableError, match="list store"):
        EmbeddedStore(path, is_reader=True)


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path / "file" / "lists.lmdb", tmp_path / "file"):
        with pytest.raises(UnavailableError, match="cannot be used"):
            EmbeddedStore(path)


def test_the_store_takes_no_more_disk_than_its_lists(tmp_path):
    with EmbeddedStore(tmp_path / "lists.lmdb") as store:
        publish(store, users=range(1, 1001))
    assert (tmp_path / "lists.lmdb" / "data.mdb").stat().st_blocks * 512 < 1.2 * 1000 * 2048


def test_a_full_store_says_so_and_nothing_of_the_run_is_seen(tmp_path):
    with EmbeddedStore(tmp_path / "lists.lmdb", map_size=2**20) as store:
        publish(store, "20260130-aaaaaaaaaaaa")
        attempt = store.open_attempt(TODAY)
        with pytest.raises(UnavailableError, match="full"):
            store.put_many(TODAY, attempt, ((user_id, b"y" * 1900) for user_id in range(1, 2000)))
        assert store.live_list(1) == (store.live(), b"x" * 1900, b"trending")
        assert store.tally(TODAY).list_count == 0


def test_a_full_disk_says_so_and_the_run_can_be_written_when_there_is_room(tmp_path):
    path = tmp_path / "lists.lmdb"
    with EmbeddedStore(path) as store:
        publish(store, "20260130-aaaaaaaaaaaa")
    source = f"""
import resource, signal
from pathlib import Path
from pipelines.errors import UnavailableError
from pipelines.stores.embedded import EmbeddedStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
with EmbeddedStore(Path({str(path)!r})) as store:
    attempt = store.open_attempt({TODAY!r})
    try:
        store.put_many({TODAY!r}, attempt, ((user_id, b"y" * 1900) for user_id in range(1, 2000)))
    except UnavailableError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, timeout=60)
    assert str(path) in done.stdout
    with EmbeddedStore(path) as store:
        assert store.live_list(1).user_list == b"x" * 1900
        publish(store, users=range(1, 2000), data=b"y" * 1900)
        assert store.live_list(1).user_list == b"y" * 1900


def test_a_reader_tells_when_the_store_was_removed_and_made_again(tmp_path):
    path = tmp_path / "lists.lmdb"
    with EmbeddedStore(path) as store:
        publish(store)
    with EmbeddedStore(path, is_reader=True) as reader:
        assert reader.is_current()
        shutil.rmtree(path)
        assert not reader.is_current()
        with EmbeddedStore(path) as store:
            publish(store, data=b"new")
            assert not reader.is_current()
            assert reader.live_list(1).user_list == b"x" * 1900
    with EmbeddedStore(path, is_reader=True) as reader:
        assert reader.live_list(1).user_list == b"new"


def test_a_reader_cannot_write(tmp_path):
    path = tmp_path / "lists.lmdb"
    EmbeddedStore(path).close()
    with EmbeddedStore(path, is_reader=True) as reader, pytest.raises(UnavailableError):
        reader.open_attempt(TODAY)
