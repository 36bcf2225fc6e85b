"""A model set is what its name says, or it is not loaded."""

import json
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import DataError
from pipelines.models.als import AlsModel
from pipelines.models.model_sets import ModelSet, ModelSets


def model_set(seed: int = 1) -> ModelSet:
    factors = np.random.default_rng(seed).standard_normal((5, 4)).astype(np.float32)
    return ModelSet(AlsModel(np.arange(1, 6, dtype=np.int64), factors, 0.1, 2.0), date(2026, 1, 30))


@pytest.fixture
def sets(tmp_path: Path) -> ModelSets:
    return ModelSets(str(tmp_path / "models"))


def test_a_set_comes_back_as_it_was_and_its_name_follows_from_its_content(sets: ModelSets) -> None:
    digest = sets.save(model_set())
    loaded = sets.load(digest)
    np.testing.assert_array_equal(loaded.als.item_factors, model_set().als.item_factors)
    np.testing.assert_array_equal(loaded.als.item_ids, model_set().als.item_ids)
    assert (loaded.als.regularization, loaded.als.alpha, loaded.learned_until) == (0.1, 2.0, date(2026, 1, 30))
    assert sets.save(model_set()) == digest != sets.save(model_set(seed=2))


@pytest.mark.parametrize("file", ["als.parquet", "model_set.json", "manifest.json"])
def test_a_file_that_was_altered_is_refused_before_it_is_read(sets: ModelSets, tmp_path: Path, file: str) -> None:
    digest = sets.save(model_set())
    path = tmp_path / "models" / digest / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{'manifest' if file == 'manifest.json' else file}"):
        sets.load(digest)


@pytest.mark.parametrize("file", ["als.parquet", "manifest.json"])
def test_a_set_that_lacks_a_file_is_not_loaded_and_saving_it_again_mends_it(
    sets: ModelSets, tmp_path: Path, file: str
) -> None:
    digest = sets.save(model_set())
    (tmp_path / "models" / digest / file).unlink()
    with pytest.raises(DataError, match=r"is not there, or lacks"):
        sets.load(digest)
    if file == "manifest.json":  # what a save that died left behind
        assert sets.save(model_set()) == digest
        assert sets.load(digest).learned_until == date(2026, 1, 30)


def test_a_set_in_another_format_is_refused(sets: ModelSets, tmp_path: Path) -> None:
    import hashlib

    digest = sets.save(model_set())
    folder = tmp_path / "models" / digest
    (folder / "evil.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    del files["manifest.json"]
    manifest = json.dumps(files, sort_keys=True, indent=1)
    forged = hashlib.sha256(manifest.encode()).hexdigest()[:32]
    (folder / "manifest.json").write_text(manifest)
    folder.rename(folder.with_name(forged))
    with pytest.raises(DataError, match=r"holds als.parquet, evil.pkl, model_set.json"):
        sets.load(forged)


@pytest.mark.parametrize("name", ["0" * 32, "../../etc/passwd", ""])
def test_a_name_that_is_no_set_is_refused(sets: ModelSets, name: str) -> None:
    with pytest.raises(DataError, match=r"is not there|is no digest"):
        sets.load(name)
