"""The real encoder: near texts are near, and only what is new is read."""

import numpy as np
import pyarrow as pa
import pytest
import small_catalogue as small

from pipelines.errors import DataError, UnavailableError
from pipelines.text_encoder import DEFAULT_ENCODER, embed, item_texts, not_yet_embedded, vectors_of

SYNOPSES = [
    "Astronauts on a failing space station drift towards a distant planet.",
    "A starship crew explores a galaxy far from Earth.",
    "A baker in Paris falls in love with a rival pastry chef.",
    "Two cooks open a small restaurant and find romance.",
    None,
]
TITLES = small.items(5, synopsis=SYNOPSES, genres=[["Sci-Fi"], ["Sci-Fi"], ["Romance"], ["Romance"], None])


@pytest.fixture(scope="module")
def embedded() -> pa.Table:
    return pa.concat_tables(embed(TITLES, DEFAULT_ENCODER))


def test_titles_of_like_content_are_nearest_to_each_other(embedded: pa.Table) -> None:
    vectors = vectors_of(embedded, np.arange(1, 6), DEFAULT_ENCODER)
    assert vectors.shape == (5, 384)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    near = vectors[:4] @ vectors[:4].T - 2 * np.eye(4)
    assert near.argmax(1).tolist() == [1, 0, 3, 2]


def test_the_text_is_title_synopsis_genres_and_cast_and_a_title_alone_will_do() -> None:
    items = small.items(2, synopsis=["It rains.", None], cast=[["A. Bo", "C. Du"], None], genres=[["Drama"], None])
    assert item_texts(items) == ["Title 1. It rains. Drama. With A. Bo, C. Du", "Title 2"]


def test_only_titles_that_are_new_or_were_changed_are_read(embedded: pa.Table) -> None:
    assert not_yet_embedded(TITLES, embedded, DEFAULT_ENCODER).num_rows == 0
    changed = small.items(6, synopsis=[*SYNOPSES[:4], "Now it has a text.", "New."])
    changed = changed.set_column(changed.schema.get_field_index("genres"), "genres", _genres([*range(5), 4]))
    assert not_yet_embedded(changed, embedded, DEFAULT_ENCODER).column("item_id").to_pylist() == [5, 6]
    assert not_yet_embedded(TITLES, embedded, "another").num_rows == 5


def _genres(rows: list[int]) -> pa.ChunkedArray:
    return TITLES.column("genres").take(pa.array(rows))


def test_the_same_text_has_the_same_vector(embedded: pa.Table) -> None:
    again = pa.concat_tables(embed(TITLES, DEFAULT_ENCODER))
    assert again.equals(embedded)


def test_titles_without_a_vector_have_zeros(embedded: pa.Table) -> None:
    vectors = vectors_of(embedded, np.array([9, 2]), DEFAULT_ENCODER)
    assert not vectors[0].any()
    assert vectors[1].any()
    assert vectors_of(embedded, np.array([1]), "another").shape == (1, 1)


def test_vectors_of_several_widths_and_an_encoder_that_is_not_there_are_named(embedded: pa.Table) -> None:
    rows = embedded.to_pylist()
    rows[0]["vector"] = [1.0]
    with pytest.raises(DataError, match="are of 2 widths"):
        vectors_of(pa.Table.from_pylist(rows, embedded.schema), np.array([1]), DEFAULT_ENCODER)
    with pytest.raises(UnavailableError, match="no sentence encoder /nowhere/at/all"):
        list(embed(TITLES, "/nowhere/at/all"))
