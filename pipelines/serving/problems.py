"""Answers that refuse: `application/problem+json` (RFC 9457), one sentence each."""

import re
from http import HTTPStatus

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from pipelines.stores.interface import LARGEST_USER_ID

LARGEST_K = 100
_DEFAULT_K = 20
_USER_ID = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
_K = re.compile(r"[1-9][0-9]{0,2}", re.ASCII)


class ProblemError(Exception):
    """A request that gets no list; `detail` is what its sender reads."""

    def __init__(self, status: HTTPStatus, detail: str, *, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.retry_after = retry_after

    def response(self) -> Response:
        """The problem as a response."""
        body = {"type": "about:blank", "title": self.status.phrase, "status": self.status.value, "detail": self.detail}
        headers = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        return Response(msgspec.json.encode(body), self.status.value, headers, "application/problem+json")


def asked_user_id(request: Request) -> int:
    """The user id in the path.

    Raises:
        ProblemError: 400, if it is none.
    """
    text = request.path_params["user_id"]
    if not _USER_ID.fullmatch(text) or int(text) > LARGEST_USER_ID:
        raise ProblemError(HTTPStatus.BAD_REQUEST, "A user id is a whole number from 1 to 9223372036854775807.")
    return int(text)


def asked_k(request: Request) -> int:
    """How many titles are asked for.

    Raises:
        ProblemError: 400, if that is not one number from 1 to 100.
    """
    given = request.query_params.getlist("k")
    if not given:
        return _DEFAULT_K
    if len(given) > 1 or not _K.fullmatch(given[0]) or int(given[0]) > LARGEST_K:
        raise ProblemError(HTTPStatus.BAD_REQUEST, f"k is given once, as a whole number from 1 to {LARGEST_K}.")
    return int(given[0])
