"""What was known at a moment: the join of labels with feature rows that is correct in time on both clocks.

A feature row says something of one moment (its event time) and could be known from another on (its creation). A label
may be joined only with rows that have both behind them; among these the newest is taken. A plain ASOF join sees one
clock alone: it takes a row about yesterday that was created tomorrow, and the model learns from the future.
"""

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from feature_defs.declarations import FeatureView
from pipelines.features.utc_days import is_younger


def known_at(labels: DataFrame, view: FeatureView, rows: DataFrame, label_time: str, prefix: str) -> DataFrame:
    """Each label row, once, with the features of its entity as they were known at its time.

    The row joined is, of those with

    - `view.timestamp_field` <= label time,
    - `view.timestamp_field` > label time - `view.ttl` (a row of exactly the age of the ttl is too old), and
    - `view.created_timestamp_column` <= label time,

    the newest by `timestamp_field`; among equals the one created last; among equals of both the largest by its values
    in declared order, so that the result never depends on the order of rows. Where there is none the features are null.

    Both kinds of row are laid on one line of time, a feature row at the moment from which both its clocks are past,
    and a running maximum is carried along: one sort, linear in labels plus rows, where an equi-join with a range
    condition would first make a pair of each label and each row of its entity younger than the ttl (28 times the
    labels, for a row a day). The ttl is tested last: if the newest row is too old, all others are older.

    Args:
        labels: any rows that hold the view's join keys and the label time.
        view: what is declared of the features.
        rows: rows of the view; other columns are ignored.
        label_time: name of the column that holds the label time (timestamp).
        prefix: put before the name of each feature in the result.

    Returns:
        The columns of `labels`, then the features.
    """
    event_time, created = view.timestamp_field, view.created_timestamp_column
    keys = view.join_keys
    known = F.struct(event_time, created, *view.features)
    nothing = F.lit(None)
    line = labels.select(
        *keys,
        F.col(label_time).alias("__at"),
        F.lit(1).alias("__is_label"),
        F.struct(*labels.columns).alias("__label"),
        nothing.cast(rows.select(known).schema[0].dataType).alias("__known"),
    ).unionByName(
        rows.select(
            *keys,
            F.greatest(event_time, created).alias("__at"),
            F.lit(0).alias("__is_label"),
            nothing.cast(labels.select(F.struct(*labels.columns)).schema[0].dataType).alias("__label"),
            known.alias("__known"),
        )
    )
    # A row that comes to be known at the very moment of a label is known: rows sort before labels.
    until_now = (
        Window.partitionBy(*keys)
        .orderBy("__at", "__is_label")
        .rowsBetween(Window.unboundedPreceding, Window.currentRow)
    )
    newest = F.col("__newest")
    is_valid = is_younger(newest[event_time], view.ttl, F.col("__at"))
    return (
        line.withColumn("__newest", F.max("__known").over(until_now))
        .where("__is_label = 1")
        .select("__label.*", *(F.when(is_valid, newest[name]).alias(f"{prefix}{name}") for name in view.features))
    )
