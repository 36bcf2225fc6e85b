"""What each user watched up to a day, in order of time: read from the interactions of the lake, part by part."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_defs.features import TREND_DAYS
from feature_defs.interactions import INTERACTIONS, ITEM_PLAYS
from feature_defs.users import USERS
from pipelines.lake import Lake
from pipelines.sorted_ids import positions_among


@dataclass(frozen=True)
class Histories:
    """Titles of users, in compressed rows: those of user `u` stand at `offsets[u]:offsets[u + 1]`, oldest first.

    `user_ids`: int64 [U], ascending. `offsets`: int64 [U + 1]. `item_ids`: int64 [N]. `shares`: float32 [N], the
    largest share watched of each title.
    """

    user_ids: NDArray[np.int64]
    offsets: NDArray[np.int64]
    item_ids: NDArray[np.int64]
    shares: NDArray[np.float32]

    def owners(self) -> NDArray[np.int64]:
        """To which user each title belongs, as a position: int64 [N]."""
        return np.repeat(np.arange(len(self.user_ids)), np.diff(self.offsets))

    def positions_from_newest(self) -> NDArray[np.int64]:
        """How many titles of the same user are newer: int64 [N]."""
        return self.offsets[1:][self.owners()] - 1 - np.arange(len(self.item_ids))

    def newest(self, length: int) -> "Histories":
        """The newest titles of each user, at most `length`."""
        keep = self.positions_from_newest() < length
        return self._filtered(keep)

    def where(self, keep: NDArray[np.bool_]) -> "Histories":
        """The titles for which `keep` [N] holds; users stay, be it with nothing."""
        return self._filtered(keep)

    def of(self, user_ids: NDArray[np.int64]) -> "Histories":
        """The histories of these users, in their order; empty for those who have none."""
        at = positions_among(self.user_ids, user_ids)
        # Unknown users find the last of the counts: nothing.
        counts = np.append(np.diff(self.offsets), 0)[at]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        source = np.repeat(self.offsets[at], counts) + np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
        return Histories(user_ids, offsets, self.item_ids[source], self.shares[source])

    def _filtered(self, keep: NDArray[np.bool_]) -> "Histories":
        counts = np.bincount(self.owners()[keep], minlength=len(self.user_ids))
        return Histories(
            self.user_ids, np.concatenate([[0], np.cumsum(counts)]), self.item_ids[keep], self.shares[keep]
        )


def histories_from(rows: pa.Table) -> Histories:
    """Histories from rows `user_id, item_id, watched_share` that are sorted by user and time."""
    users = rows.column("user_id").to_numpy()
    user_ids, starts = np.unique(users, return_index=True)
    return Histories(
        user_ids.astype(np.int64),
        np.concatenate([starts, [len(users)]]).astype(np.int64),
        rows.column("item_id").to_numpy().astype(np.int64),
        rows.column("watched_share").to_numpy().astype(np.float32),
    )


def histories_in(database: duckdb.DuckDBPyConnection, condition: str, parameters: Mapping[str, object]) -> Histories:
    """What users played, each title once, where it was last played, with the largest share watched of it.

    Args:
        database: knows the relations `interactions` and `opted_out`, whose users have no history.
        condition: which rows of `interactions` are meant, in SQL.
        parameters: that the condition names.
    """
    rows = database.sql(
        f"""
        SELECT user_id, item_id, max(watched_share) AS watched_share
        FROM interactions ANTI JOIN opted_out USING (user_id)
        WHERE watched_share IS NOT NULL AND {condition}
        GROUP BY user_id, item_id
        ORDER BY user_id, max(happened_at), item_id
        """,  # noqa: S608  (conditions are written in this repository)
        params=dict(parameters),
    )
    return histories_from(rows.to_arrow_table())


def read_histories(
    lake: Lake, last_day: date, *, opted_out: NDArray[np.int64], first_day: date = date.min
) -> Histories:
    """What users played in the days of receipt up to `last_day`, each title once, in the order last played.

    Args:
        lake: where the interactions are.
        last_day: the last day of receipt, included.
        first_day: the first day of receipt.
        opted_out: users who opted out of personalisation: they have no history.
    """
    dataset = lake.dataset(INTERACTIONS)
    if dataset is None:
        return histories_from(pa.table({"user_id": [], "item_id": [], "watched_share": []}))
    with duckdb.connect() as database:
        database.register("interactions", dataset)
        database.register("opted_out", pa.table({"user_id": pa.array(opted_out, pa.int64())}))
        days = {"first_day": first_day, "last_day": last_day}
        return histories_in(database, "day BETWEEN $first_day AND $last_day", days)


def read_opted_out(lake: Lake, day: date) -> NDArray[np.int64]:
    """The users who, as known on a day, opted out of personalisation: int64, ascending."""
    users = lake.read(USERS, day, day, columns=["user_id"], where=pc.field("is_opted_out"))
    return np.sort(users.column("user_id").to_numpy())


@dataclass(frozen=True)
class Popularity:
    """How often titles were played, ever and lately: `item_ids` int64 [I] ascending, counts int64 [I]."""

    item_ids: NDArray[np.int64]
    play_counts: NDArray[np.int64]
    recent_counts: NDArray[np.int64]

    def most_popular(self) -> NDArray[np.int64]:
        """Titles by plays, most first; ties by id."""
        return self.item_ids[np.lexsort((self.item_ids, -self.play_counts))]

    def trending(self) -> NDArray[np.int64]:
        """Titles by plays of the last 7 days, most first; ties by plays ever, then by id."""
        return self.item_ids[np.lexsort((self.item_ids, -self.play_counts, -self.recent_counts))]


def read_popularity(lake: Lake, last_day: date) -> Popularity:
    """Plays of each title received up to `last_day`, whoever played; recent ones by when they happened."""
    dataset = lake.dataset(ITEM_PLAYS)
    empty = np.zeros(0, np.int64)
    if dataset is None:
        return Popularity(empty, empty, empty)
    with duckdb.connect() as database:
        database.register("item_plays", dataset)
        rows = database.sql(
            """
            SELECT item_id, sum(play_count)::BIGINT AS plays,
                   coalesce(sum(play_count) FILTER (happened_on > $before), 0)::BIGINT AS recent
            FROM item_plays WHERE day <= $day GROUP BY item_id ORDER BY item_id
            """,
            params={"day": last_day, "before": last_day - timedelta(days=TREND_DAYS)},
        ).fetchnumpy()
    return Popularity(rows["item_id"].astype(np.int64), rows["plays"].astype(np.int64), rows["recent"].astype(np.int64))
