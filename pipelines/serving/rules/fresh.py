"""Titles published within a day: the few that a list's vector likes best are given places of their own.

Lists are made at night and know nothing of them. But a list carries its user's vector, and the snapshot the vector that
the same towers make of a new title from its content: their inner product says how well they go together.
"""

import math
from bisect import bisect_right
from collections.abc import Container, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

_EVER = datetime.min.replace(tzinfo=UTC)


class Fresh:
    """F titles that are fresh or will soon be, and their vectors."""

    def __init__(
        self,
        item_ids: Sequence[int],
        vectors: NDArray[np.float32],
        published_at: Sequence[datetime],
        hours: int,
        share: float,
    ) -> None:
        """Takes them in.

        Args:
            item_ids: F ids.
            vectors: float32 [F, W].
            published_at: F moments, with a time zone.
            hours: how long a title is fresh.
            share: of the titles that are fresh at a moment, how many may be shown to one user; at least one may.
        """
        self._item_ids, self._vectors, self._published_at = item_ids, vectors, published_at
        self._age, self._share = timedelta(hours=hours), share
        self._changes = sorted({*published_at, *(moment + self._age for moment in published_at)})
        # What is fresh, right from one moment until another and for one set of titles that may be shown.
        self._ids: list[int] = []
        self._now_vectors = vectors[:0]
        self._of: Container[int] | None = None
        self._since = self._until = _EVER

    def __len__(self) -> int:
        return len(self._item_ids)

    def best(self, vector: NDArray[np.floating], showable: Container[int], now: datetime) -> list[tuple[int, float]]:
        """The fresh titles that go best with a user, best first, each with its score.

        None where the list has no vector, or one of another width.

        Args:
            vector: of the list, [W].
            showable: the titles that may be shown; the same object as long as they are the same.
            now: the moment.
        """
        if not self._item_ids or len(vector) != self._vectors.shape[1]:
            return []
        ids, vectors = self.now(showable, now)
        if not ids:
            return []
        scores = vectors.dot(vector.astype(np.float32))
        rows = scores.argsort()[: -self.most(len(ids)) - 1 : -1]
        return [(ids[row], score) for row, score in zip(rows.tolist(), scores[rows].tolist(), strict=True)]

    def now(self, showable: Container[int], now: datetime) -> tuple[list[int], NDArray[np.float32]]:
        """The titles that are fresh at a moment, and their vectors; the same list as long as they are the same."""
        if showable is not self._of or not self._since <= now < self._until:
            self._look(showable, now)
        return self._ids, self._now_vectors

    def most(self, count: int) -> int:
        """How many of so many fresh titles one user may be shown."""
        return math.ceil(self._share * count)

    def _look(self, showable: Container[int], now: datetime) -> None:
        at = bisect_right(self._changes, now)
        self._since = self._changes[at - 1] if at else _EVER
        self._until = self._changes[at] if at < len(self._changes) else datetime.max.replace(tzinfo=UTC)
        rows = [
            row
            for row, (item, published) in enumerate(zip(self._item_ids, self._published_at, strict=True))
            if published <= now < published + self._age and item in showable
        ]
        self._ids, self._now_vectors, self._of = [self._item_ids[row] for row in rows], self._vectors[rows], showable
