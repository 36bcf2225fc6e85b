"""Where the next page goes on: a token that its reader cannot read anything into, and cannot change.

A token holds the run and attempt whose lists are paged through, the seed of the draws, how many pages there were and
what they held: so pages are of one run, and none shows a title twice. It is MessagePack behind a keyed digest
(BLAKE2b, 12 bytes) over it and what it answers: the user, the surface and the mode. Nothing is kept of it here.
"""

import hashlib
import hmac
from base64 import urlsafe_b64decode
from binascii import b2a_base64
from functools import lru_cache
from struct import Struct
from typing import NamedTuple

import msgspec

from pipelines.serving.problems import ProblemError
from pipelines.serving.questions import no_token

_DIGEST_BYTES = 12
_WHOSE = Struct("<q")
# 4 bytes each: the longest token is 3.3 KB. A list has 200 candidates.
MOST_SERVED = 600


class Page(NamedTuple):
    """Where a page goes on; `number` is how many pages there were."""

    run_id: str
    attempt: int
    seed: int
    number: int
    served: frozenset[int]


class _Held(msgspec.Struct, frozen=True, array_like=True, gc=False):
    run_id: str
    attempt: int
    seed: int
    number: int
    served: bytes


_HELD = msgspec.msgpack.Decoder(_Held)
_HELD_ENCODER = msgspec.msgpack.Encoder()
_FOR_URLS = bytes.maketrans(b"+/", b"-_")


class PageTokens:
    """Makes tokens and reads them again, in any process that has the same secret."""

    def __init__(self, secret: bytes) -> None:
        """Takes a secret of any length."""
        key = hashlib.sha256(b"page tokens" + secret).digest()
        self._keyed = hashlib.blake2b(digest_size=_DIGEST_BYTES, key=key)

    def make(self, page: Page, shown: list[int], whose: tuple[int, str, str]) -> str | None:
        """The token of the page after one; `None` if too much was served to be held.

        Args:
            page: where the one that is answered began.
            shown: what it holds.
            whose: user id, surface and mode.
        """
        served = [*page.served, *shown] if page.served else shown
        if len(served) > MOST_SERVED:
            return None
        ids = _packed(len(served)).pack(*served)
        data = _HELD_ENCODER.encode(_Held(page.run_id, page.attempt, page.seed, page.number + 1, ids))
        text = b2a_base64(self._digest(data, whose) + data, newline=False).translate(_FOR_URLS, b"=")
        return text.decode("ascii")

    def read(self, token: str, whose: tuple[int, str, str]) -> Page:
        """Where a token says to go on.

        Raises:
            ProblemError: 400, if it was not made for this user, surface and mode with this secret.
        """
        problem: ProblemError
        try:
            data = urlsafe_b64decode(token + "=" * (-len(token) % 4))
            digest, data = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
            if not hmac.compare_digest(digest, self._digest(data, whose)):
                raise no_token()
            held = _HELD.decode(data)
        except (ValueError, msgspec.MsgspecError):
            problem = no_token()
            raise problem from None
        served = frozenset(_packed(len(held.served) // 4).unpack(held.served))
        return Page(held.run_id, held.attempt, held.seed, held.number, served)

    def _digest(self, data: bytes, whose: tuple[int, str, str]) -> bytes:
        user_id, surface, mode = whose
        keyed = self._keyed.copy()
        keyed.update(_WHOSE.pack(user_id) + f"{surface}/{mode}/".encode() + data)
        return keyed.digest()


@lru_cache(1024)
def _packed(count: int) -> Struct:
    """So many item ids, 4 bytes each."""
    return Struct(f"<{count}I")
