"""What is kept about a user beside lists, and may change at any time between two runs."""

from typing import NamedTuple

import msgspec


class UserState(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the endpoint must respect at once, whatever the night's list says.

    `None` of `is_opted_out` and `maturity_limit`: nobody said otherwise than the warehouse does.
    """

    is_opted_out: bool | None = None
    maturity_limit: int | None = None
    # Item ids, in the order in which they were said or watched.
    not_interested: tuple[int, ...] = ()
    watched: tuple[int, ...] = ()
    # What was said at sign-up.
    onboarding_genres: tuple[str, ...] = ()
    age_band: str | None = None
    city: str | None = None
    # Erased: no list, no state, whatever is written later.
    is_forgotten: bool = False

    @property
    def has_no_list(self) -> bool:
        """Whether no list is to be read of the user."""
        return self.is_forgotten or bool(self.is_opted_out)


class Stated(NamedTuple):
    """A user's state and how often it was written; 0: never."""

    state: UserState
    version: int


NOBODY = Stated(UserState(), 0)
FORGOTTEN = UserState(is_forgotten=True)
