"""What is read of a day comes aligned, and from no later than it was made."""

from datetime import date

import numpy as np
import pyarrow as pa
import small_catalogue as small

from feature_defs.items import ITEM_TEXT_VECTORS
from feature_defs.users import USERS
from pipelines.arrow_schemas import arrow_schema
from pipelines.catalogue import as_known
from pipelines.histories import Popularity
from pipelines.knowledge import aligned, plays_of, read_text_vectors, read_user_features, read_users
from pipelines.lake import Lake

MONDAY, TUESDAY = date(2026, 1, 5), date(2026, 1, 6)


def vectors(item_id: int, *numbers: float, encoder: str = "e") -> dict:
    return {"item_id": item_id, "encoder": encoder, "text_digest": "d", "vector": list(numbers)}


def test_rows_are_aligned_with_ids_and_null_where_there_is_none() -> None:
    rows = pa.table({"user_id": pa.array([7, 3], pa.int64()), "city": ["Oslo", "Bergen"]})
    assert aligned(rows, "user_id", np.array([3, 5, 7])).column("city").to_pylist() == ["Bergen", None, "Oslo"]
    ascending = rows.sort_by("user_id")
    assert aligned(ascending, "user_id", np.array([9, 3, 5, 7])).column("city").to_pylist() == [
        None,
        "Bergen",
        None,
        "Oslo",
    ]
    assert aligned(rows[:0], "user_id", np.array([3])).column("city").to_pylist() == [None]


def test_text_vectors_are_the_newest_of_each_title_made_by_the_day_of_the_run(tmp_path) -> None:
    lake = Lake(str(tmp_path))
    schema = arrow_schema(ITEM_TEXT_VECTORS)
    lake.replace(ITEM_TEXT_VECTORS, pa.Table.from_pylist([vectors(1, 1, 0), vectors(2, 0, 1)], schema), MONDAY)
    later = [vectors(1, 0, -1), vectors(2, 1, 0, encoder="another")]
    lake.replace(ITEM_TEXT_VECTORS, pa.Table.from_pylist(later, schema), TUESDAY)
    catalogue = small.catalogue(3)
    assert read_text_vectors(lake, catalogue, "e", MONDAY).tolist() == [[1, 0], [0, 1], [0, 0]]
    assert read_text_vectors(lake, catalogue, "e", TUESDAY).tolist() == [[0, -1], [0, 1], [0, 0]]
    # As of what day the catalogue is looked at says nothing of when texts were read.
    assert read_text_vectors(lake, as_known(catalogue, MONDAY, TUESDAY), "e", TUESDAY)[0].tolist() == [0, -1]


def test_users_who_opted_out_are_not_read_and_users_without_features_have_nulls(tmp_path) -> None:
    lake = Lake(str(tmp_path))
    rows = small.users(3, is_opted_out=[False, True, False])
    lake.replace(USERS, rows, MONDAY)
    assert read_users(lake, MONDAY).column("user_id").to_pylist() == [1, 3]
    features = read_user_features(lake, MONDAY, np.array([1, 3]))
    assert features.column("play_count").to_pylist() == [None, None]


def test_plays_are_by_position_and_those_of_titles_not_in_the_catalogue_are_left_out() -> None:
    plays, recent = plays_of(Popularity(np.array([2, 99]), np.array([5, 7]), np.array([1, 2])), small.catalogue(3))
    assert (plays.tolist(), recent.tolist()) == ([0, 5, 0], [0, 1, 0])
