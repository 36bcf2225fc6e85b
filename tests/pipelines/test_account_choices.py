"""What the account says of users stands where the endpoint reads it; what was said at the endpoint goes before it."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_defs.users import USERS
from pipelines.account_choices import keep_choices, read_choices, with_account
from pipelines.arrow_schemas import arrow_schema
from pipelines.lake import Lake
from pipelines.shards import EVERYONE, Shard
from pipelines.stores.embedded import EmbeddedStore
from pipelines.stores.user_state import FORGOTTEN, UserState

DAY = date(2026, 1, 10)
BEFORE = DAY - timedelta(1)
NOON = datetime(2026, 1, 10, 12, tzinfo=UTC)


def users(day: date, **said: tuple[bool, int | None]) -> pa.Table:
    rows = [
        {"user_id": int(name[1:]), "signup_at": NOON, "is_opted_out": out, "maturity_limit": limit, "day": day}
        for name, (out, limit) in said.items()
    ]
    return pa.Table.from_pylist(rows, arrow_schema(USERS).append(pa.field("day", pa.date32())))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def store(tmp_path: Path):
    with EmbeddedStore(tmp_path / "lists.lmdb") as opened:
        yield opened


def test_who_opted_out_or_has_a_limit_at_the_account_is_read_and_who_no_longer_does(lake: Lake) -> None:
    lake.replace(USERS, users(BEFORE, u1=(True, None), u2=(False, 12), u3=(False, None), u4=(True, 7)), BEFORE)
    lake.replace(USERS, users(DAY, u1=(False, None), u2=(False, 12), u3=(True, None), u5=(False, None)), DAY)
    assert read_choices(lake, DAY, EVERYONE).to_pylist() == [
        {"user_id": 1, "is_opted_out": False, "maturity_limit": None},
        {"user_id": 2, "is_opted_out": False, "maturity_limit": 12},
        {"user_id": 3, "is_opted_out": True, "maturity_limit": None},
        {"user_id": 4, "is_opted_out": False, "maturity_limit": None},
    ]
    assert read_choices(lake, DAY, Shard(1, 2)).column("user_id").to_pylist() == [1, 3]
    # A night that is run again later brings nothing back.
    assert read_choices(lake, BEFORE, EVERYONE).num_rows == 0


def test_a_first_night_has_no_day_before_and_a_lake_without_users_no_choices(lake: Lake) -> None:
    assert read_choices(lake, DAY, EVERYONE).num_rows == 0
    lake.replace(USERS, users(DAY, u1=(True, 12), u2=(False, None)), DAY)
    assert read_choices(lake, DAY, EVERYONE).column("user_id").to_pylist() == [1]


def test_choices_are_kept_for_users_without_a_list_and_only_what_changed_is_written(lake: Lake, store) -> None:
    lake.replace(USERS, users(DAY, u1=(True, 12), u2=(False, 7), u3=(True, None)), DAY)
    store.put_state(2, UserState(watched=(5,), maturity_limit=16), 0)
    store.forget_user(3)
    choices = read_choices(lake, DAY, EVERYONE)
    assert keep_choices(store, choices) == 2
    assert store.state(1).state == UserState(account_opts_out=True, account_limit=12)
    assert (store.state(1).state.opts_out, store.state(1).state.limit) == (True, 12)
    assert store.state(2).state == UserState(watched=(5,), maturity_limit=16, account_limit=7)
    assert store.state(2).state.limit == 16
    assert store.state(3).state == FORGOTTEN
    versions = [store.state(user).version for user in (1, 2)]
    assert keep_choices(store, choices) == 0
    assert [store.state(user).version for user in (1, 2)] == versions


def test_of_who_opted_out_at_the_account_nothing_is_kept_until_they_come_back(store) -> None:
    store.put_state(1, UserState(watched=(5,), not_interested=(6,), maturity_limit=16), 0)
    rows = pa.table({"user_id": [1], "is_opted_out": [True], "maturity_limit": pa.array([7], pa.int32())})
    keep_choices(store, rows)
    state = store.state(1).state
    assert state == UserState(maturity_limit=16, account_opts_out=True, account_limit=7)
    back = pa.table({"user_id": [1], "is_opted_out": [False], "maturity_limit": pa.array([None], pa.int32())})
    keep_choices(store, back)
    assert store.state(1).state == UserState(maturity_limit=16)


@given(
    said=st.sampled_from([None, True, False]),
    said_limit=st.sampled_from([None, 0, 12]),
    account=st.booleans(),
    account_limit=st.sampled_from([None, 7, 16]),
)
def test_what_was_said_here_goes_before_what_the_account_says(said, said_limit, account, account_limit) -> None:
    state = with_account(UserState(is_opted_out=said, maturity_limit=said_limit, watched=(1,)), account, account_limit)
    assert state.opts_out == (account if said is None else said)
    assert state.limit == (account_limit if said_limit is None else said_limit)
    assert state.watched == (() if said is None and account else (1,))
    assert with_account(state, account, account_limit) == state
