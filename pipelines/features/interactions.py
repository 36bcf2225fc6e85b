"""Events in, interactions out: one row a user, title and occasion, per day of receipt; each event counted once."""

from datetime import date

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from feature_defs.events import KINDS
from feature_defs.interactions import INTERACTIONS
from pipelines.features.utc_days import day_of

_FROM_ANSWER = ("run_id", "slot", "propensity")


def first_received(events: DataFrame) -> DataFrame:
    """Events without their duplicates: of several with one id the first received stays.

    Within one day of receipt there is nothing to do: the lake takes no day of events that holds an id twice.

    Args:
        events: rows of EVENTS with `day`.

    Returns:
        A part of these rows. Of two received at the same moment the one that comes first by its content stays, so
        that the order of rows in a file decides nothing.
    """
    content = [F.col(name).asc_nulls_first() for name in sorted(set(events.columns) - {"event_id", "received_at"})]
    by_receipt = Window.partitionBy("event_id").orderBy("received_at", *content)
    return events.withColumn("__receipt", F.row_number().over(by_receipt)).where("__receipt = 1").drop("__receipt")


def not_received_before(events: DataFrame, earlier: DataFrame) -> DataFrame:
    """Events without those that were received on an earlier day already (`earlier_receipts`)."""
    return events.join(earlier, "event_id", "left_anti")


def earlier_receipts(events: DataFrame, happened_days: list[date]) -> DataFrame:
    """`event_id` of those events that a later duplicate may repeat, given the days on which later events happened.

    What is sent twice happened once: a duplicate carries the same `happened_at`, so only events that happened on one
    of those days are kept to be compared. (`events` need only hold receipts from a day before the first of those
    days on: a sender's clock is at most a day ahead.)
    """
    return events.where(day_of(F.col("happened_at")).isin(happened_days)).select("event_id")


def interactions(events: DataFrame) -> DataFrame:
    """Rows of INTERACTIONS with `day`, from rows of EVENTS with `day` that hold no event twice.

    An occasion is the answer of the endpoint that showed the title or, where there was none, the event itself. Events
    of one occasion that are received on different days make a row in each of these days: a day that is past never
    changes. Where events of a row disagree, the one that happened first (then: the smaller id) is believed.
    """
    order = F.struct("happened_at", "event_id")

    def first(value: Column, where: Column) -> Column:
        return F.min_by(value, F.when(where, order))

    answer = F.struct(*_FROM_ANSWER)
    is_answered = F.coalesce(*(F.col(name).cast("string") for name in _FROM_ANSWER)).isNotNull()
    return (
        events.withColumn("occasion_id", F.coalesce("request_id", "event_id"))
        # Most rows are of one event: grouping before the shuffle would sort them all and bring nothing together.
        .repartition("user_id", "item_id")
        .groupBy("day", "user_id", "item_id", "occasion_id")
        .agg(
            F.min("happened_at").alias("happened_at"),
            F.max("received_at").alias("received_at"),
            F.count(F.lit(1)).cast("int").alias("event_count"),
            F.max(F.when(F.col("kind") == "play", F.col("watched_share"))).alias("watched_share"),
            *(F.max(F.col("kind") == kind).alias(f"is_{kind}") for kind in KINDS),
            first(F.col("surface"), F.col("surface").isNotNull()).alias("surface"),
            first(F.col("device"), F.col("device").isNotNull()).alias("device"),
            # Taken from one event together: a run of one answer with the slot of another would be nobody's.
            first(answer, is_answered).alias("__answer"),
        )
        .select("*", *(F.col(f"__answer.{name}").alias(name) for name in _FROM_ANSWER))
        .select(*INTERACTIONS.names, "day")
    )
