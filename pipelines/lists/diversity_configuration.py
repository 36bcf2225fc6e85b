"""How varied a list is."""

from dataclasses import dataclass

from feature_defs.recommendations import LIST_LENGTH


@dataclass(frozen=True)
class DiversityConfiguration:
    """How varied a list is."""

    # Titles of one main genre on a page; titles without a genre are not counted.
    genre_limit: int = 5
    # Places of a page: what a screen or a call shows.
    page: int = 20
    # What the score counts; the rest is what the resemblance to chosen titles costs.
    mmr_lambda: float = 0.7
    # Places chosen by marginal relevance: few scroll further than two pages.
    mmr_places: int = 40
    # The best candidates, from which they are chosen: the wider, the less the score of one counts against another's.
    pool: int = 60
    # How much alike two titles of the same genres are: they may still be worlds apart.
    resemblance: float = 0.45
    # Places of a list.
    length: int = LIST_LENGTH
