"""What was sent: read within a bound and a deadline, and decoded."""

import asyncio
from http import HTTPStatus
from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from pipelines.serving.problems import ProblemError, wrong

_READ_SECONDS = 5.0
T = TypeVar("T")


async def body_of(request: Request, most_bytes: int) -> bytes:
    """The body of a request.

    Raises:
        ProblemError: 413, if it is longer; 408, if it does not come in time; 415, if it does not say that it is JSON.
    """
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The body is JSON: application/json.")
    too_long = ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body has at most {most_bytes} bytes.")
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or len(length) > 12 or int(length) > most_bytes:
        raise too_long
    body = bytearray()
    try:
        async with asyncio.timeout(_READ_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most_bytes:
                    raise too_long
    except TimeoutError:
        raise ProblemError(HTTPStatus.REQUEST_TIMEOUT, "The body did not come in time.") from None
    except ClientDisconnect:
        raise wrong("The body is not whole.") from None
    return bytes(body)


def decoded(decoder: msgspec.json.Decoder[T], data: bytes | msgspec.Raw) -> T:
    """A value of the decoder's type.

    Raises:
        ProblemError: 400, saying what is wrong; nothing of the body is repeated.
    """
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        raise wrong(f"{error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise wrong("The body is no JSON.") from None
