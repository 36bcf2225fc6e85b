"""Changing what is kept about a user, whoever else does at the same moment: read, change, compare and set, again."""

from pipelines.errors import RefusedError, UnavailableError
from pipelines.stores.interface import ListStore
from pipelines.stores.lookup import Change
from pipelines.stores.user_state import Stated

# Two devices of one person, each with a burst of events: more turns than that are a bug.
_TURNS = 20


def changed(store: ListStore, user_id: int, change: Change) -> Stated:
    """What is kept about a user once it was changed; nothing is written where the change changes nothing.

    Args:
        store: the durable one.
        user_id: whose state.
        change: from the state that is there to the one that is to be; called again when somebody else was quicker.

    Raises:
        RefusedError: if the user was forgotten.
        UnavailableError: if the store does not answer, or others were quicker every time.
    """
    for _ in range(_TURNS):
        stated = store.state(user_id)
        if stated.state.is_forgotten:
            raise RefusedError("a user who was forgotten has no state and gets none")
        state = change(stated.state)
        if state == stated.state:
            return stated
        if store.put_state(user_id, state, stated.version):
            return Stated(state, stated.version + 1)
    raise UnavailableError("the state of a user changes too often to be changed")
