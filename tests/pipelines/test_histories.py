"""Histories are what users played, in order of time, each title once."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_defs.interactions import INTERACTIONS, ITEM_PLAYS
from feature_defs.users import USERS
from pipelines.arrow_schemas import arrow_schema
from pipelines.errors import UsageError
from pipelines.histories import Histories, read_histories, read_opted_out, read_popularity
from pipelines.lake import Lake
from pipelines.shards import Shard, parse_shard, shards

DAY = date(2026, 1, 10)
NOON = datetime(2026, 1, 10, 12, tzinfo=UTC)
NOBODY = np.zeros(0, np.int64)


def interaction(user: int, item: int, share: float | None, day: int) -> dict:
    at = NOON + timedelta(days=day)
    row = {"user_id": user, "item_id": item, "occasion_id": f"{user}-{item}-{day}", "happened_at": at}
    kinds = ("impression", "click", "play", "skip", "not_interested", "like", "share", "follow", "report")
    flags = {f"is_{kind}": kind == "play" and share is not None for kind in kinds}
    return {**row, "received_at": at, "event_count": 1, "watched_share": share, **flags, "day": at.date()}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    made = Lake(str(tmp_path))
    rows = [
        interaction(1, 30, 0.5, 0),
        interaction(1, 20, 1.0, 1),
        interaction(1, 30, 0.9, 2),
        interaction(1, 99, None, 2),
        interaction(2, 20, 1.0, 3),
        interaction(4, 10, 0.1, 0),
    ]
    schema = arrow_schema(INTERACTIONS).append(pa.field("day", pa.date32()))
    made.replace(INTERACTIONS, pa.Table.from_pylist(rows, schema), DAY, DAY + timedelta(3))
    return made


def as_dict(histories: Histories) -> dict[int, list[int]]:
    ends = list(zip(histories.offsets[:-1], histories.offsets[1:], strict=True))
    return {
        int(user): histories.item_ids[start:stop].tolist()
        for user, (start, stop) in zip(histories.user_ids, ends, strict=True)
    }


def test_a_title_stands_once_where_it_was_last_played_with_its_largest_share(lake: Lake) -> None:
    found = read_histories(lake, DAY + timedelta(3), opted_out=NOBODY)
    assert as_dict(found) == {1: [20, 30], 2: [20], 4: [10]}
    assert found.shares.tolist() == pytest.approx([1.0, 0.9, 1.0, 0.1])


def test_nothing_is_read_after_the_last_day_or_before_the_first(lake: Lake) -> None:
    assert as_dict(read_histories(lake, DAY + timedelta(1), opted_out=NOBODY)) == {1: [30, 20], 4: [10]}
    later = read_histories(lake, DAY + timedelta(3), first_day=DAY + timedelta(2), opted_out=NOBODY)
    assert as_dict(later) == {1: [30], 2: [20]}


def test_who_opted_out_has_no_history(lake: Lake) -> None:
    assert set(as_dict(read_histories(lake, DAY + timedelta(3), opted_out=np.array([1])))) == {2, 4}
    users = [{"user_id": user, "signup_at": NOON, "is_opted_out": user == 7} for user in (5, 7)]
    lake.replace(USERS, pa.Table.from_pylist(users, arrow_schema(USERS)), DAY)
    assert read_opted_out(lake, DAY).tolist() == [7]


def test_an_empty_lake_has_no_histories_and_nothing_popular(tmp_path: Path) -> None:
    assert as_dict(read_histories(Lake(str(tmp_path)), DAY, opted_out=NOBODY)) == {}
    assert read_popularity(Lake(str(tmp_path)), DAY).most_popular().tolist() == []


def test_popular_counts_all_days_and_trending_the_last_seven(lake: Lake) -> None:
    def plays(item: int, count: int, days_ago: int) -> dict:
        happened = DAY - timedelta(days_ago)
        sums = {"play_count": count, "complete_count": 0, "share_count": 0, "share_millionths": 0}
        return {"item_id": item, "happened_on": happened, **sums, "last_played_at": NOON, "day": DAY}

    rows = [plays(1, 100, 30), plays(2, 10, 6), plays(3, 5, 0), plays(4, 50, 7), plays(3, 6, 1)]
    schema = arrow_schema(ITEM_PLAYS).append(pa.field("day", pa.date32()))
    lake.replace(ITEM_PLAYS, pa.Table.from_pylist(rows, schema), DAY)
    found = read_popularity(lake, DAY)
    assert found.most_popular().tolist() == [1, 4, 3, 2]
    assert found.trending().tolist() == [3, 2, 1, 4]


ROWS = st.dictionaries(st.integers(1, 20), st.lists(st.integers(1, 9), max_size=6), min_size=1, max_size=8)


@given(ROWS, st.lists(st.integers(1, 25), max_size=10), st.integers(0, 4))
def test_parts_of_histories_agree_with_plain_lists(rows: dict[int, list[int]], wanted: list[int], length: int) -> None:
    rows = dict(sorted(rows.items()))
    items = np.array([item for row in rows.values() for item in row], np.int64)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows.values()])]).astype(np.int64)
    histories = Histories(np.array(list(rows), np.int64), offsets, items, np.ones(len(items), np.float32))
    chosen = histories.of(np.array(wanted, np.int64))
    ends = zip(chosen.offsets[:-1], chosen.offsets[1:], strict=True)
    assert [chosen.item_ids[start:stop].tolist() for start, stop in ends] == [rows.get(user, []) for user in wanted]
    assert as_dict(histories.newest(length)) == {
        user: row[len(row) - min(length, len(row)) :] for user, row in rows.items()
    }
    assert as_dict(histories.where(items > 4)) == {
        user: [item for item in row if item > 4] for user, row in rows.items()
    }


@pytest.mark.parametrize("text", ["", "1", "2/2", "-1/2", "a/b", "0/0", "1/2/3", "0.5/2"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no shard"):
        parse_shard(text)


def test_a_shard_reads_as_it_is_written() -> None:
    assert parse_shard("3/8") == Shard(3, 8)
    assert [str(shard) for shard in shards(2)] == ["0/2", "1/2"]
