"""What is kept is what its name says, or it is not given out."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.digested_files import DigestedFiles
from pipelines.errors import DataError

FILES = {"als.parquet": b"factors" * 50, "model_set.json": b"{}"}


@pytest.fixture
def kept(tmp_path: Path) -> DigestedFiles:
    return DigestedFiles(str(tmp_path / "models"))


def test_files_come_back_as_they_were_and_their_name_follows_from_their_content(kept: DigestedFiles) -> None:
    digest = kept.save(FILES)
    assert kept.load(digest) == FILES
    assert kept.save(dict(reversed(FILES.items()))) == digest != kept.save({**FILES, "model_set.json": b"[]"})


@pytest.mark.parametrize("file", [*FILES, "manifest.json"])
def test_a_file_that_was_altered_is_refused(kept: DigestedFiles, tmp_path: Path, file: str) -> None:
    digest = kept.save(FILES)
    path = tmp_path / "models" / digest / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{'manifest' if file == 'manifest.json' else file}"):
        kept.load(digest)


@pytest.mark.parametrize("file", ["als.parquet", "manifest.json"])
def test_what_lacks_a_file_is_not_given_out_and_saving_it_again_mends_it(
    kept: DigestedFiles, tmp_path: Path, file: str
) -> None:
    digest = kept.save(FILES)
    (tmp_path / "models" / digest / file).unlink()
    with pytest.raises(DataError, match=r"is not there, or lacks"):
        kept.load(digest)
    if file == "manifest.json":  # what a save that died left behind
        assert kept.save(FILES) == digest
        assert kept.load(digest) == FILES


def test_a_file_that_is_not_in_the_manifest_is_not_read(kept: DigestedFiles, tmp_path: Path) -> None:
    digest = kept.save(FILES)
    (tmp_path / "models" / digest / "evil.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert set(kept.load(digest)) == set(FILES)


@pytest.mark.parametrize("name", ["0" * 32, "../../etc/passwd", ""])
def test_a_name_that_is_nothing_is_refused(kept: DigestedFiles, name: str) -> None:
    with pytest.raises(DataError, match=r"is not there|is no digest of a model set"):
        kept.load(name)


def test_what_nobody_names_is_removed_once_it_is_old_enough_and_nothing_else_is(
    kept: DigestedFiles, tmp_path: Path
) -> None:
    named, unnamed = kept.save(FILES), kept.save({"other": b"1"})
    (tmp_path / "models" / "by_run").mkdir()
    now = datetime.now(UTC)
    assert kept.drop_all_but({named}, made_before=now - timedelta(hours=1)) == 0
    assert kept.drop_all_but({named}, made_before=now + timedelta(hours=1)) == 1
    assert kept.load(named) == FILES
    assert {path.name for path in (tmp_path / "models").iterdir()} == {named, "by_run"}
    with pytest.raises(DataError, match="is not there"):
        kept.load(unnamed)
