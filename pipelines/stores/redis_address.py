"""Where does a redis:// address lead?"""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from pipelines.errors import UsageError

_PORT = 6379


@dataclass(frozen=True)
class RedisAddress:
    """A database of a server; its text can be shown."""

    host: str
    port: int
    database: int
    user: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"redis://{self.user}{'@' if self.user else ''}{host}:{self.port}/{self.database}"


def parse_redis_address(address: str) -> RedisAddress:
    """Take `redis://[USER@]HOST[:PORT]/DATABASE` apart.

    Raises:
        UsageError: if it is of another form, or holds a password.
    """
    try:
        parts = urlsplit(address)
        host, port, password = parts.hostname, parts.port, parts.password
    except ValueError:
        host = port = password = None
        parts = urlsplit("")
    if password is not None:
        raise UsageError("a redis:// address holds no password: that is the setting MARQUEE_REDIS_PASSWORD")
    database = re.fullmatch(r"/([0-9]{1,4})", parts.path)
    if parts.scheme != "redis" or not host or not database or parts.query or parts.fragment:
        raise UsageError(f"{address!r} is no address of a Redis database: one is like redis://HOST:{_PORT}/0")
    return RedisAddress(host, port or _PORT, int(database[1]), parts.username or "")
