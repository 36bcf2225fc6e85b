"""The endpoint's routes.

    GET /v1/recommendations/{user_id}?k=20   the first k titles of the user's list
    GET /healthz                             the process answers
    GET /readyz                              a run is live: which, since when; and whether the spool can be written
    GET /metrics                             for Prometheus

Lists are asked for in the event loop, each store within its deadline; an answer says which store gave it.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from http import HTTPStatus

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pipelines.lists.codec import CorruptListError, unpack
from pipelines.serving.answers import recommendations
from pipelines.serving.lookup import LiveLists, OpenLookup
from pipelines.serving.metrics import Metrics
from pipelines.serving.problems import ProblemError, asked_k, asked_user_id
from pipelines.serving.remembering import FLUSH_SECONDS, Remembering
from pipelines.spool import Spool
from pipelines.stores.lookup import Found

_JSON = "application/json"
_NOBODY = 0  # no user has this id; asking for it finds the pointer and the trending list


def create_app(open_lookup: OpenLookup, spool: Spool) -> Starlette:
    """The endpoint over a lookup and a spool; nothing is opened before it starts, and the store may come later."""
    return Endpoint(LiveLists(open_lookup), spool).app()


class Endpoint:
    """What the handlers share: the lists, the spool, the metrics."""

    def __init__(self, lists: LiveLists, spool: Spool) -> None:
        self._lists = lists
        self._metrics = Metrics()
        self._remembering = Remembering(spool, self._metrics)

    def app(self) -> Starlette:
        """The ASGI application."""
        app = Starlette(
            routes=[
                Route("/v1/recommendations/{user_id}", self.recommend, methods=["GET"]),
                Route("/healthz", self.health, methods=["GET"]),
                Route("/readyz", self.readiness, methods=["GET"]),
                Route("/metrics", self.exposition, methods=["GET"]),
            ],
            lifespan=self._lifespan,
            exception_handlers={ProblemError: self._refuse, HTTPException: self._refuse, Exception: self._refuse},
        )
        app.router.redirect_slashes = False
        return app

    async def recommend(self, request: Request) -> Response:
        """The first titles of a user's list."""
        started = time.perf_counter()
        user_id, k = asked_user_id(request), asked_k(request)
        answer = recommendations(await self._lists.find(user_id), k, self._metrics)
        self._remembering.remember(answer.for_spool(user_id, datetime.now(UTC)))
        response = Response(msgspec.json.encode(answer), headers={"cache-control": "no-store"}, media_type=_JSON)
        self._metrics.answers.labels(answer.source).inc()
        self._metrics.stores.labels(answer.store).inc()
        self._metrics.seconds.observe(time.perf_counter() - started)
        return response

    async def health(self, _: Request) -> Response:
        """The process answers."""
        return Response(b'{"status":"healthy"}', media_type=_JSON)

    async def readiness(self, _: Request) -> Response:
        """A run is live, and which."""
        found = await self._lists.find(_NOBODY)
        state = {
            "status": "ready",
            "run_id": found.live.run_id,
            "attempt": found.live.attempt,
            "live_since": found.live.moved_at,
            "list_age_seconds": round(_age_seconds(found)),
            "store": found.store,
            "spool": self._remembering.trouble or "writable",
            "spool_waiting": self._remembering.waiting_count,
        }
        return Response(msgspec.json.encode(state), media_type=_JSON)

    async def exposition(self, _: Request) -> Response:
        """All metrics, in the text format."""
        try:
            age = _age_seconds(await self._lists.find(_NOBODY))
        except ProblemError:
            age = math.nan
        self._metrics.list_age_seconds.set(age)
        self._metrics.spool_waiting.set(self._remembering.waiting_count)
        return Response(generate_latest(self._metrics.registry), headers={"content-type": CONTENT_TYPE_LATEST})

    async def _refuse(self, _: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            problem = ProblemError(HTTPStatus(error.status_code), f"{HTTPStatus(error.status_code).description}.")
        elif isinstance(error, ProblemError):
            problem = error
        else:
            problem = ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong on our side.")
        self._metrics.problems.labels(problem.status.value).inc()
        response = problem.response()
        if isinstance(error, HTTPException) and error.headers:
            response.headers.update(error.headers)
        return response

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        await self._lists.open()
        is_ending = asyncio.Event()
        housekeeping = asyncio.create_task(self._keep_house(is_ending))
        try:
            yield
        finally:
            # Not cancelled: a thread that writes the spool would go on beside the last write.
            is_ending.set()
            await asyncio.gather(housekeeping, return_exceptions=True)
            self._remembering.close()
            await self._lists.close()

    async def _keep_house(self, is_ending: asyncio.Event) -> None:
        while not is_ending.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(is_ending.wait(), FLUSH_SECONDS)
            await self._remembering.flush()


def _age_seconds(found: Found) -> float:
    """How long ago the live lists were made; if that cannot be read, since when they are live."""
    try:
        made_at = unpack(found.trending).generated_at
    except CorruptListError:
        made_at = found.live.moved_at
    return (datetime.now(UTC) - made_at).total_seconds()
