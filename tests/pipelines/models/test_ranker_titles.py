"""What is worked out once for all users is what each would have worked out."""

import numpy as np

from pipelines.models.ranker_titles import SIMILARITY_ONE, Similarities


def unit(count: int) -> np.ndarray:
    vectors = np.random.default_rng(3).standard_normal((count, 24)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_similarities_are_inner_products_to_a_sixty_five_thousandth() -> None:
    text = unit(300)
    similarities = Similarities(text)
    similarities.fill(np.arange(300))
    np.testing.assert_allclose(similarities.table / SIMILARITY_ONE, text @ text.T, atol=1.6e-5)
    assert (np.diag(similarities.table) == SIMILARITY_ONE).all(), "rounding does not carry a sign over"


def test_rows_are_the_same_whenever_they_are_asked_for() -> None:
    text, rows = unit(300), np.array([299, 3, 140])
    at_once, one_by_one = Similarities(text), Similarities(text)
    at_once.fill(rows)
    for row in rows:
        one_by_one.fill(np.array([row]))
    one_by_one.fill(np.zeros(0, np.int64))
    np.testing.assert_array_equal(at_once.table[rows], one_by_one.table[rows])
