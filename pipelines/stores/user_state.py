"""What is kept about a user beside lists, and may change at any time between two runs."""

from typing import NamedTuple

import msgspec


class UserState(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the endpoint must respect at once, whatever the night's list says.

    `is_opted_out` and `maturity_limit` are what was said here; `None`: nobody said otherwise than the account does.
    `account_opts_out` and `account_limit` are what the account said when a night last looked.
    """

    is_opted_out: bool | None = None
    maturity_limit: int | None = None
    account_opts_out: bool = False
    account_limit: int | None = None
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
    def opts_out(self) -> bool:
        """Whether the user opted out of personalisation: here, or at the account and not otherwise here."""
        return self.account_opts_out if self.is_opted_out is None else self.is_opted_out

    @property
    def limit(self) -> int | None:
        """The largest age that a title may be made for, as said here, or by the account; `None`: no limit."""
        return self.account_limit if self.maturity_limit is None else self.maturity_limit

    @property
    def has_no_list(self) -> bool:
        """Whether no list is to be read of the user."""
        return self.is_forgotten or self.opts_out


class Stated(NamedTuple):
    """A user's state and how often it was written; 0: never."""

    state: UserState
    version: int


NOBODY = Stated(UserState(), 0)
FORGOTTEN = UserState(is_forgotten=True)
