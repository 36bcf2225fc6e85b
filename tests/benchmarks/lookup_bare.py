"""What the endpoint is measured against: a bare Starlette handler that does one Redis GET and encodes 20 items.

    python tests/benchmarks/lookup_bare.py PORT REDIS_PORT ours|redis-py

No rule, no state, no check of what was read, nothing remembered; under Granian with the endpoint's own settings. It
asks Redis with the usual client and its pool, or over the endpoint's own shared connection, which costs least.
"""

import sys
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server import Server
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

sys.path.insert(0, str(Path(__file__).parents[2]))
ITEMS = 20
_HEADER = 20


class Reason(msgspec.Struct):
    """As in the endpoint's answers."""

    kind: str


class Item(msgspec.Struct):
    """As in the endpoint's answers."""

    item_id: int
    score: float
    slot: int
    propensity: float
    reason: Reason


class Answer(msgspec.Struct):
    """The titles of a user."""

    user_id: int
    items: list[Item]


_REASON = Reason("als")


def application(redis_port: int, client: str) -> Starlette:
    """The handler, made in the worker's process."""
    if client == "ours":
        from pipelines.stores.redis_connection import RedisConnection

        connection = RedisConnection("127.0.0.1", redis_port, 0)

        async def read(key: str) -> bytes:
            return await connection.call("GET", key)

    else:
        from redis.asyncio import Redis

        read = Redis(port=redis_port, max_connections=64).get

    encoder = msgspec.json.Encoder()

    async def answer(request: Request) -> Response:
        user_id = int(request.path_params["user_id"])
        data = await read(f"bare:{user_id}")
        count, history, width = int.from_bytes(data[4:6], "little"), data[6], data[3]
        ids = np.frombuffer(data, "<u4", ITEMS, _HEADER).tolist()
        scores = np.frombuffer(data, "<f2", ITEMS, _HEADER + 4 * count + 4 * history + 2 * width).tolist()
        items = [
            Item(item_id, score, slot, 1.0, _REASON)
            for slot, (item_id, score) in enumerate(zip(ids, scores, strict=True))
        ]
        return Response(encoder.encode(Answer(user_id, items)), media_type="application/json")

    return Starlette(routes=[Route("/bare/{user_id}", answer)])


def _main() -> None:
    port, redis_port, client = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    Server(
        "bare",
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGI,
        workers=1,
        websockets=False,
        log_level=LogLevels.warning,
        log_access=False,
    ).serve(target_loader=partial(application, redis_port, client), wrap_loader=False)


if __name__ == "__main__":
    _main()
