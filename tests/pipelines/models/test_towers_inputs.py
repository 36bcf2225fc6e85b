"""Windows of histories, and codes of what is and is not known."""

import numpy as np
import pytest
import small_catalogue as small
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import DataError
from pipelines.models.towers_inputs import (
    item_inputs,
    mapped_windows,
    profile_codes,
    share_codes,
    user_codes,
    vocabularies,
    windows,
)

CATALOGUE = small.catalogue(40)
USERS = small.users(3, age_band=["18_24", None, "35_44"], city=["Oslo", "Bergen", None])
KNOWN = vocabularies(CATALOGUE, np.array([1, 2, 3, 5]), USERS, 4, 16, 8)
NO_TEXT = np.zeros((40, 4), np.float32)


@given(st.lists(st.integers(0, 23), min_size=1, max_size=6), st.integers(2, 9))
def test_every_title_watched_to_the_end_is_predicted_exactly_once(lengths, length):
    rows = [list(range(1, count + 1)) for count in lengths]
    users = small.users(len(rows))
    cut = windows(
        small.histories(*rows), CATALOGUE, users, vocabularies(CATALOGUE, np.zeros(0), users, 4, 16, 0), length
    )
    assert cut.lengths.max(initial=0) <= length
    predicted = sorted(cut.items[cut.is_target].tolist())
    assert predicted == sorted(item - 1 for row in rows for item in row)


def test_what_was_left_or_is_not_in_the_catalogue_is_read_or_dropped_but_never_predicted():
    past = small.histories([1, 2, 99, 3], shares=[[1.0, 0.1, 1.0, 0.5]])
    cut = windows(past, CATALOGUE, USERS, KNOWN, 10)
    assert cut.items.tolist() == [0, 1, 2]
    assert cut.is_target.tolist() == [True, False, False]
    assert cut.shares.tolist() == [3, 1, 2]


def test_windows_come_back_from_their_files_without_being_read(tmp_path):
    cut = windows(small.histories([1, 2, 3], [4, 5]), CATALOGUE, USERS, KNOWN, 10)
    cut.save(tmp_path)
    mapped = mapped_windows(tmp_path)
    assert isinstance(mapped.items, np.memmap)
    for name in ("items", "starts", "lengths", "profiles", "is_target", "shares", "user_codes"):
        np.testing.assert_array_equal(getattr(mapped, name), getattr(cut, name))


def test_what_a_model_has_not_seen_has_the_code_of_the_unknown():
    inputs = item_inputs(CATALOGUE, NO_TEXT, KNOWN)
    assert inputs.ids[:6].tolist() == [1, 2, 3, 0, 4, 0]
    others = small.catalogue(2, language=["xx", None], genres=[["Opera"], None], creator=["A. Nobody", None])
    strange = item_inputs(others, np.zeros((2, 4), np.float32), KNOWN)
    assert strange.languages.tolist() == [0, 0]
    assert not strange.has_genre.any()
    assert strange.creators[0] > 0 == strange.creators[1]


def test_users_without_attributes_and_unknown_users_are_nobody_in_particular():
    codes = profile_codes(USERS, np.array([1, 2, 3, 77]), KNOWN)
    assert codes[:, 0].tolist() == [1, 0, 2, 0]
    assert codes[3].tolist() == [0, 0, 0, 0]


def test_user_ids_are_spread_over_their_buckets():
    codes = user_codes(np.arange(1, 4001), 8)
    assert codes.min() == 1
    assert codes.max() == 8
    assert np.bincount(codes)[1:].min() > 400
    assert not user_codes(np.arange(5), 0).any()


def test_text_vectors_that_are_not_finite_or_of_another_width_are_refused_in_a_sentence():
    broken = NO_TEXT.copy()
    broken[3, 1] = np.nan
    with pytest.raises(DataError, match="text vectors are not all finite"):
        item_inputs(CATALOGUE, broken, KNOWN)
    with pytest.raises(DataError, match="text vectors have 7 numbers, and the towers learned from 4"):
        item_inputs(CATALOGUE, np.ones((40, 7), np.float32), KNOWN)
    assert item_inputs(CATALOGUE, np.zeros((40, 1), np.float32), KNOWN).text.shape == (40, 4)


def test_how_much_was_watched_has_three_codes():
    assert share_codes(np.array([0, 0.19, 0.2, 0.79, 0.8, 1], np.float32)).tolist() == [1, 1, 2, 2, 3, 3]


def held_out_of(user_count, share):
    rows = [[1, 2, 3, 4, 5, 6, 7]] * user_count
    users = small.users(user_count)
    known = vocabularies(CATALOGUE, np.array([1, 2, 3]), users, 4, 16, 0)
    return windows(small.histories(*rows), CATALOGUE, users, known, 4, share)


def test_of_a_share_of_users_the_newest_title_is_held_out_and_not_learned_from():
    cut = held_out_of(1000, 0.3)
    count = int(cut.is_held_out.sum())
    assert 250 < count < 350
    assert set(cut.items[cut.is_held_out].tolist()) == {6}
    assert not (cut.is_held_out & cut.is_target).any()
    assert int(cut.is_target.sum()) == 7 * 1000 - count


def test_too_few_to_tell_anything_are_not_held_out():
    assert not held_out_of(300, 0.2).is_held_out.any()
