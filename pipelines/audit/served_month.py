"""Who is audited in a month: the users who were shown something, with what they were in fact shown.

What was shown are the impressions that were heard, and what the endpoint answered of which none was heard. A user's
month is one list: the titles shown, by how visibly and how often, each time counting 1 / log2(place + 1).
"""

from dataclasses import dataclass, replace
from datetime import date, timedelta

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import NDArray

from feature_defs.audit_policy import AuditPolicy
from feature_defs.events import ANSWERS, EVENTS
from feature_defs.interactions import COMPLETE_SHARE
from feature_defs.users import USERS
from pipelines.arrow_schemas import arrow_schema
from pipelines.audit.offline import read_groups, read_origins
from pipelines.audit.subjects import Served, Subjects, titles_of
from pipelines.catalogue import read_catalogue
from pipelines.errors import DataError
from pipelines.evaluation.comparison import new_to_each
from pipelines.histories import read_histories, read_opted_out, read_popularity
from pipelines.lake import Lake
from pipelines.warehouse.interface import Warehouse

# Titles of a user's month that count: as many as a list has.
_WIDTH = 200
_WEEK = timedelta(days=7)
# Where an answer came from, if it was the user's own list, and if it was no page of recommendations at all.
_OWN_LIST = ("embedded", "redis", "cassandra")
_NO_LIST = ("chronological", "similar")

# Every place of every page, each once.
_SHOWN = """
    CREATE TEMP TABLE shown AS
    WITH heard AS (
        SELECT request_id, user_id, item_id, slot, propensity, run_id, happened_at AS shown_at
        FROM events WHERE kind = 'impression' AND slot IS NOT NULL
    ), answered AS (
        SELECT request_id, user_id, item_id, slot, propensity, run_id, answered_at AS shown_at, source
        FROM answers
        WHERE source NOT IN (SELECT unnest($no_list))
    )
    SELECT * FROM heard
    UNION ALL
    SELECT * EXCLUDE source FROM answered ANTI JOIN heard USING (request_id, item_id)
"""
# A title of a user's month. Where it was watched, the propensity is that of the place it was watched from.
_MONTHS = """
    WITH watched AS (
        SELECT user_id, item_id, max(watched_share) >= $complete AS is_watched, arg_max(propensity, watched_share) AS p
        FROM events WHERE kind = 'play' AND slot IS NOT NULL GROUP BY user_id, item_id
    ), titles AS (
        SELECT user_id, item_id, sum(1 / log2(slot + 2)) AS weight, avg(propensity) AS propensity,
               coalesce(bool_or(propensity < 1), false) AS is_explored
        FROM shown SEMI JOIN users USING (user_id) GROUP BY user_id, item_id
    ), ranked AS (
        SELECT *, row_number() OVER (PARTITION BY user_id ORDER BY weight DESC, item_id) - 1 AS place FROM titles
    )
    SELECT user_id, item_id, place, is_explored, coalesce(p, propensity) AS propensity,
           coalesce(is_watched, false)::DOUBLE AS reward
    FROM ranked LEFT JOIN watched USING (user_id, item_id)
    WHERE place < $width ORDER BY user_id, place
"""
# Of what was answered: which answers were not from the user's own list; and how old the lists were.
_FALLBACKS = """
    SELECT user_id, avg((source NOT IN (SELECT unnest($own)))::DOUBLE) AS value
    FROM (SELECT DISTINCT request_id, user_id, source FROM answers WHERE source NOT IN (SELECT unnest($no_list)))
    GROUP BY user_id
"""
_AGES = """
    SELECT user_id, avg(greatest(date_diff('day', strptime(left(run_id, 8), '%Y%m%d')::DATE, shown_at::DATE), 0))
        AS value
    FROM shown WHERE run_id IS NOT NULL GROUP BY user_id
"""
_TITLES_SHOWN = "SELECT DISTINCT item_id FROM shown WHERE shown_at >= $first AND shown_at < $end ORDER BY item_id"


@dataclass(frozen=True)
class _Months:
    """What each user was shown: `user_ids` int64 [U] ascending, the others [U, k]."""

    user_ids: NDArray[np.int64]
    rankings: NDArray[np.int64]
    is_exploration: NDArray[np.bool_]
    propensities: NDArray[np.float64]
    rewards: NDArray[np.float64]


