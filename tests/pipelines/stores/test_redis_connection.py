import asyncio
from contextlib import asynccontextmanager

import pytest
from tcp_proxy import TcpProxy

from pipelines.errors import UnavailableError
from pipelines.stores.redis_connection import RedisConnection


@asynccontextmanager
async def connected(server, database, port=None, **credentials):
    connection = RedisConnection(server.host, port or server.port, database, **credentials)
    try:
        yield connection
    finally:
        await connection.close()


def test_many_at_once_each_get_their_own_reply(redis_server, redis_database):
    async def ask():
        async with connected(redis_server, redis_database) as connection:
            await asyncio.gather(*(connection.call("SET", f"key {n}", b"x" * n) for n in range(500)))
            replies = await asyncio.gather(*(connection.call("STRLEN", f"key {n}") for n in range(500)))
            assert replies == list(range(500))
            assert await connection.call("MGET", "key 3", "nothing") == [b"xxx", None]

    asyncio.run(ask())


def test_a_command_that_was_given_up_does_not_shift_the_replies_of_others(redis_server, redis_database):
    async def ask():
        async with connected(redis_server, redis_database) as connection:
            await connection.call("SET", "a", "1")
            for _ in range(20):
                given_up = asyncio.create_task(connection.call("ECHO", "for nobody"))
                await asyncio.sleep(0)
                given_up.cancel()
                assert await connection.call("GET", "a") == b"1"

    asyncio.run(ask())


def test_a_refusal_costs_its_asker_alone(redis_server, redis_database):
    async def ask():
        async with connected(redis_server, redis_database) as connection:
            with pytest.raises(UnavailableError, match="refuses"):
                await connection.call("NONSENSE")
            assert await connection.call("PING") == b"PONG"

    asyncio.run(ask())


def test_wrong_credentials_are_said_without_the_password(redis_server, redis_database):
    async def ask():
        async with connected(redis_server, redis_database, user="ann", password="hunter2") as connection:
            with pytest.raises(UnavailableError, match="refuses") as raised:
                await connection.call("PING")
            assert "hunter2" not in str(raised.value)

    asyncio.run(ask())


def test_a_server_that_hangs_is_asked_over_one_connection_and_again_when_it_is_back(redis_server, redis_database):
    async def ask(proxy):
        async with connected(redis_server, redis_database, proxy.port) as connection:
            assert await connection.call("PING") == b"PONG"
            proxy.is_hanging = True
            for _ in range(12):
                with pytest.raises((TimeoutError, UnavailableError)):
                    await asyncio.wait_for(connection.call("PING"), 0.15)
            assert proxy.most_open_count <= 3
            proxy.is_hanging = False
            for _ in range(100):
                try:
                    assert await asyncio.wait_for(connection.call("PING"), 2) == b"PONG"
                    break
                except (TimeoutError, UnavailableError):
                    await asyncio.sleep(0.05)
            else:
                raise AssertionError("nobody answers")
            assert proxy.open_count <= 2

    with TcpProxy(redis_server.host, redis_server.port) as proxy:
        asyncio.run(ask(proxy))


def test_who_may_wait_longer_than_a_second_is_not_hung_up_on_for_a_silence_of_one(redis_server, redis_database):
    async def ask(proxy):
        async with connected(redis_server, redis_database, port=proxy.port, deadline_seconds=8.0) as connection:
            await connection.ask("SET", "a", "1")
            proxy.is_hanging = True
            waiting = asyncio.create_task(connection.ask("GET", "a"))
            await asyncio.sleep(1.5)
            # Who asks in mid-silence would close the connection if that counted as dead.
            also = asyncio.create_task(connection.ask("GET", "a"))
            await asyncio.sleep(0.1)
            proxy.is_hanging = False
            assert await asyncio.gather(waiting, also) == [b"1", b"1"]

    with TcpProxy(redis_server.host, redis_server.port) as proxy:
        asyncio.run(ask(proxy))


def test_whoever_speaks_something_else_is_no_redis():
    async def chatter(_, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def ask():
        async with await asyncio.start_server(chatter, "127.0.0.1", 0) as server:
            connection = RedisConnection("127.0.0.1", server.sockets[0].getsockname()[1], 0)
            with pytest.raises(UnavailableError):
                await asyncio.wait_for(connection.call("PING"), 5)
            await connection.close()

    asyncio.run(ask())


def test_what_is_urgent_is_given_up_in_time_and_shifts_no_reply(redis_server, redis_database):
    async def ask():
        with TcpProxy(redis_server.host, redis_server.port) as proxy:
            async with connected(redis_server, redis_database, proxy.port, deadline_seconds=0.2) as connection:
                assert await connection.ask("SET", "a", "1") == b"OK"
                assert await connection.ask("SET", "b", "2") == b"OK"
                proxy.delay_seconds = 0.5
                loop = asyncio.get_running_loop()
                began = loop.time()
                patient = asyncio.create_task(connection.call("GET", "a"))
                ended = await asyncio.gather(*(connection.ask("GET", "b") for _ in range(50)), return_exceptions=True)
                assert all(isinstance(one, UnavailableError) and "200 ms" in str(one) for one in ended)
                assert 0.15 < loop.time() - began < 0.45
                assert await patient == b"1"
                proxy.delay_seconds = 0.0
                await asyncio.sleep(0.6)
                assert await asyncio.gather(*(connection.ask("GET", name) for name in "ab" * 20)) == [b"1", b"2"] * 20
                await asyncio.sleep(0.5)
                assert await connection.ask("GET", "a") == b"1"

    asyncio.run(ask())
