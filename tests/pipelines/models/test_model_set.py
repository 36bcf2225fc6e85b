"""A model set is one unit: its parts belong together, or it is not loaded."""

import json
from dataclasses import replace

import numpy as np
import pytest
import small_models

from pipelines.errors import DataError
from pipelines.models.model_set import ModelSet
from pipelines.models.nearest import build


def test_a_set_comes_back_from_its_files_and_recommends_the_same() -> None:
    kept = small_models.model_set()
    files = kept.to_files()
    again = ModelSet.from_files(files)
    assert again.to_files() == files
    np.testing.assert_array_equal(again.item_vectors, kept.item_vectors)
    np.testing.assert_array_equal(again.neighbours.positions, kept.neighbours.positions)
    assert (again.learned_until, again.text_encoder, again.ranker) == (kept.learned_until, "planted", None)
    people = small_models.users()
    np.testing.assert_array_equal(again.cohorts.vectors_of(people), kept.cohorts.vectors_of(people))


def test_no_file_of_a_set_is_a_pickle() -> None:
    names = set(small_models.model_set().to_files())
    assert {name.rsplit(".", 1)[1] for name in names} <= {"parquet", "json", "safetensors", "faiss"}


def test_an_index_of_another_set_is_refused() -> None:
    kept = small_models.model_set()
    other = build(np.roll(kept.item_vectors, 1, axis=0))
    with pytest.raises(DataError, match="index"):
        replace(kept, index=other)
    with pytest.raises(DataError, match="index"):
        ModelSet.from_files({**kept.to_files(), "index.faiss": other.to_bytes()})


def test_vectors_of_other_titles_are_refused() -> None:
    kept = small_models.model_set()
    with pytest.raises(DataError, match="the set is for 59 titles and holds 60 vectors"):
        replace(kept, item_ids=kept.item_ids[1:])


@pytest.mark.parametrize("file", sorted(small_models.model_set().to_files()))
def test_a_missing_file_and_one_of_other_content_are_refused_in_a_sentence(file: str) -> None:
    files = small_models.model_set().to_files()
    with pytest.raises(DataError, match=r"."):
        ModelSet.from_files({name: content for name, content in files.items() if name != file})
    with pytest.raises(DataError, match=r"."):
        ModelSet.from_files({**files, file: b"\x80\x04\x95not what it should be"})


def test_a_file_that_is_no_part_of_a_set_is_refused_before_anything_is_loaded() -> None:
    files = small_models.model_set().to_files()
    with pytest.raises(DataError, match=r"holds als.json, als.parquet, .*, evil.pkl, .*expected als.json"):
        ModelSet.from_files({**files, "evil.pkl": b"cos\nsystem\n(S'true'\ntR."})
    with pytest.raises(DataError, match=r"ranker.json"):
        ModelSet.from_files({**files, "ranker.json": b"{}"})


def test_a_set_of_another_format_is_refused() -> None:
    files = small_models.model_set().to_files()
    described = json.loads(files["model_set.json"]) | {"format": 1}
    with pytest.raises(DataError, match="format 1; this code reads 3"):
        ModelSet.from_files({**files, "model_set.json": json.dumps(described).encode()})


def test_a_set_from_before_there_were_interests_is_read_without_any() -> None:
    files = small_models.model_set().to_files()
    described = json.loads(files["model_set.json"]) | {"format": 2}
    before = {name: content for name, content in files.items() if name != "interests.safetensors"}
    again = ModelSet.from_files({**before, "model_set.json": json.dumps(described).encode()})
    assert (again.interests.themes_of(small_models.text()) == -1).all()
    np.testing.assert_array_equal(again.item_vectors, small_models.model_set().item_vectors)
    with pytest.raises(DataError, match=r"holds .*interests.safetensors"):
        ModelSet.from_files({**files, "model_set.json": json.dumps(described).encode()})
