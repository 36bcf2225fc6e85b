"""The numbers that an answer keeps to."""

from dataclasses import dataclass
from functools import cached_property

from pipelines.serving.rules.caps import Limits

LISTED, FRESH_TITLE, DRAWN = 0, 1, 2


@dataclass(frozen=True)
class Rules:
    """What an answer keeps to; written into each snapshot, so that it is known which answer kept to which."""

    # Places of a page: what a screen shows. Caps are of a page.
    page: int = 20
    # Titles of one main genre, of one creator and of one series on a page.
    genre_limit: int = 5
    creator_limit: int = 3
    series_limit: int = 2
    # Least age in years from which a title is never shown: above that of any film made for adults to go and see.
    restricted_from: int = 19
    # How many of the nearest titles of one that was turned down go to the end of the list.
    demoted: int = 10
    # Next episodes at the head of an answer: more would leave no room for the list.
    continued: int = 5
    # Places of a page, from 0, for fresh titles: as many as there are of them, at most all.
    fresh_slots: tuple[int, ...] = (2, 6, 11, 14, 18)
    # How long a title is fresh, and the share of the fresh, best by the list's vector, that may take those places.
    fresh_hours: int = 24
    fresh_share: float = 0.05
    # Places of a page that are drawn: one of the first ten, two of the second.
    explored_slots: tuple[int, ...] = (7, 13, 17)

    @cached_property
    def caps(self) -> Limits:
        """How much of one kind a page bears."""
        return Limits(self.genre_limit, self.creator_limit, self.series_limit)

    @cached_property
    def plan(self) -> tuple[int, ...]:
        """What each place of a page is for."""
        return tuple(
            DRAWN if place in self.explored_slots else FRESH_TITLE if place in self.fresh_slots else LISTED
            for place in range(self.page)
        )
