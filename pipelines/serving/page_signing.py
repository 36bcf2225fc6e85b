"""Who may see the page, where bearer keys are set: a signed cookie, given for a key that came in a form.

The cookie holds a name and a time, not the key, and every worker can check it. It ends by itself, and at once when the
keys change, as its secret is made of them. A script cannot read it, and another site cannot make a browser send it.
"""

import hashlib
import hmac
import re

COOKIE = "marquee_page"
SECONDS = 12 * 3600
_TOKEN = re.compile(r"([0-9]{1,12})\.([0-9a-f]{1,512})\.([0-9a-f]{64})", re.ASCII)


def signed_token(secret: bytes, caller: str, now: float) -> str:
    """What the cookie holds for a caller from now (seconds since 1970)."""
    said = f"{int(now) + SECONDS}.{caller.encode().hex()}"
    return f"{said}.{_signature(secret, said)}"


def caller_in(secret: bytes, token: str, now: float) -> str | None:
    """Whom a token names; `None` if it was not signed by us, or is too old."""
    found = _TOKEN.fullmatch(token)
    if not found or not hmac.compare_digest(_signature(secret, token.rpartition(".")[0]), found[3]):
        return None
    return bytes.fromhex(found[2]).decode() if now < int(found[1]) else None


def _signature(secret: bytes, said: str) -> str:
    return hmac.new(secret, b"page " + said.encode(), hashlib.sha256).hexdigest()
