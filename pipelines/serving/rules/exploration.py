"""Some places are drawn, so that something is learned of titles that nobody would be shown otherwise.

Each explorable title has a weight: the probability that it is the best of all, as far as outcomes tell (Thompson
sampling; Chapelle and Li, "An Empirical Evaluation of Thompson Sampling", 2011), estimated when the snapshot is made.
A draw is by these weights among the titles that this user may be shown at this place of this answer. What is logged is
the probability of that draw given what was placed before: weight / (sum of the weights of all that could be drawn).

That sum is not added up for each draw. It is the whole of the audience less what is out: titles set aside (a few of
them are explorable) and those of full genres, creators and series (whose sums are known or short). The draw itself is
by acceptance and rejection over the audience's running sum, which conditions on what is left without listing it.
"""

import hashlib
import struct
from bisect import bisect_right
from collections.abc import Mapping, Sequence, Set
from itertools import accumulate

from pipelines.serving.rules.audience import withheld
from pipelines.serving.title import Entry

_EIGHT = struct.Struct("<8Q")
# Below this share the sum is added up title by title: a difference of floats would not be exact enough.
_LITTLE = 1e-4
_TRIES = 24
# Audiences kept: countries times maturity limits.
_AUDIENCES = 512


class Chance:
    """Numbers from 0 to 1, determined by a seed and the number of a page: eight from each hash."""

    __slots__ = ("_key", "_left", "_round")

    def __init__(self, seed: int, page: int) -> None:
        self._key = b"%d/%d" % (seed, page)
        self._left: list[int] = []
        self._round = 0

    def next(self) -> float:
        """At least 0, below 1."""
        if not self._left:
            self._left = [*_EIGHT.unpack(self.hash(self._round))]
            self._round += 1
        return (self._left.pop() >> 11) * 2.0**-53

    def hash(self, number: int) -> bytes:
        """What eight numbers are made of, the last first: 64 bits for each."""
        return hashlib.blake2b(b"%d/" % number + self._key).digest()


class Audience:
    """The explorable titles that users of one country and one maturity limit may be shown.

    `weights` by title; `ids`: the titles; `order` and `sums`: the same in an order, with the running sum of weights;
    `masses`: the sum of each main genre; `by_code`: the titles of each creator and each series.
    """

    __slots__ = ("by_code", "ids", "masses", "order", "sums", "total", "weights")

    def __init__(self, weights: Mapping[int, float], entries: Mapping[int, Entry]) -> None:
        """Takes the titles in, each with its weight; `entries` says of which genre, creator and series they are."""
        self.weights = weights
        self.ids = frozenset(weights)
        self.order = list(weights)
        self.sums = list(accumulate(weights.values()))
        self.total = self.sums[-1] if self.sums else 0.0
        self.masses: dict[int, float] = {}
        self.by_code: dict[int, list[int]] = {}
        for item, weight in weights.items():
            _, _, genre, creator, series = entries[item]
            self.masses[genre] = self.masses.get(genre, 0.0) + weight
            for code in (creator, series):
                self.by_code.setdefault(code, []).append(item)


# A title, the probability with which it was drawn, and its codes.
Drawn = tuple[int, float, int, int, int]


class Draws:
    """The draws of one answer."""

    __slots__ = ("_audience", "_chance", "_entries")

    def __init__(self, audience: Audience, entries: Mapping[int, Entry], chance: Chance) -> None:
        """Ready to draw from an audience; `entries` says of which genre, creator and series its titles are."""
        self._audience, self._entries, self._chance = audience, entries, chance

    def draw(self, aside: Set[int], full: Set[int]) -> Drawn | None:
        """A title and the probability with which it was drawn; `None` where none can be.

        Args:
            aside: titles that may not be drawn.
            full: codes of genres, creators and series of which no title may be drawn.
        """
        audience, entries = self._audience, self._entries
        weights, by_code, masses = audience.weights, audience.by_code, audience.masses
        # What can be drawn: the whole less what is out.
        left = audience.total
        out = audience.ids.intersection(aside)
        if full:
            for code in full:
                if code in masses:
                    left -= masses[code]
                elif code in by_code:
                    out = out.union(by_code[code])
            left -= sum([weights[item] for item in out if entries[item][2] not in full])
        else:
            left -= sum(map(weights.__getitem__, out))
        if left <= _LITTLE * audience.total:
            return self._drawn_from_list(aside, full)
        order, sums, total, chance = audience.order, audience.sums, audience.total, self._chance
        for _ in range(_TRIES):
            at = bisect_right(sums, chance.next() * total)
            item = order[at if at < len(order) else -1]
            _, _, genre, creator, series = entries[item]
            if not (item in out or genre in full or creator in full or series in full):
                return item, min(weights[item] / left, 1.0), genre, creator, series
        return self._drawn_from_list(aside, full)

    def _drawn_from_list(self, aside: Set[int], full: Set[int]) -> Drawn | None:
        """The same draw, where almost nothing is left to draw from: what is left is listed."""
        weights, entries = self._audience.weights, self._entries
        ids = [item for item in weights if item not in aside and full.isdisjoint(entries[item][2:])]
        if not ids:
            return None
        sums = list(accumulate(weights[item] for item in ids))
        item = ids[min(bisect_right(sums, self._chance.next() * sums[-1]), len(ids) - 1)]
        _, _, genre, creator, series = entries[item]
        return item, weights[item] / sums[-1], genre, creator, series


class Explorable:
    """New and long-tail titles, with the probability of each to be the best of them."""

    def __init__(self, item_ids: Sequence[int], weights: Sequence[float]) -> None:
        """Takes them in; no weight is 0 or less."""
        self.weights: Mapping[int, float] = dict(zip(item_ids, weights, strict=True))
        self._audiences: dict[tuple[str | None, int], Audience] = {}
        self._of: Mapping[int, Entry] | None = None

    def __len__(self) -> int:
        return len(self.weights)

    def audience(self, entries: Mapping[int, Entry], country: str | None, limit: int) -> Audience:
        """Those of them that users of a country and a maturity limit may be shown.

        Args:
            entries: what may be shown at all; the same object as long as it is the same.
            country: ISO 3166-1; `None`: not known.
            limit: the largest age that a title may be made for.
        """
        if entries is not self._of or len(self._audiences) >= _AUDIENCES:
            self._audiences, self._of = {}, entries
        found = self._audiences.get((country, limit))
        if found is None:
            fit = {
                item: weight
                for item, weight in self.weights.items()
                if (entry := entries.get(item)) is not None and not withheld(entry[0], entry[1], country, limit)
            }
            found = self._audiences[country, limit] = Audience(fit, entries)
        return found
