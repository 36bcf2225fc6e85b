"""No list goes out that breaks a rule of its places, and the error says which rule and how often."""

import pyarrow as pa
import pytest

from feature_defs.recommendations import LIST_LENGTH, NO_REASON
from pipelines.errors import DataError
from pipelines.lists.place_checks import check_places, telling_places

GOOD = {
    "user_id": 1,
    "item_ids": [5, 3, 9],
    "scores": [0.9, 0.5, -1.0],
    "sources": [0, 8, 2],
    "reasons": [NO_REASON, 0, 1],
}
KINDS = {
    "user_id": pa.int64(),
    "item_ids": pa.list_(pa.int64()),
    "scores": pa.list_(pa.float32()),
    "sources": pa.list_(pa.int16()),
    "reasons": pa.list_(pa.int16()),
}


def block(*rows: dict) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(rows), pa.schema(list(KINDS.items())))


def with_length(count: int) -> dict:
    return {
        "user_id": 2,
        "item_ids": list(range(1, count + 1)),
        "scores": [0.5] * count,
        "sources": [1] * count,
        "reasons": [NO_REASON] * count,
    }


def test_sound_lists_of_any_length_pass_as_they_are() -> None:
    blocks = [block(GOOD, with_length(LIST_LENGTH), {**with_length(0), "user_id": 3}), block({**GOOD, "user_id": 4})]
    assert list(check_places(blocks, "lists")) == blocks


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        ({"item_ids": [5, 3, 5]}, r"recommendation_slots.user_id, item_id must be unique \(1 row\)"),
        ({"item_ids": [5, 0, -1]}, r"recommendation_slots.item_id must lie between 1 and 4294967295 \(2 rows\)"),
        ({"item_ids": [5, 2**32, 9]}, "item_id must lie between"),
        ({"item_ids": [5, None, 9]}, r"recommendation_slots.item_id must not be null \(1 row\)"),
        ({"scores": [0.9, float("nan"), 0.1]}, r"recommendation_slots.score must lie between"),
        ({"scores": [0.9, 70_000.0, 0.1]}, r"recommendation_slots.score must lie between"),
        ({"sources": [0, 9, 2]}, r"recommendation_slots.source must lie between 0 and 8 \(1 row\)"),
        ({"sources": [-1, 0, 2]}, "source must lie between"),
        ({"reasons": [256, 0, 1]}, "reason must lie between 0 and 255"),
        ({"reasons": [None, 0, 1]}, "reason must not be null"),
        ({"user_id": 0}, "user_id must be at least 1"),
        ({"user_id": None}, "user_id must not be null"),
        (with_length(LIST_LENGTH + 1), r"recommendation_slots.slot must lie between 0 and 199 \(1 row\)"),
        ({"scores": [0.9]}, "differ in length"),
        ({"item_ids": None}, "a list lacks a column|differ in length"),
    ],
)
def test_a_broken_rule_is_named_and_counted(broken: dict, sentence: str) -> None:
    blocks = [block({**GOOD, "user_id": 7}), block({**GOOD, **broken}, {**GOOD, "user_id": 8})]
    with pytest.raises(DataError, match=f"^the lists: .*({sentence})"):
        list(check_places(blocks, "the lists"))


def test_a_user_with_two_lists_is_found_however_far_apart_they_are() -> None:
    blocks = [block(GOOD), block({**GOOD, "user_id": 2}), block({**GOOD, "item_ids": [6, 7, 8]})]
    with pytest.raises(DataError, match="1 lists are of a user who has one already, the first of user 1"):
        list(check_places(blocks, "lists"))


def test_what_is_told_of_a_block_holds_its_least_and_greatest_values() -> None:
    rows = [{**with_length(50), "user_id": user} for user in range(10, 30)]
    places = telling_places([block(GOOD, *rows), block(with_length(1))])
    assert places.num_rows < 20
    assert {min(places["item_id"].to_pylist()), max(places["item_id"].to_pylist())} == {1, 50}
    assert max(places["slot"].to_pylist()) == 49
    assert {min(places["score"].to_pylist()), max(places["user_id"].to_pylist())} == {-1.0, 29}


def test_a_block_that_breaks_a_rule_is_told_whole() -> None:
    broken = block({**GOOD, "item_ids": [5, 5, 9]}, with_length(4))
    assert telling_places([broken]).num_rows == 7
