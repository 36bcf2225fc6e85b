"""The endpoint: its routes, and what all of them share.

    GET  /v1/recommendations/{user_id}    the first titles for a user, and the pages after them
    POST /v1/events                       what users did
    POST /v1/users/{user_id}/onboarding   what a user answered at sign-up
    PUT  /v1/users/{user_id}/preferences  what a user decided: opting out, a maturity limit
    GET  /v1/items/{item_id}/similar      titles near one
    GET  /v1/trending                     what trends
    GET  /openapi.json, /docs             all of this, for programs and for people
    GET  /healthz, /readyz, /metrics      the process answers; it can answer with lists; for Prometheus
    GET  /                                the page, for operators

Requests for lists pass by the framework: there are thousands a second of them, and their path says all.
Stores are asked in the event loop, each within its deadline; an answer says which one gave it.
"""

import asyncio
import math
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from pipelines.errors import UnavailableError
from pipelines.lists.codec import CorruptListError, unpack
from pipelines.serving.answering import RETRY_SECONDS, Answering, Given
from pipelines.serving.bodies import body_of, decoded
from pipelines.serving.heard import Onboarding, Preferences
from pipelines.serving.hearing import Hearing
from pipelines.serving.keys import ApiKeys
from pipelines.serving.lookup import LiveLists, OpenLookup
from pipelines.serving.metrics import Metrics
from pipelines.serving.openapi import docs_page, openapi_document
from pipelines.serving.page import page_routes
from pipelines.serving.page_tokens import PageTokens
from pipelines.serving.page_views import Looked
from pipelines.serving.problems import PROBLEM_TYPE, ProblemError, unavailable
from pipelines.serving.questions import OF_A_USER, OF_NOBODY, Query, item_id_of, query_of, user_id_of
from pipelines.serving.remembering import FLUSH_SECONDS, Remembering
from pipelines.serving.snapshots import Snapshots
from pipelines.serving.titles import Titles
from pipelines.spool import Spool
from pipelines.stores.lookup import Found

_JSON = "application/json"
_NOBODY = 0  # no user has this id; asking for it finds the pointer and the trending list
_LONGEST_PATH = 1024
_LONGEST_QUERY = 8192
_REFRESH_SECONDS = 1.0
_API = "/v1/"
_RECOMMENDATIONS = "/v1/recommendations/"
_ALWAYS_ANSWERED = ("/healthz", "/readyz", "/metrics")
_HEADERS = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
_PRIVATE = {"cache-control": "no-store"}
_ENCODER = msgspec.json.Encoder()
_ONBOARDING = msgspec.json.Decoder(Onboarding)
_PREFERENCES = msgspec.json.Decoder(Preferences)


@dataclass(frozen=True)
class Bounds:
    """Of one worker: requests that are answered at the same time, and bytes of a body (of events, of anything else)."""

    most_in_flight: int = 256
    most_event_bytes: int = 512 * 1024
    most_bytes: int = 16 * 1024


def create_app(
    open_lookup: OpenLookup,
    spool: Spool,
    *,
    snapshots: Snapshots | None = None,
    keys: ApiKeys | None = None,
    bounds: Bounds | None = None,
    secret: bytes = b"",
    on_snapshot: Callable[[], None] | None = None,
) -> Starlette:
    """The endpoint; nothing is opened before it starts, and store and snapshot may come later.

    Args:
        open_lookup: opens the stores.
        spool: of this process.
        snapshots: of the live run; without them there is no feed, no cohort, and no rule about titles.
        keys: who may ask; everybody without them.
        bounds: on what is asked at once.
        secret: what page tokens are signed with, if there are no keys; the same in all workers.
        on_snapshot: called when another snapshot was read.
    """
    endpoint = Endpoint(
        LiveLists(open_lookup),
        spool,
        snapshots,
        keys or ApiKeys(),
        bounds or Bounds(),
        secret or secrets.token_bytes(32),
        on_snapshot,
    )
    return endpoint.app()


