"""What the endpoint asks of the stores, without waiting in the event loop."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from pipelines.stores.hop_times import HopTimes
from pipelines.stores.interface import HOME, Live
from pipelines.stores.user_state import UserState

Change = Callable[[UserState], UserState]


class Found(NamedTuple):
    """A user's list (`None`: there is none), the trending list of the same attempt, the user's state, and who said so.

    `store` is `embedded`, `redis` or `cassandra`: where the list was read, or looked for in vain; `memory` where no
    store answered in time, and only what trends can be given. `is_state_known` is false where nobody could say what the
    user decided: then `state` is that of nobody in particular.
    """

    live: Live
    user_list: bytes | None
    trending: bytes
    state: UserState
    store: str
    is_state_known: bool = True


class Lookup(Protocol):
    """Reads of the live run, each within its deadline; opened in the event loop that uses it."""

    async def find(self, user_id: int, surface: str = HOME, at: Live | None = None) -> Found | None:
        """What the live run has for a user; `None` before the first run went live.

        Of a user who was forgotten or has opted out of personalisation no list is read.

        Args:
            user_id: whose list.
            surface: whose pointer.
            at: another run and attempt than the live one: `None` is answered when it is no longer kept.

        Raises:
            UnavailableError: if no store answered in time.
        """

    async def live(self, surface: str = HOME) -> Live | None:
        """Where the pointer of a surface points, as far as is known; cheap. Raises as `find`."""

    async def state(self, user_id: int) -> UserState:
        """What is kept about a user; no list is read. Raises as `find`."""

    async def change_state(self, user_id: int, change: Change) -> UserState:
        """Change what is kept about a user, by compare-and-set, and in a hot copy too; returns what is kept now.

        Whoever asks after it returned finds the new state.

        Raises:
            UnavailableError: if it could not be written in time; it may be written or not, and can be said again.
            RefusedError: if the user was forgotten.
        """

    def hops(self) -> Mapping[str, HopTimes]:
        """How long each store took, by its name."""

    async def close(self) -> None:
        """Let go of connections."""
