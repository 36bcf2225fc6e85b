"""How each title was watched, as known at the end of a day, whoever watched it."""

from datetime import date

from pyspark.sql import DataFrame

from feature_defs.features import ITEM_FEATURES
from pipelines.features.windowed_counts import windowed_counts


def item_features(item_plays: DataFrame, first_day: date, last_day: date) -> DataFrame:
    """Rows of ITEM_FEATURES with `day`, for each day of a range.

    Args:
        item_plays: rows of ITEM_PLAYS with `day`, all ever received: plays of users who opted out are among them.
        first_day: the first day described.
        last_day: the last, included.
    """
    return windowed_counts(item_plays, ITEM_FEATURES, first_day, last_day)