def served_subjects(lake: Lake, warehouse: Warehouse, first_day: date, last_day: date, policy: AuditPolicy) -> Subjects:
    """The subjects of some days as served; those who opted out of personalisation, and strangers, are none.

    Raises:
        DataError: if nothing was shown to anybody on these days.
    """
    before = first_day - timedelta(days=1)
    opted_out = read_opted_out(lake, last_day)
    with duckdb.connect() as database:
        # Midnight is that of UTC.
        database.execute("SET TimeZone = 'UTC'")
        _take_up(database, lake, warehouse, first_day, last_day)
        database.execute(_SHOWN, {"no_list": list(_NO_LIST)})
        months = _months(database)
        if not len(months.user_ids):
            raise DataError(
                f"nothing was shown to anybody from {first_day} to {last_day}: neither impressions nor answers are "
                "known of these days, so there is nothing to audit"
            )
        served = Served(
            fallback_shares=_by_user(
                database, _FALLBACKS, months.user_ids, own=list(_OWN_LIST), no_list=list(_NO_LIST)
            ),
            list_ages=_by_user(database, _AGES, months.user_ids),
            is_exploration=months.is_exploration,
            propensities=months.propensities,
            rewards=months.rewards,
            weeks=_weeks(database, first_day, last_day),
        )
    histories = read_histories(lake, before, opted_out=opted_out)
    watched = read_histories(lake, last_day, first_day=first_day, opted_out=opted_out)
    catalogue = read_catalogue(lake, last_day)
    known = histories.of(months.user_ids)
    titles = titles_of(
        catalogue,
        read_popularity(lake, before),
        read_origins(lake, last_day),
        new_title_days=policy.new_title_days + (last_day - first_day).days,
    )
    # What was shown might be shown, be it withdrawn since.
    could_be_shown = titles.may_be_shown | np.isin(titles.item_ids, months.rankings)
    return Subjects(
        user_ids=months.user_ids,
        rankings=months.rankings,
        champion_rankings=None,
        truth=new_to_each(watched, histories, COMPLETE_SHARE).of(months.user_ids),
        histories=known,
        groups=read_groups(lake, last_day, policy, known, catalogue),
        titles=replace(titles, may_be_shown=could_be_shown),
        served=served,
    )


def _take_up(
    database: duckdb.DuckDBPyConnection, lake: Lake, warehouse: Warehouse, first_day: date, last_day: date
) -> None:
    """Let the database see the users, the events and the answers of these days."""
    users = lake.read(USERS, last_day, last_day, columns=["user_id"], where=~ds.field("is_opted_out"))
    database.register("users", users)
    events = lake.dataset(EVENTS)
    days = (ds.field("day") >= pa.scalar(first_day)) & (ds.field("day") <= pa.scalar(last_day))
    database.register("events", arrow_schema(EVENTS).empty_table() if events is None else events.filter(days))
    if not warehouse.columns(ANSWERS):
        database.register("answers", arrow_schema(ANSWERS).empty_table())
        return
    answered = warehouse.read_days(ANSWERS, first_day, last_day)
    database.register("arriving", pa.RecordBatchReader.from_batches(arrow_schema(ANSWERS), answered))
    # Read once, used several times.
    database.execute("CREATE TEMP TABLE answers AS SELECT * FROM arriving SEMI JOIN users USING (user_id)")


def _months(database: duckdb.DuckDBPyConnection) -> _Months:
    rows = database.execute(_MONTHS, {"complete": COMPLETE_SHARE, "width": _WIDTH}).fetchnumpy()
    user_ids, at = np.unique(rows["user_id"].astype(np.int64), return_inverse=True)
    place = rows["place"].astype(np.int64)
    shape = (len(user_ids), _WIDTH)
    rankings, propensities = np.full(shape, -1, np.int64), np.full(shape, np.nan)
    is_exploration, rewards = np.zeros(shape, np.bool_), np.zeros(shape)
    rankings[at, place] = rows["item_id"]
    propensities[at, place] = np.ma.filled(rows["propensity"].astype(np.float64), np.nan)
    is_exploration[at, place] = rows["is_explored"]
    rewards[at, place] = rows["reward"]
    return _Months(user_ids, rankings, is_exploration, propensities, rewards)


def _by_user(
    database: duckdb.DuckDBPyConnection, query: str, user_ids: NDArray[np.int64], **values: object
) -> NDArray[np.float64]:
    """A value a user: float64 [U], NaN where there is none."""
    rows = database.execute(query, values).fetchnumpy()
    found = np.full(len(user_ids), np.nan)
    at = np.searchsorted(user_ids, rows["user_id"]).clip(max=len(user_ids) - 1)
    is_there = user_ids[at] == rows["user_id"]
    found[at[is_there]] = rows["value"][is_there]
    return found


def _weeks(database: duckdb.DuckDBPyConnection, first_day: date, last_day: date) -> tuple[NDArray[np.int64], ...]:
    """The distinct titles shown in each 7 days, counted back from the last day; days before a whole week count nowhere.

    A span of less than a week is one.
    """
    ends = [last_day + timedelta(days=1)]
    while ends[-1] - 2 * _WEEK >= first_day:
        ends.append(ends[-1] - _WEEK)
    spans = [(max(end - _WEEK, first_day), end) for end in reversed(ends)]
    return tuple(
        database.execute(_TITLES_SHOWN, {"first": first, "end": end}).fetchnumpy()["item_id"].astype(np.int64)
        for first, end in spans
    )
