"""A ring of three Cassandra nodes, of which one dies, then a second."""

import asyncio
import os
import signal
import time

import pytest
from planted_lists import TODAY, TOMORROW, USERS, YESTERDAY, a_list, publish, trending
from servers import ring_of_three

from pipelines.cassandra_schema import migrate
from pipelines.errors import UnavailableError
from pipelines.stores.open import open_store
from pipelines.stores.open_lookup import open_lookup
from pipelines.stores.places import Places

pytestmark = pytest.mark.slow


@pytest.fixture
def ring(tmp_path):
    with ring_of_three(tmp_path / "ring") as ring:
        yield ring


def is_served_whole(store, run_id):
    answers = [store.live_list(user) for user in USERS]
    return [(one.live.run_id, one.user_list, one.trending) for one in answers] == [
        (run_id, a_list(run_id, user), trending(run_id)) for user in USERS
    ]


def kill(server):
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()


async def answered(places, users):
    # Deadlines of a machine that runs three nodes on two cores.
    lookup = await open_lookup(places, redis_seconds=4, cassandra_seconds=8)
    try:
        return [await lookup.find(user) for user in users]
    finally:
        await lookup.close()


def test_with_one_node_down_lists_are_published_and_served_and_with_two_down_the_pointer_stays(
    ring, redis_server, redis_database
):
    places = Places(
        ring.address("three"),
        cache=f"redis://{redis_server.host}:{redis_server.port}/{redis_database}",
        cassandra_password=ring.password,
        cassandra_replication={"class": "NetworkTopologyStrategy", "datacenter1": "3"},
    )
    migrate(places)
    with open_store(places) as store:
        publish(store, YESTERDAY)
        assert is_served_whole(store, YESTERDAY)

        kill(ring.servers[2])
        publish(store, TODAY)
        assert is_served_whole(store, TODAY)
        found = asyncio.run(answered(places, USERS[:50]))
        assert [one.user_list for one in found] == [a_list(TODAY, user) for user in USERS[:50]]
        with open_store(places) as opened_meanwhile:
            assert opened_meanwhile.live().run_id == TODAY

        kill(ring.servers[1])
        started = time.monotonic()
        with pytest.raises(UnavailableError) as refused:
            publish(store, TOMORROW)
        assert "\n" not in str(refused.value)
        assert time.monotonic() - started < 120
        # What is in the cache goes on being answered, with the pointer where it was.
        found = asyncio.run(answered(places, USERS[:50]))
        assert {one.live.run_id for one in found} == {TODAY}
        assert {one.store for one in found} == {"redis"}
        assert all(one.trending == trending(TODAY) for one in found)
