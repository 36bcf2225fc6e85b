"""The live lists, whatever happens to the store: not there yet, removed, made again."""

from collections.abc import Callable
from http import HTTPStatus

from pipelines.errors import UnavailableError
from pipelines.serving.problems import ProblemError
from pipelines.stores.embedded import EmbeddedStore
from pipelines.stores.interface import Answered

_RETRY_SECONDS = 5


class Lookup:
    """Opens the store when there is one, and again when another took its place."""

    name = "embedded"

    def __init__(self, open_store: Callable[[], EmbeddedStore]) -> None:
        self._open_store = open_store
        self._store: EmbeddedStore | None = None

    def find(self, user_id: int) -> Answered:
        """What the live run has for a user.

        Raises:
            ProblemError: 503, if no run is live or the store cannot be read.
        """
        try:
            if self._store is None:
                self._store = self._open_store()
            answered = self._store.live_list(user_id)
        except UnavailableError:
            self.close()
            raise ProblemError(
                HTTPStatus.SERVICE_UNAVAILABLE, "The lists cannot be read at the moment.", retry_after=_RETRY_SECONDS
            ) from None
        if answered is None:
            raise ProblemError(
                HTTPStatus.SERVICE_UNAVAILABLE, "No list has been published yet.", retry_after=_RETRY_SECONDS
            )
        return answered

    def look_again(self) -> None:
        """Let go of a store that is no longer the one at its place; called now and then."""
        if self._store is not None and not self._store.is_current():
            self.close()

    def close(self) -> None:
        """Let go of the store; the next request opens it again."""
        if self._store is not None:
            self._store.close()
            self._store = None
