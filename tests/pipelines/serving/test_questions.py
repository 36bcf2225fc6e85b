import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.serving.problems import ProblemError
from pipelines.serving.questions import OF_A_USER, OF_NOBODY, Query, item_id_of, query_of, user_id_of


def test_a_query_is_read_whole():
    text = b"k=7&surface=kids&device=tv&country=DE&exclude=3,1&mode=chronological&page_token=aB-_9"
    assert query_of(text, OF_A_USER) == Query(7, "kids", "tv", "DE", frozenset({1, 3}), "chronological", "aB-_9")
    assert query_of(b"", OF_A_USER) == Query()
    assert query_of(b"maturity_limit=0&k=100", OF_NOBODY) == Query(k=100, maturity_limit=0)
    assert query_of(b"exclude=", OF_A_USER) == Query()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (b"k=0", "k"),
        (b"k=101", "k"),
        (b"surface=Home", "surface"),
        (b"device=" + b"a" * 33, "device"),
        (b"country=de", "country"),
        (b"country=DEU", "country"),
        (b"exclude=1,,2", "exclude"),
        (b"exclude=4294967296", "exclude"),
        (b"exclude=" + b",".join([b"1"] * 201), "exclude"),
        (b"mode=random", "mode"),
        (b"page_token=%00", "page token"),
        (b"user=1", "parameters are"),
        (b"maturity_limit=22", "maturity_limit"),
        (b"k=1&k=2", "once"),
        (b"k=%ff", "read"),
        (b"&".join(b"k%d=1" % number for number in range(40)), "read"),
        (b"k=\xff", "read"),
    ],
)
def test_what_is_wrong_is_named(text, named):
    with pytest.raises(ProblemError, match=named) as caught:
        query_of(text, OF_A_USER)
    assert caught.value.status == 400


@given(st.binary(max_size=200))
def test_any_bytes_are_a_query_or_a_problem(text):
    try:
        assert isinstance(query_of(text, OF_A_USER), Query)
    except ProblemError as problem:
        assert problem.status == 400


@given(st.integers(-10, 2**64) | st.text(max_size=5))
def test_an_id_is_a_whole_number_in_its_bounds(given_id):
    text = str(given_id)
    for read, largest in ((user_id_of, 2**63 - 1), (item_id_of, 2**32 - 1)):
        if isinstance(given_id, int) and 1 <= given_id <= largest:
            assert read(text) == given_id
        elif not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= largest or text.startswith("0"):
            with pytest.raises(ProblemError):
                read(text)
