"""Plays of any data set as the benchmarks read them: from a file of lines, whatever its ids mean.

Two columns are a user and an item, in order of time. Four are user, item, rating and Unix seconds. A folder is taken
for the one such file in it. What is known of titles or people beyond that is not read: peers know no more either.
"""

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.histories import Histories

SHARES = np.array([0, 0.1, 0.3, 0.6, 0.9, 1.0], np.float32)  # by rating, as the warehouse import has it
_NAMES = ("u.data", "sasrec_*.txt.gz", "*.txt.gz", "*.txt")


class Plays:
    """Plays sorted by user and time: user, item, share and (where known) seconds."""

    def __init__(self, user: NDArray, item: NDArray, share: NDArray, seconds: NDArray | None = None) -> None:
        self.user, self.item, self.share, self.seconds = user, item, share, seconds

    def where(self, keep: NDArray) -> "Plays":
        seconds = None if self.seconds is None else self.seconds[keep]
        return Plays(self.user[keep], self.item[keep], self.share[keep], seconds)

    def rated_alike(self) -> "Plays":
        """The same plays, each as if watched to the end."""
        return Plays(self.user, self.item, np.ones(len(self.item), np.float32), self.seconds)

    def is_last(self) -> NDArray:
        return np.append(self.user[1:] != self.user[:-1], True)

    def histories(self) -> Histories:
        ids, starts = np.unique(self.user, return_index=True)
        return Histories(ids, np.append(starts, len(self.user)), self.item, self.share)

    def table(self) -> pa.Table:
        return pa.table({"user_id": self.user, "item_id": self.item, "watched_share": self.share})


def read_plays(place: Path) -> Plays:
    """The plays of a file, or of the file in a folder; ends the program with a sentence where there is none."""
    if place.is_dir():
        found = next((path for name in _NAMES for path in sorted(place.glob(name))), None)
        if found is None:
            raise SystemExit(f"marquee: there is no {', '.join(_NAMES)} in {place}")
        place = found
    if not place.is_file():
        raise SystemExit(f"marquee: there is no file {place}: DATA names a file of plays or the folder that holds it")
    try:
        with gzip.open(place) if place.suffix == ".gz" else place.open("rb") as lines:
            rows = np.loadtxt(lines, dtype=np.int64, ndmin=2)
    except (ValueError, OSError) as error:
        raise SystemExit(f"marquee: {place} cannot be read as plays: {str(error).splitlines()[0]}") from None
    if rows.shape[1] == 2:
        return Plays(rows[:, 0], rows[:, 1], np.ones(len(rows), np.float32))
    if rows.shape[1] != 4:
        raise SystemExit(f"marquee: {place} has {rows.shape[1]} columns; plays have 2 (user, item) or 4 (rating, time)")
    rows = rows[np.lexsort((np.arange(len(rows)), rows[:, 3], rows[:, 0]))]  # file order within ties
    return Plays(rows[:, 0], rows[:, 1], SHARES[rows[:, 2].clip(0, 5)], rows[:, 3])


def read_item_lists(place: Path) -> Plays:
    """Plays from lines of a user and all of its items, as the graph-recommendation papers have them."""
    if not place.is_file():
        raise SystemExit(f"marquee: there is no file {place}")
    users, items = [], []
    for number, line in enumerate(place.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            user, *of_user = [int(word) for word in line.split()] or [-1]
        except ValueError:
            raise SystemExit(f"marquee: line {number} of {place} is not a user and its items") from None
        users += [user] * len(of_user)
        items += of_user
    order = np.argsort(np.array(users, np.int64), kind="stable")
    found = np.array(users, np.int64)[order]
    return Plays(found, np.array(items, np.int64)[order], np.ones(len(found), np.float32))


def random_split(plays: Plays, share: float, seed: int) -> tuple[Plays, Plays]:
    """Plays to learn from and plays to be found: of each user's a share at random, one at least stays to learn from."""
    generator = np.random.default_rng(seed)
    order = np.lexsort((generator.random(len(plays.item)), plays.user))
    _, starts, counts = np.unique(plays.user[order], return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(starts, counts)
    found = np.sort(order[place < np.repeat(np.minimum(np.round(counts * share), counts - 1), counts)])
    is_found = np.isin(np.arange(len(order)), found)
    return plays.where(~is_found), plays.where(is_found)


def write_item_lists(plays: Plays, place: Path) -> None:
    """Write plays as lines of a user and all of its items, the layout that `read_item_lists` reads."""
    users, starts = np.unique(plays.user, return_index=True)
    lines = [
        " ".join(map(str, [user, *items.tolist()]))
        for user, items in zip(users.tolist(), np.split(plays.item, starts[1:]), strict=True)
    ]
    place.write_text("\n".join([*lines, ""]), encoding="utf-8")
