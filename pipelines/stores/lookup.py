"""What the endpoint asks of the stores, without waiting in the event loop."""

from typing import NamedTuple, Protocol

from pipelines.stores.interface import HOME, Live
from pipelines.stores.user_state import UserState


class Found(NamedTuple):
    """A user's list (`None`: there is none), the trending list of the same attempt, the user's state, and who said so.

    `store` is `embedded`, `redis` or `cassandra`: where the list was read, or looked for in vain; `memory` where no
    store answered in time, and only what trends can be given.
    """

    live: Live
    user_list: bytes | None
    trending: bytes
    state: UserState
    store: str


class Lookup(Protocol):
    """Reads of the live run, each within its deadline; opened in the event loop that uses it."""

    async def find(self, user_id: int, surface: str = HOME) -> Found | None:
        """What the live run has for a user; `None` before the first run went live. A forgotten user has no list.

        Raises:
            UnavailableError: if no store answered in time.
        """

    async def close(self) -> None:
        """Let go of connections."""