class _Application(Starlette):
    """Starlette, behind a door."""

    endpoint: "Endpoint"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["app"] = self
            await self.endpoint.serve(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What the framework does with a request."""
        await super().__call__(scope, receive, send)


class Endpoint:
    """What the handlers share: the lists, the snapshot, the spool, the metrics, and the door."""

    def __init__(
        self,
        lists: LiveLists,
        spool: Spool,
        snapshots: Snapshots | None,
        keys: ApiKeys,
        bounds: Bounds,
        secret: bytes,
        on_snapshot: Callable[[], None] | None,
    ) -> None:
        self._lists = lists
        self._on_snapshot = on_snapshot
        self._snapshots = snapshots
        self._keys = keys
        self._bounds = bounds
        self._metrics = Metrics()
        self._remembering = Remembering(spool, self._metrics)
        self._answering = Answering(lists, snapshots, PageTokens(keys.secret or secret), self._metrics)
        self._hearing = Hearing(lists, self._remembering, self._metrics)
        self._in_flight = 0
        self._is_ending = False
        self._app = _Application(
            routes=[
                Route("/v1/recommendations/{user_id}", self._recommend, methods=["GET"]),
                Route("/v1/events", self._take_events, methods=["POST"]),
                Route("/v1/users/{user_id}/onboarding", self._onboard, methods=["POST"]),
                Route("/v1/users/{user_id}/preferences", self._prefer, methods=["PUT"]),
                Route("/v1/items/{item_id}/similar", self._similar, methods=["GET"]),
                Route("/v1/trending", self._trending, methods=["GET"]),
                Route("/openapi.json", self._openapi, methods=["GET"]),
                Route("/docs", self._docs, methods=["GET"]),
                Route("/healthz", self._health, methods=["GET"]),
                Route("/readyz", self._readiness, methods=["GET"]),
                Route("/metrics", self._exposition, methods=["GET"]),
                *page_routes(self),
            ],
            lifespan=self._lifespan,
            exception_handlers={ProblemError: self._refuse, HTTPException: self._refuse, Exception: self._refuse},
        )
        self._app.endpoint = self
        self._app.router.redirect_slashes = False

    def app(self) -> Starlette:
        """The ASGI application."""
        return self._app

    # What the page asks.

    async def look(self, user_id: int, query: Query) -> Looked:
        """See `pipelines.serving.page.LookedAt`."""
        given = await self._answering.of_user(user_id, query)
        answer, history = given.answer, ()
        if given.user_list is not None and given.state is not None:
            lately = (*reversed(given.state.watched), *given.user_list.history.tolist())
            history = tuple(dict.fromkeys(lately))
        return Looked(
            run_id=answer.run_id,
            model_set=answer.model_set,
            audit_id=answer.audit_id,
            generated_at=answer.generated_at,
            source=answer.source,
            store=answer.store,
            items=given.arranged.items,
            relaxed=answer.relaxed,
            filtered=given.arranged.filtered,
            history=history,
            titles=self.titles,
        )

    @property
    def keys(self) -> ApiKeys:
        """See `pipelines.serving.page.LookedAt`."""
        return self._keys

    @property
    def titles(self) -> Titles | None:
        """See `pipelines.serving.page.LookedAt`."""
        snapshot = self._answering.snapshot
        return None if snapshot is None else snapshot.titles

    # The door.

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, if it is small enough, may be asked, and not too many are being answered."""
        path: str = scope["path"]
        if path in _ALWAYS_ANSWERED:
            await self._app.serve(scope, receive, send)
            return
        if self._in_flight >= self._bounds.most_in_flight:
            self._metrics.counts["shed"] += 1
            await self._say(unavailable("Too much is asked at the moment.", 1), send)
            return
        self._in_flight += 1
        try:
            if len(path) > _LONGEST_PATH or len(scope["query_string"]) > _LONGEST_QUERY:
                raise ProblemError(HTTPStatus.REQUEST_URI_TOO_LONG, "The address is too long.")
            if path.startswith(_API):
                self._check_caller(scope)
                if scope["method"] == "GET" and path.startswith(_RECOMMENDATIONS):
                    await self._answer(path[len(_RECOMMENDATIONS) :], scope["query_string"], send)
                    return
            await self._app.serve(scope, receive, send)
        except ProblemError as problem:
            await self._say(problem, send)
        finally:
            self._in_flight -= 1

    def _check_caller(self, scope: Scope) -> None:
        if self._keys.is_open:
            return
        key = b""
        for name, value in scope["headers"]:
            if name == b"authorization":
                scheme, _, key = value.partition(b" ")
                key = key.strip() if scheme.lower() == b"bearer" else b""
        caller = self._keys.caller_of(key)
        if caller is None:
            raise ProblemError(HTTPStatus.UNAUTHORIZED, "A bearer key is needed, and this is none.")
        self._metrics.callers[caller] += 1

    async def _say(self, problem: ProblemError, send: Send) -> None:
        self._metrics.problems[problem.status.value] += 1
        body = problem.body
        headers = [(name.encode(), value.encode()) for name, value in problem.headers.items()]
        headers += [(b"content-type", PROBLEM_TYPE.encode()), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": problem.status.value, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, user: str, query: bytes, send: Send) -> None:
        """Say the titles for a user; the path is all but the user."""
        if "/" in user or not user:
            raise ProblemError(HTTPStatus.NOT_FOUND, "Nothing matches the given URI.")
        started = time.perf_counter()
        try:
            body = await self._titles_for(user, query)
        except ProblemError:
            raise
        except Exception:
            await self._say(_ours(), send)
            raise
        headers = [*_HEADERS, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self._metrics.seconds.took(time.perf_counter() - started)

    async def _titles_for(self, user: str, query: bytes) -> bytes:
        """The answer, remembered and counted, as JSON."""
        user_id = user_id_of(user)
        given = await self._answering.of_user(user_id, query_of(query, OF_A_USER))
        answer = given.answer
        if given.is_remembered:
            self._remembering.remember(answer.for_spool(user_id, given.answered_at))
        self._count(given)
        return _ENCODER.encode(answer)

    def _count(self, given: Given) -> None:
        answer, metrics = given.answer, self._metrics
        metrics.answers[answer.source] += 1
        metrics.stores[answer.store] += 1
        if not answer.items:
            metrics.counts["empty_answers"] += 1
        for rule, count in given.arranged.filtered.items():
            metrics.filtered[rule] += count
        for rule in answer.relaxed:
            metrics.relaxed[rule] += 1

    # What the framework routes.

    async def _recommend(self, _: Request) -> Response:
        # A GET is answered at the door; a HEAD would be remembered as an answer that nobody saw.
        raise ProblemError(HTTPStatus.METHOD_NOT_ALLOWED, "Titles are asked for by GET.")

    async def _take_events(self, request: Request) -> Response:
        taken = await self._hearing.take(await body_of(request, self._bounds.most_event_bytes))
        return Response(_ENCODER.encode(taken), 202, _PRIVATE, _JSON)

    async def _onboard(self, request: Request) -> Response:
        user_id = user_id_of(request.path_params["user_id"])
        said = decoded(_ONBOARDING, await body_of(request, self._bounds.most_bytes))
        await self._hearing.onboard(user_id, said)
        return Response(_ENCODER.encode(said), headers=_PRIVATE, media_type=_JSON)

    async def _prefer(self, request: Request) -> Response:
        user_id = user_id_of(request.path_params["user_id"])
        said = decoded(_PREFERENCES, await body_of(request, self._bounds.most_bytes))
        await self._hearing.prefer(user_id, said)
        return Response(_ENCODER.encode(said), headers=_PRIVATE, media_type=_JSON)

    async def _similar(self, request: Request) -> Response:
        item_id = item_id_of(request.path_params["item_id"])
        answer = self._answering.similar_to(item_id, query_of(request.scope["query_string"], OF_NOBODY))
        return Response(_ENCODER.encode(answer), headers=_PRIVATE, media_type=_JSON)

    async def _trending(self, request: Request) -> Response:
        answer = self._answering.trending(query_of(request.scope["query_string"], OF_NOBODY))
        return Response(_ENCODER.encode(answer), headers=_PRIVATE, media_type=_JSON)

    async def _openapi(self, _: Request) -> Response:
        return Response(_ENCODER.encode(openapi_document()), media_type=_JSON)

    async def _docs(self, _: Request) -> Response:
        headers = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'"}
        return Response(docs_page(openapi_document()), headers=headers, media_type="text/html")

    async def _health(self, _: Request) -> Response:
        return Response(b'{"status":"healthy"}', media_type=_JSON)

    async def _readiness(self, _: Request) -> Response:
        """A run is live, and which; who answers for it; with which snapshot."""
        if self._is_ending:
            raise unavailable("The endpoint is ending.", RETRY_SECONDS)
        found, snapshot = await self._found(), self._answering.snapshot
        state = {
            "status": "ready",
            "run_id": found.live.run_id,
            "attempt": found.live.attempt,
            "live_since": found.live.moved_at,
            "list_age_seconds": round(_age_seconds(found)),
            "store": found.store,
            "stores": {
                name: "left alone, it fails" if times.is_resting else "asked"
                for name, times in self._lists.hops().items()
            },
            "snapshot": None
            if snapshot is None
            else {
                "digest": snapshot.digest,
                "run_id": snapshot.run_id,
                "age_seconds": round((datetime.now(UTC) - snapshot.generated_at).total_seconds()),
            },
            "snapshot_trouble": self._snapshots.trouble if self._snapshots is not None else None,
            "spool": self._remembering.trouble or "writable",
            "spool_waiting": self._remembering.waiting_count,
        }
        return Response(_ENCODER.encode(state), headers=_PRIVATE, media_type=_JSON)

    async def _exposition(self, _: Request) -> Response:
        metrics, snapshot = self._metrics, self._answering.snapshot
        try:
            age = _age_seconds(await self._found())
        except ProblemError:
            age = math.nan
        snapshot_age = math.nan if snapshot is None else (datetime.now(UTC) - snapshot.generated_at).total_seconds()
        metrics.gauges |= {
            "list_age_seconds": age,
            "snapshot_age_seconds": snapshot_age,
            "spool_waiting": self._remembering.waiting_count,
            "in_flight": self._in_flight,
        }
        metrics.hops = self._lists.hops()
        return Response(generate_latest(metrics.registry), headers={"content-type": CONTENT_TYPE_LATEST})

    async def _found(self) -> Found:
        try:
            found = await self._lists.find(_NOBODY)
        except UnavailableError:
            raise unavailable("The lists cannot be read at the moment.", RETRY_SECONDS) from None
        if found is None:
            raise unavailable("No list has been published yet.", RETRY_SECONDS)
        return found

    async def _refuse(self, _: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            problem = ProblemError(HTTPStatus(error.status_code), f"{HTTPStatus(error.status_code).description}.")
        elif isinstance(error, ProblemError):
            problem = error
        else:
            problem = _ours()
        self._metrics.problems[problem.status.value] += 1
        response = problem.response()
        if isinstance(error, HTTPException) and error.headers:
            response.headers.update(error.headers)
        return response

    # From start to end.

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        await self._lists.open()
        await self._refresh()
        is_ending = asyncio.Event()
        tasks = [asyncio.create_task(self._keep_flushing(is_ending)), asyncio.create_task(self._keep_fresh(is_ending))]
        try:
            yield
        finally:
            # Not cancelled: a thread that writes the spool would go on beside the last write.
            self._is_ending = True
            is_ending.set()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._remembering.close()
            await self._lists.close()

    async def _keep_flushing(self, is_ending: asyncio.Event) -> None:
        while not is_ending.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(is_ending.wait(), FLUSH_SECONDS)
            await self._remembering.flush()

    async def _keep_fresh(self, is_ending: asyncio.Event) -> None:
        while not is_ending.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(is_ending.wait(), _REFRESH_SECONDS)
            if not is_ending.is_set():
                await self._refresh()

    async def _refresh(self) -> None:
        """Follow the live run; where it has no snapshot, or nobody says which it is, the newest will do."""
        if self._snapshots is None:
            return
        before = self._snapshots.current
        try:
            live = await self._lists.live()
        except UnavailableError:
            live = None
        if live is not None:
            await self._snapshots.refresh(live.run_id)
        if self._snapshots.current is None:
            await self._snapshots.refresh(None)
        if self._snapshots.current is not before and self._on_snapshot is not None:
            self._on_snapshot()


def _ours() -> ProblemError:
    return ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong on our side.")


def _age_seconds(found: Found) -> float:
    """How long ago the live lists were made; if that cannot be read, since when they are live."""
    try:
        made_at = unpack(found.trending).generated_at
    except CorruptListError:
        made_at = found.live.moved_at
    return (datetime.now(UTC) - made_at).total_seconds()
