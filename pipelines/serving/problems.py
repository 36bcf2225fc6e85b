"""Answers that refuse: `application/problem+json` (RFC 9457), one sentence each."""

from http import HTTPStatus

import msgspec
from starlette.responses import Response

PROBLEM_TYPE = "application/problem+json"


class Refused(msgspec.Struct, frozen=True):
    """An event that was not taken: its place in the batch from 0, its id where it could be read, and why."""

    index: int
    event_id: str | None
    detail: str


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of an answer that refuses, as RFC 9457 has it; `refused`: what of a batch was refused, and why."""

    title: str
    status: int
    detail: str
    refused: tuple[Refused, ...] = ()


class ProblemError(Exception):
    """A request that gets no list; `detail` is what its sender reads."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        retry_after: int | None = None,
        refused: tuple[Refused, ...] = (),
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.retry_after = retry_after
        self.refused = refused

    @property
    def body(self) -> bytes:
        """The problem as JSON."""
        return msgspec.json.encode(Problem(self.status.phrase, self.status.value, self.detail, self.refused))

    @property
    def headers(self) -> dict[str, str]:
        """What goes with it beside its type."""
        headers = {"cache-control": "no-store"}
        if self.retry_after is not None:
            headers["retry-after"] = str(self.retry_after)
        if self.status is HTTPStatus.UNAUTHORIZED:
            headers["www-authenticate"] = "Bearer"
        return headers

    def response(self) -> Response:
        """The problem as a response."""
        return Response(self.body, self.status.value, self.headers, PROBLEM_TYPE)


def wrong(detail: str) -> ProblemError:
    """A problem of the asker: 400."""
    return ProblemError(HTTPStatus.BAD_REQUEST, detail)


def unavailable(detail: str, retry_after: int) -> ProblemError:
    """A problem of ours that passes: 503, to be asked again after some seconds."""
    return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after=retry_after)
