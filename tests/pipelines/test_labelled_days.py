"""What the days of a ranker's examples have in common is read once."""

import pyarrow as pa
import small_catalogue as small

from feature_defs.items import ITEM_TEXT_VECTORS, ITEMS
from feature_defs.users import USERS
from pipelines.arrow_schemas import arrow_schema
from pipelines.labelled_days import read_known
from pipelines.lake import Lake


def test_text_vectors_are_read_once_for_each_encoder_however_many_days_ask(tmp_path) -> None:
    lake = Lake(str(tmp_path))
    lake.replace(ITEMS, small.items(2), small.DAY)
    lake.replace(USERS, small.users(3, is_opted_out=[False, True, False]), small.DAY)

    def lay_down(first: float) -> None:
        said = {"item_id": 1, "text_digest": "d"}
        rows = [said | {"encoder": "e", "vector": [first, 0.0]}, said | {"encoder": "f", "vector": [0.0, first]}]
        lake.replace(ITEM_TEXT_VECTORS, pa.Table.from_pylist(rows, arrow_schema(ITEM_TEXT_VECTORS)), small.DAY)

    lay_down(1.0)
    known = read_known(lake, small.DAY)
    assert known.users.column("user_id").to_pylist() == [1, 3]
    assert known.opted_out.tolist() == [2]
    assert known.text_vectors("e").tolist() == [[1, 0], [0, 0]]
    lay_down(0.5)
    assert known.text_vectors("e").tolist() == [[1, 0], [0, 0]]
    assert known.text_vectors("f").tolist() == [[0, 0.5], [0, 0]]
    assert read_known(lake, small.DAY).text_vectors("e").tolist() == [[0.5, 0], [0, 0]]
