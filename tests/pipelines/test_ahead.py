"""A thread ahead: the same blocks in order, its errors where they belong, and no thread left behind."""

import threading
from collections.abc import Iterator

import pytest

from pipelines.ahead import ahead


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "ahead"]


def test_all_blocks_come_in_order() -> None:
    assert list(ahead(range(1000))) == list(range(1000))
    assert not threads()


def test_an_error_comes_where_the_block_would_have_come() -> None:
    def breaking() -> Iterator[int]:
        yield 1
        raise ValueError("the second")

    blocks = ahead(breaking())
    assert next(blocks) == 1
    with pytest.raises(ValueError, match="the second"):
        next(blocks)
    assert not threads()


def test_it_is_ahead_by_a_few_blocks_only_and_ends_with_its_reader() -> None:
    made = []

    def blocks() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    reading = ahead(blocks(), 2)
    next(reading)
    reading.close()
    assert len(made) <= 5
    assert not threads()
