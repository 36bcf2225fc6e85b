"""One way to write a value as JSON, so that its bytes can be digested, signed and compared anywhere.

Keys are sorted by code point, nothing stands between tokens, texts are UTF-8 as they are, floats are the shortest
decimal that reads back as the same number (Python's `repr`), and what JSON has no word for (NaN, infinity, dates,
numpy's numbers, keys that are no text) is refused.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from pipelines.errors import DataError


def canonical(value: object) -> bytes:
    """The value's one JSON text, in UTF-8.

    Raises:
        DataError: if it holds what JSON has no word for; names where.
    """
    _check(value, "the value")
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise DataError("a text in it is no Unicode: half of a surrogate pair") from None


def parse_canonical(data: bytes) -> Any:
    """The value that `canonical` wrote as these bytes.

    Raises:
        DataError: if the bytes are not what `canonical` writes of any value, be it for one blank.
    """
    try:
        value = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise DataError("it is no JSON") from None
    if canonical(value) != data:
        raise DataError("it is not written in the canonical way")
    return value


def digest_of_bytes(data: bytes) -> str:
    """sha256, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def canonical_digest(value: object) -> str:
    """sha256 of the value's canonical JSON, 64 hexadecimal digits.

    Raises:
        DataError: as `canonical`.
    """
    return digest_of_bytes(canonical(value))


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _check(value: object, where: str) -> None:
    # By exact type: a numpy number or an enumeration would be written like its parent and read back as another thing.
    if value is None or type(value) in (bool, int, str):
        return
    if type(value) is float:
        if not math.isfinite(value):
            raise DataError(f"{where} is {value}, for which JSON has no word")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if type(key) is not str:
                raise DataError(f"{where} has the key {key!r}, which is no text")
            _check(inner, f"{where}.{key}")
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for number, inner in enumerate(value):
            _check(inner, f"{where}[{number}]")
    else:
        raise DataError(f"{where} is of the type {type(value).__name__}, for which JSON has no word")
