"""Who may ask: bearer keys, one a caller, compared so that the time it takes says nothing of them."""

import hashlib
import hmac
from collections.abc import Mapping
from pathlib import Path

import msgspec

from pipelines.errors import UsageError

_SHORTEST_KEY = 16
_KEYS = msgspec.json.Decoder(dict[str, str])


class ApiKeys:
    """Callers and their keys, as digests; without any, everybody may ask."""

    def __init__(self, keys: Mapping[str, str] | None = None) -> None:
        """Takes keys by caller.

        Raises:
            UsageError: if a key is shorter than 16 characters, or two callers share one.
        """
        given = dict(keys or {})
        for caller, key in given.items():
            if len(key) < _SHORTEST_KEY or not caller:
                raise UsageError(f"the setting MARQUEE_API_KEYS: the key of {caller!r} has fewer than 16 characters")
        if len(set(given.values())) < len(given):
            raise UsageError("the setting MARQUEE_API_KEYS: two callers share a key")
        self._digests = [(caller, _digest(key.encode())) for caller, key in given.items()]
        # What workers and machines with the same keys share, for tokens; empty where there is none.
        self.secret = b"".join(digest for _, digest in sorted(self._digests))

    @property
    def is_open(self) -> bool:
        """Whether everybody may ask."""
        return not self._digests

    def caller_of(self, key: bytes) -> str | None:
        """Whose key this is; `None` if nobody's. All are compared, whichever it is."""
        digest, found = _digest(key), None
        for caller, known in self._digests:
            if hmac.compare_digest(digest, known):
                found = caller
        return found


def read_api_keys(setting: str) -> ApiKeys:
    """The keys that a setting names: a JSON object of caller to key, or the path of a file that holds one.

    Raises:
        UsageError: if it is neither, or a key is too short.
    """
    text = setting.strip()
    if not text:
        return ApiKeys()
    if not text.startswith("{"):
        try:
            text = Path(text).read_text(encoding="utf-8")
        except (OSError, ValueError):
            raise UsageError(
                "the setting MARQUEE_API_KEYS is neither a JSON object of caller to key nor a file that can be read"
            ) from None
    try:
        return ApiKeys(_KEYS.decode(text))
    except msgspec.MsgspecError:
        raise UsageError("the setting MARQUEE_API_KEYS does not hold a JSON object of caller to key") from None


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
