"""What a lookup reads from one server, without waiting in the event loop."""

from typing import NamedTuple, Protocol

from pipelines.stores.interface import Live
from pipelines.stores.user_state import Stated


class OfUser(NamedTuple):
    """What one attempt has for a user, and what is kept about them; `stated` is `None` where that is not known."""

    user_list: bytes | None
    stated: Stated | None


class Reads(Protocol):
    """Reads of one store; each raises `UnavailableError` when it fails, and may be cancelled at any time."""

    name: str

    async def live(self, surface: str) -> Live | None:
        """Where the pointer of a surface points."""

    async def trending(self, live: Live) -> bytes | None:
        """The trending list of the attempt that a pointer points to."""

    async def of_user(self, attempt: int, user_id: int) -> OfUser:
        """A user's list in an attempt and their state, in one turn.

        The state alone of a user who was forgotten or has opted out of personalisation.
        """

    async def state(self, user_id: int) -> Stated | None:
        """What is kept about a user; `None` where that is not known. No list is read."""

    async def close(self) -> None:
        """Let go of connections."""


class Copies(Reads, Protocol):
    """A hot copy: what it lacks can be put into it. It keeps nothing that is older than what it has."""

    async def keep_live(self, surface: str, live: Live, trending: bytes) -> None:
        """Copy a pointer and the trending list it goes with; a pointer never moves back to a smaller `move`."""

    async def keep_user(self, attempt: int, user_id: int, found: OfUser) -> None:
        """Copy what a user has, until it expires; nothing of a user who was forgotten meanwhile."""

    async def keep_state(self, user_id: int, stated: Stated) -> None:
        """Copy what is kept about a user, until it expires, unless what is there is newer."""
