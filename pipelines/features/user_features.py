"""What each user watched, as known at the end of a day."""

from datetime import date

from pyspark.sql import DataFrame

from feature_defs.features import USER_FEATURES
from pipelines.features.opted_out import without_opted_out
from pipelines.features.play_totals import play_totals
from pipelines.features.windowed_counts import windowed_counts


def user_features(interactions: DataFrame, out: DataFrame, first_day: date, last_day: date) -> DataFrame:
    """Rows of USER_FEATURES with `day`, for each day of a range.

    Args:
        interactions: rows of INTERACTIONS with `day`, all ever received.
        out: as made by `opted_out`: who has no features on which days.
        first_day: the first day described.
        last_day: the last, included.
    """
    totals = play_totals(interactions, "user_id")
    return without_opted_out(windowed_counts(totals, USER_FEATURES, first_day, last_day), out)
