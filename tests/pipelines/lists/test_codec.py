from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_defs.recommendations import HISTORY_LENGTH, LIST_LENGTH, NO_REASON, SOURCES, VECTOR_WIDTH
from pipelines.errors import DataError, MarqueeError
from pipelines.lists.codec import CorruptListError, UserList, pack, unpack

GENERATED_AT = datetime(2026, 2, 1, 3, 4, 5, 678901, tzinfo=UTC)
ITEM_IDS = st.integers(1, 2**32 - 1)
HALF = st.floats(-65504, 65504, width=16)


@st.composite
def columns(draw):
    count = draw(st.integers(0, 30))
    history = draw(st.lists(ITEM_IDS, max_size=HISTORY_LENGTH))
    reasons = st.sampled_from([NO_REASON, *range(len(history))])

    def column(values):
        return draw(st.lists(values, min_size=count, max_size=count))

    return {
        "item_ids": column(ITEM_IDS),
        "scores": column(HALF),
        "sources": column(st.integers(0, len(SOURCES) - 1)),
        "reasons": column(reasons),
        "history": history,
        "vector": draw(st.lists(HALF, max_size=VECTOR_WIDTH)),
        "generated_at": draw(st.datetimes(timezones=st.just(UTC))),
    }


def whole_list(count=LIST_LENGTH):
    return {
        "item_ids": np.arange(1, count + 1),
        "scores": np.linspace(1, 0, count),
        "sources": np.full(count, 2),
        "reasons": np.arange(count) % HISTORY_LENGTH,
        "history": np.arange(1, HISTORY_LENGTH + 1),
        "vector": np.linspace(-1, 1, VECTOR_WIDTH),
        "generated_at": GENERATED_AT,
    }


def as_columns(user_list: UserList):
    names = ("item_ids", "scores", "sources", "reasons", "history", "vector")
    return {name: getattr(user_list, name).tolist() for name in names} | {"generated_at": user_list.generated_at}


@settings(deadline=None)
@given(columns())
def test_what_is_packed_comes_back(given_columns):
    assert as_columns(unpack(pack(**given_columns))) == given_columns


@settings(deadline=None)
@given(columns(), st.data())
def test_one_flipped_bit_anywhere_is_found(given_columns, data):
    packed = bytearray(pack(**given_columns))
    bit = data.draw(st.integers(0, 8 * len(packed) - 1))
    packed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CorruptListError):
        unpack(bytes(packed))


@settings(deadline=None)
@given(columns(), st.data())
def test_a_list_that_lost_its_end_or_gained_one_is_found(given_columns, data):
    packed = pack(**given_columns)
    for damaged in (packed[: data.draw(st.integers(0, len(packed) - 1))], packed + data.draw(st.binary(min_size=1))):
        with pytest.raises(CorruptListError):
            unpack(damaged)


@settings(deadline=None)
@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_give_an_error_of_ours(noise, after_a_true_beginning):
    with pytest.raises(CorruptListError):
        unpack(b"MQ\x01" + noise if after_a_true_beginning else noise)


@settings(deadline=None)
@given(columns(), st.integers(-(2**63), 2**63 - 1))
def test_a_time_out_of_range_under_a_right_checksum_is_an_error_of_ours(given_columns, moment):
    import struct
    import zlib

    packed = pack(**given_columns)
    body = struct.pack("<q", moment) + packed[20:]
    forged = packed[:8] + struct.pack("<I", zlib.crc32(body, zlib.crc32(packed[:8]))) + body
    try:
        assert as_columns(unpack(forged)).keys() == given_columns.keys()
    except MarqueeError as error:
        assert isinstance(error, CorruptListError)


def test_two_hundred_candidates_take_under_two_kilobytes():
    packed = pack(**whole_list())
    assert len(packed) == 1972
    # Two of them, with their keys, fit a page of 4 KB in the embedded store.
    assert len(packed) + 16 + 8 <= 2038


def test_unpacking_copies_nothing():
    packed = pack(**whole_list())
    user_list = unpack(packed)
    assert len(user_list) == LIST_LENGTH
    for column in (user_list.item_ids, user_list.scores, user_list.vector, user_list.history, user_list.reasons):
        assert not column.flags.writeable
        assert column.base is packed


def test_a_reason_outside_the_history_under_a_right_checksum_is_found(monkeypatch):
    monkeypatch.setattr("pipelines.lists.codec.check_values", lambda *_: None)
    packed = pack(**(whole_list() | {"reasons": np.full(LIST_LENGTH, HISTORY_LENGTH)}))
    with pytest.raises(CorruptListError, match="outside its history"):
        unpack(packed)


def test_a_list_of_another_version_is_refused_by_its_version():
    packed = bytearray(pack(**whole_list()))
    packed[2] = 9
    with pytest.raises(CorruptListError, match="version 9"):
        unpack(bytes(packed))


@pytest.mark.parametrize(
    ("column", "values", "named"),
    [
        ("item_ids", [0] * 3, "item_ids"),
        ("item_ids", [2**32] * 3, "item_ids"),
        ("item_ids", [1, 2], "length"),
        ("scores", [1.0, float("nan"), 0.0], "scores"),
        ("scores", [1e6, 1.0, 0.0], "scores"),
        ("sources", [0, 1, len(SOURCES)], "sources"),
        ("sources", [0, 1, -1], "sources"),
        ("reasons", [0, 1, HISTORY_LENGTH], "reasons"),
        ("reasons", [0, 1, 256], "reasons"),
        ("history", [0], "history"),
        ("history", [1] * 255, "history"),
        ("vector", [float("inf")], "vector"),
        ("vector", [0.0] * 256, "vector"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(column, values, named):
    with pytest.raises(DataError, match=named):
        pack(**(whole_list(3) | {column: values}))
