"""A value has one text, a text is of one value, and what JSON has no word for is named."""

import json
import math
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.audit.canonical import canonical, canonical_digest, parse_canonical
from pipelines.errors import DataError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4))


@given(VALUES)
def test_what_is_written_is_read_back_and_written_again_alike(value: object) -> None:
    data = canonical(value)
    assert b"\n" not in data
    assert parse_canonical(data) == value
    assert canonical(parse_canonical(data)) == data


@given(st.dictionaries(TEXTS, VALUES, max_size=5))
def test_the_order_of_keys_does_not_matter(value: dict[str, object]) -> None:
    turned = OrderedDict(reversed(value.items()))
    assert canonical(turned) == canonical(value)
    assert canonical_digest(turned) == canonical_digest(value)


def test_keys_are_sorted_floats_are_shortest_and_texts_are_as_they_are() -> None:
    value = {"b": 0.1, "a": [1, 1.0, -0.0, 1e22, True, None], "ő": "“ü”\u2028\n"}
    assert canonical(value).decode() == '{"a":[1,1.0,-0.0,1e+22,true,null],"b":0.1,"ő":"“ü”\u2028\\n"}'


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"a": [1.0, math.nan]}, r"the value\.a\[1\] is nan"),
        ({"a": math.inf}, r"the value\.a is inf"),
        ({1: "a"}, "has the key 1, which is no text"),
        ({"a": np.float64(1)}, r"the value\.a is of the type float64"),
        ({"a": np.int64(1)}, r"the value\.a is of the type int64"),
        ({"a": b"bytes"}, r"the value\.a is of the type bytes"),
        ({"a": {1, 2}}, r"the value\.a is of the type set"),
        ("\ud800", "no Unicode"),
    ],
)
def test_what_json_has_no_word_for_is_named_with_its_place(value: object, named: str) -> None:
    with pytest.raises(DataError, match=named):
        canonical(value)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}',
        ' {"a":1}',
        '{"a":1}\n',
        '{"b":1,"a":1}',
        '{"a":1,"a":1}',
        '{"a":1.00}',
        '{"a":1e0}',
        '{"a":"\\u0061"}',
        '{"a":NaN}',
        '{"a":1e400}',
        "{",
        "",
        "[" * 100_000,
    ],
)
def test_another_text_of_the_same_value_is_refused(text: str) -> None:
    with pytest.raises(DataError):
        parse_canonical(text.encode())


def test_bytes_that_are_no_unicode_are_refused() -> None:
    with pytest.raises(DataError, match="no JSON"):
        parse_canonical(b'{"a":"\xff"}')
    with pytest.raises(DataError):
        parse_canonical(json.dumps({"a": 1}).encode("utf-16"))
