"""Somebody asks to be forgotten while their night is being published."""

import dataclasses
from datetime import timedelta
from pathlib import Path

import pytest
from made_lists import DAY
from publishing import USERS_COUNT, Publishing

from pipelines.stores.places import Places

GONE = 3


@pytest.fixture(params=["embedded", "pair"])
def publishing(request: pytest.FixtureRequest, tmp_path: Path) -> Publishing:
    if request.param == "embedded":
        return Publishing(tmp_path, Places(str(tmp_path / "lists.lmdb")))
    return Publishing(tmp_path, dataclasses.replace(request.getfixturevalue("places"), retention_days=14))


def test_an_erasure_after_the_lists_were_written_holds_no_night_up_and_the_user_is_in_no_list(
    publishing: Publishing,
) -> None:
    yesterday = publishing.make(DAY - timedelta(1))
    publishing.publish(yesterday)
    today = publishing.make(DAY)
    for shard in ("0/2", "1/2"):
        publishing.must("write_lists", "--day", DAY, "--shard", shard)
    receipt = publishing.must("forget_user", "--user-id", GONE, "--no-remove")
    assert "suppressed_at" in str(receipt)
    with publishing.store() as store:
        assert GONE in store.forgotten()
    publishing.must("publish_recommendations", "--day", DAY)

    run_id, lists = publishing.served()
    assert run_id == today.run_id
    assert sorted(lists) == [user for user in range(1, USERS_COUNT + 1) if user != GONE]
    with publishing.store() as store:
        assert store.get(today.run_id, GONE) is None
        assert store.get(yesterday.run_id, GONE) is None

    # Neither a rollback nor the next night brings them back.
    publishing.must("rollback_lists", "--run-id", yesterday.run_id, "--by", "Ada", "--reason", "a test")
    assert GONE not in publishing.served()[1]
    publishing.make(DAY + timedelta(1))
    for shard in ("0/2", "1/2"):
        publishing.must("write_lists", "--day", DAY + timedelta(1), "--shard", shard)
    publishing.must("publish_recommendations", "--day", DAY + timedelta(1))
    assert sorted(publishing.served()[1]) == [user for user in range(1, USERS_COUNT + 1) if user != GONE]
