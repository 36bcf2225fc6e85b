"""The page at `/`: a user's list as people see it, with what stands behind it. Made on the server, for operators.

    GET /?user_id=7&country=DE&device=tv   the page; without a user, the form alone
    POST /sign-in, POST /sign-out          where bearer keys are set: the key comes in a form, and is in no URL
    GET /page.css                          its style: nothing comes from elsewhere, and nothing is run in the browser

An operator who looks is not the user: the answers go the way of the API's, marked `surface=page`, and are not
remembered as served.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from pipelines.serving.keys import ApiKeys
from pipelines.serving.page_signing import COOKIE, SECONDS, caller_in, signed_token
from pipelines.serving.page_views import (
    Cover,
    Looked,
    cards,
    count_line,
    covers,
    facts,
    list_name,
    no_history,
)
from pipelines.serving.problems import ProblemError
from pipelines.serving.questions import COUNTRY_PATTERN, Mode, Query, user_id_of
from pipelines.serving.titles import Titles
from pipelines.stores.interface import LARGEST_USER_ID

SURFACE = "page"
_TEMPLATES = Path(__file__).parent / "templates"
_HISTORY = 24
_GREETING = 12
_LARGEST_FORM = 4096
_DEVICES = ("tv", "phone", "tablet", "web")
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # An address of the page names a user.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}


class LookedAt(Protocol):
    """What the page asks of the endpoint."""

    async def look(self, user_id: int, query: Query) -> Looked:
        """The answer as the API would give it to this query; it is not remembered as served.

        Raises:
            ProblemError: as the API's.
        """

    @property
    def keys(self) -> ApiKeys:
        """Who may ask. The routes of the page check them by themselves: a browser has a cookie, not a bearer key."""

    @property
    def titles(self) -> Titles | None:
        """Of the snapshot; `None` where there is none."""


def page_routes(endpoint: LookedAt) -> list[Route]:
    """The routes of the page."""
    page = _Page(endpoint)
    return [
        Route("/", page.show, methods=["GET"]),
        Route("/sign-in", page.sign_in, methods=["POST"]),
        Route("/sign-out", page.sign_out, methods=["POST"]),
        Route("/page.css", _file("page.css", "text/css"), methods=["GET"]),
        Route("/icon.svg", _file("icon.svg", "image/svg+xml"), methods=["GET"]),
    ]


@dataclass(frozen=True)
class _Form:
    """What was put into the form, as it was put; wrong or right."""

    user_id: str = ""
    country: str = ""
    device: str = ""

    def trouble(self) -> tuple[str, str] | None:
        """The field that is wrong, and why, in a sentence."""
        try:
            user_id_of(self.user_id or "1")
        except ProblemError as problem:
            return "user_id", problem.detail
        if self.country and not re.fullmatch(COUNTRY_PATTERN, self.country):
            return "country", "A country is two letters, such as DE."
        if self.device and self.device not in _DEVICES:
            return "device", f"A device is one of {', '.join(_DEVICES)}."
        return None

    def query(self, mode: Mode) -> Query:
        """The same as a question to the API."""
        return Query(surface=SURFACE, device=self.device or None, country=self.country or None, mode=mode)

    def link_to(self, user_id: int) -> str:
        """The page of another user, asked for in the same way."""
        given = {"user_id": str(user_id), "country": self.country, "device": self.device}
        return f"?{urlencode({name: value for name, value in given.items() if value})}"


class _Page:
    """Handlers of the page."""

    def __init__(self, endpoint: LookedAt) -> None:
        self._endpoint = endpoint
        templates = Environment(
            loader=FileSystemLoader(_TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._page, self._gate = templates.get_template("page.html"), templates.get_template("sign_in.html")

    async def show(self, request: Request) -> Response:
        """The page: the form, and where a user is chosen what they see."""
        if not self._may_see(request):
            return self._ask_for_key(None)
        form = _Form(
            request.query_params.get("user_id", "").strip()[:40],
            request.query_params.get("country", "").strip()[:40].upper(),
            request.query_params.get("device", "").strip()[:40],
        )
        status, wrong = HTTPStatus.OK, form.trouble()
        values: dict[str, Any] = {"trouble": None, "wrong_field": None, "seen": False}
        if wrong is not None:
            status, (values["wrong_field"], values["trouble"]) = HTTPStatus.BAD_REQUEST, wrong
        elif form.user_id:
            try:
                values |= await self._seen(form)
            except ProblemError as problem:
                status, values["trouble"] = problem.status, problem.detail
        if not values["seen"]:
            values["examples"] = self._examples()
        return self._html(
            self._page, status, asked=form, devices=_DEVICES, is_signed_in=not self._endpoint.keys.is_open, **values
        )

    async def sign_in(self, request: Request) -> Response:
        """Take a key out of the form, and give a cookie for it."""
        key = await _posted_key(request)
        keys = self._endpoint.keys
        if keys.is_open:
            return _to_the_page()
        caller = keys.caller_of(key.encode()) if key and _is_from_here(request) else None
        if caller is None:
            return self._ask_for_key("No caller has this key.")
        response = _to_the_page()
        response.set_cookie(
            COOKIE,
            signed_token(keys.secret, caller, time.time()),
            max_age=SECONDS,
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return response

    async def sign_out(self, request: Request) -> Response:
        """Take the cookie back."""
        response = _to_the_page()
        if _is_from_here(request):
            response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response

    def _may_see(self, request: Request) -> bool:
        keys = self._endpoint.keys
        if keys.is_open or caller_in(keys.secret, request.cookies.get(COOKIE, ""), time.time()) is not None:
            return True
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and keys.caller_of(key.strip().encode()) is not None

    def _ask_for_key(self, trouble: str | None) -> Response:
        response = self._html(self._gate, HTTPStatus.UNAUTHORIZED, trouble=trouble)
        response.headers["www-authenticate"] = "Bearer"
        return response

    async def _seen(self, form: _Form) -> dict[str, Any]:
        """What the page shows of a user.

        Raises:
            ProblemError: if there is no answer; the feed alone may be missing.
        """
        now, user_id = datetime.now(UTC), int(form.user_id)
        personal, feed = await asyncio.gather(
            *(self._endpoint.look(user_id, form.query(mode)) for mode in ("personal", "chronological")),
            return_exceptions=True,
        )
        if isinstance(personal, BaseException):
            raise personal
        if isinstance(feed, BaseException) and not isinstance(feed, ProblemError):
            raise feed
        return {
            "seen": True,
            "facts": facts(personal, now),
            "history": covers(personal.history[:_HISTORY], personal.titles),
            "no_history": no_history(personal.source),
            "list_name": list_name(personal.source),
            "count_line": count_line(personal.items),
            "cards": cards(personal.items, personal.titles, now),
            "feed": cards(feed.items, feed.titles, now) if isinstance(feed, Looked) else [],
            "feed_trouble": None if isinstance(feed, Looked) else feed.detail,
            "earlier": form.link_to(user_id - 1) if user_id > 1 else None,
            "later": form.link_to(user_id + 1) if user_id < LARGEST_USER_ID else None,
        }

    def _examples(self) -> list[Cover]:
        """The newest titles that anybody may see, to greet with."""
        titles = self._endpoint.titles
        if titles is None:
            return []
        entries = titles.showable(datetime.now(UTC)).entries
        return covers(list(islice((item for item in titles.newest if item in entries), _GREETING)), titles)

    def _html(self, template: Template, status: HTTPStatus, **values: Any) -> Response:
        return Response(template.render(values), status.value, _HEADERS, "text/html")


async def _posted_key(request: Request) -> str | None:
    """The key in a small form; `None` where there is none."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_FORM:
            return None
    try:
        found = parse_qs(bytes(body).decode("ascii"), strict_parsing=True, errors="strict").get("key", [])
    except ValueError:
        return None
    return found[0] if len(found) == 1 else None


def _is_from_here(request: Request) -> bool:
    """Whether our own page sent the form, as far as the browser says."""
    return request.headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")


def _to_the_page() -> Response:
    return RedirectResponse("./", HTTPStatus.SEE_OTHER.value, _HEADERS)


def _file(name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    content = (_TEMPLATES / name).read_bytes()

    async def give(_: Request) -> Response:
        return Response(content, headers=_HEADERS | {"cache-control": "max-age=300"}, media_type=kind)

    return give
