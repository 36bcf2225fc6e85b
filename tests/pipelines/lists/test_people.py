"""Users come from the lake block by block as they would all at once."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
import small_catalogue as small

from feature_defs.features import USER_FEATURES
from feature_defs.interactions import INTERACTIONS
from feature_defs.users import USERS
from pipelines.arrow_schemas import arrow_schema
from pipelines.histories import Histories, read_histories, read_opted_out
from pipelines.knowledge import aligned, read_user_features, read_users
from pipelines.lake import Lake
from pipelines.lists.people import People, in_memory, read_people
from pipelines.shards import EVERYONE, Shard, of_shard, shards

DAY = date(2026, 1, 10)
KINDS = ("impression", "click", "play", "skip", "not_interested", "like", "share", "follow", "report")
PEOPLE = 90


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Plays of three days; some users watched nothing, some opted out, some plays are of nobody who is known."""
    generator = np.random.default_rng(4)
    made = Lake(str(tmp_path_factory.mktemp("lake")))
    noon = datetime(2026, 1, 8, 12, tzinfo=UTC)
    rows = []
    for number in range(900):
        at = noon + timedelta(days=int(generator.integers(3)), seconds=int(generator.integers(4)))
        share = None if generator.random() < 0.2 else float(np.float32(generator.random()))
        flags = {f"is_{kind}": kind == "play" and share is not None for kind in KINDS}
        ids = {"user_id": int(generator.integers(1, PEOPLE + 20)), "item_id": int(generator.integers(1, 12))}
        row = {**ids, "occasion_id": f"o{number}", "happened_at": at, "received_at": at, "event_count": 1}
        rows.append({**row, "watched_share": share, **flags, "day": at.date()})
    schema = arrow_schema(INTERACTIONS).append(pa.field("day", pa.date32()))
    made.replace(INTERACTIONS, pa.Table.from_pylist(rows, schema), noon.date(), DAY)
    known = small.users(PEOPLE + 10, is_opted_out=[user % 7 == 0 for user in range(PEOPLE + 10)])
    made.replace(USERS, known, DAY)
    features = arrow_schema(USER_FEATURES.table)
    values = [{"user_id": user, "play_count": user, "last_played_at": noon} for user in range(1, PEOPLE, 3)]
    for value in values:
        value |= {"feature_at": noon, "created_at": noon}
        value |= {
            field.name: 1 if pa.types.is_integer(field.type) else None for field in features if field.name not in value
        }
    made.replace(USER_FEATURES.table, pa.Table.from_pylist(values, features), DAY)
    return made


def at_once(lake: Lake, shard: Shard) -> tuple[Histories, pa.Table, pa.Table]:
    users = of_shard(read_users(lake, DAY), shard)
    histories = read_histories(lake, DAY, opted_out=read_opted_out(lake, DAY))
    theirs = histories.user_ids[histories.user_ids % shard.count == shard.index]
    histories = histories.of(np.union1d(theirs, users.column("user_id").to_numpy()))
    return histories, users, read_user_features(lake, DAY, histories.user_ids)


@pytest.mark.parametrize("shard", [EVERYONE, Shard(1, 3)])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_blocks_from_the_lake_are_those_of_users_who_are_all_held(lake: Lake, shard: Shard, size: int) -> None:
    histories, users, features = at_once(lake, shard)
    expected = list(in_memory(histories, users, features, size))
    found = list(read_people(lake, DAY, shard, size))
    assert len(found) == len(expected) == -(-len(histories.user_ids) // size)
    for one, other in zip(found, expected, strict=True):
        ids = one.histories.user_ids
        for name in ("user_ids", "offsets", "item_ids", "shares"):
            values, wanted = getattr(one.histories, name), getattr(other.histories, name)
            assert values.dtype == wanted.dtype
            assert values.tolist() == wanted.tolist()
        assert aligned(one.users, "user_id", ids).equals(aligned(users, "user_id", ids))
        assert aligned(one.user_features, "user_id", ids).equals(aligned(features, "user_id", ids))


def test_shards_part_the_users_without_loss(lake: Lake) -> None:
    parts = [one.histories.user_ids for shard in shards(3) for one in read_people(lake, DAY, shard)]
    assert len(parts) == 3
    assert sorted(np.concatenate(parts)) == at_once(lake, EVERYONE)[0].user_ids.tolist()


def test_what_is_held_at_once_does_not_grow_with_users(lake: Lake) -> None:
    blocks = list(read_people(lake, DAY, EVERYONE, 2))
    # Sixteen blocks of two, and those between them who opted out.
    assert max(one.users.num_rows for one in blocks) <= 2 * 16 * 8 // 6
    seen = np.concatenate([one.histories.user_ids for one in blocks])
    assert (np.diff(seen) > 0).all()
    assert not np.isin(read_opted_out(lake, DAY), seen).any()


def test_a_lake_without_anybody_has_no_blocks(tmp_path) -> None:
    assert list(read_people(Lake(str(tmp_path)), DAY, EVERYONE)) == []


def test_users_in_memory_come_in_blocks_of_a_size(lake: Lake) -> None:
    histories, users, features = at_once(lake, EVERYONE)
    sizes = [len(one.histories.user_ids) for one in in_memory(histories, users, features, 20)]
    assert sizes[:-1] == [20] * (len(sizes) - 1)
    assert isinstance(next(in_memory(histories, users, features)), People)
