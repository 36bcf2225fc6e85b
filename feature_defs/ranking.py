"""What the ranker reads of a user and a title, what it predicts, and what its predictions are worth."""

from dataclasses import dataclass

# What is predicted, in the order of the columns of labels and predictions: the expected watched share, then the
# probability of each event.
HEADS = ("watch", "complete", "share", "follow", "skip", "not_interested", "report")
# What one unit of each prediction adds to the score of a title, in the order of the heads.
POLICY_WEIGHTS = (3.0, 2.0, 1.5, 0.5, -1.0, -2.0, -5.0)

# How many of a user's last completed titles the text of a title is held against.
CONTENT_LENGTH = 10
# How many episodes after a completed one are told from any other.
MOST_AHEAD = 5
# Over how many of a user's last plays tiredness of a genre is counted.
FATIGUE_LENGTHS = (5, 20)


@dataclass(frozen=True)
class DenseFeature:
    """A number that the ranker reads: finite for every pair; what is unknown is said in the description."""

    name: str
    description: str


@dataclass(frozen=True)
class Categorical:
    """A name that the ranker reads as a code: 0 is unknown, others are hashed to 1 .. `bucket_count` - 1."""

    name: str
    description: str
    bucket_count: int


USER_DENSE = (
    DenseFeature("user_play_count_7d", "log(1 + plays of the user in 7 days)."),
    DenseFeature("user_play_count_28d", "log(1 + plays of the user in 28 days)."),
    DenseFeature("user_play_count", "log(1 + plays of the user ever)."),
    DenseFeature("user_watched_share", "Mean watched share of 28 days, drawn to the mean of all users by 5 plays."),
    DenseFeature("user_complete_share", "Share of the plays of 28 days that were completed, drawn likewise."),
    DenseFeature("user_history_length", "log(1 + titles in the history)."),
    DenseFeature("user_idle_days", "log(1 + days since the last play), at most a year; a year if unknown."),
    DenseFeature("user_age_days", "log(1 + days since sign-up); 0 if unknown."),
)
ITEM_DENSE = (
    DenseFeature("item_play_count_7d", "log(1 + plays of the title in 7 days)."),
    DenseFeature("item_play_count_28d", "log(1 + plays of the title in 28 days)."),
    DenseFeature("item_play_count", "log(1 + plays of the title ever)."),
    DenseFeature("item_trend", "log of the plays of 7 days, times 4, over those of 28 days, 1 added to both."),
    DenseFeature("item_watched_share", "Mean watched share of 28 days, drawn to the mean of all titles by 5 plays."),
    DenseFeature("item_complete_share", "Share of the plays of 28 days that were completed, drawn likewise."),
    DenseFeature("item_published_days", "log(1 + days since publication)."),
    DenseFeature("item_release_years", "log(1 + years since release); 0 if unknown."),
    DenseFeature("item_maturity", "Least age for which the title is fit, over 18; 0 if unknown."),
    DenseFeature("item_is_episode", "1 if the title belongs to a series."),
    DenseFeature("item_has_text", "1 if the title has a text vector."),
)
CONTEXT_DENSE = (
    DenseFeature("hour_sine", "Sine of the hour of the day as an angle."),
    DenseFeature("hour_cosine", "Cosine of the same."),
    DenseFeature("weekday_sine", "Sine of the day of the week as an angle."),
    DenseFeature("weekday_cosine", "Cosine of the same."),
    DenseFeature("is_weekend", "1 on Saturday and Sunday."),
)
PAIR_DENSE = (
    DenseFeature("als_score", "Dot product of the ALS vectors; 0 if either is unknown."),
    DenseFeature("tower_score", "Dot product of the tower vectors; 0 if either is unknown."),
    DenseFeature("als_standing", "ALS score, in standard deviations of the user's scores of all titles."),
    DenseFeature("tower_log_share", "log of the title's share in the softmax of the towers over what may be shown."),
    DenseFeature("item_item_score", "log(1 + sum of its weights as a neighbour of what the user watched lately)."),
    DenseFeature("content_mean", "Mean similarity of text to the last 10 completed titles; 0 if there is no text."),
    DenseFeature("content_best", "Largest of those similarities; 0 if there is no text."),
    DenseFeature("is_next_episode", "1 if the title follows a completed episode and was not played itself."),
    DenseFeature(
        "episodes_ahead", "1 over how many episodes it comes after a completed one, none between played; 0 beyond 5."
    ),
    DenseFeature("is_out_of_turn", "1 if the episode before it was not played."),
    DenseFeature(
        "is_where_left_off", "1 if it follows the title of its series that was played last, and that was completed."
    ),
    DenseFeature("series_recency", "1 over 1 + titles played since the last one of its series; 0 if none was."),
    DenseFeature("series_turn", "1 over 1 + other series played since the last title of its series; 0 if none was."),
    DenseFeature("series_watched", "log(1 + titles of its series in the history)."),
    DenseFeature("series_completed_share", "Share of the titles of its series that were completed."),
    DenseFeature("genre_share_5", "Share of the last 5 plays with its main genre: tiredness."),
    DenseFeature("genre_share_20", "Share of the last 20 plays with its main genre."),
    DenseFeature("language_share", "Share of the history in its language."),
    DenseFeature("kind_share", "Share of the history of its kind."),
    DenseFeature("creator_watched", "log(1 + titles of its creator in the history)."),
    DenseFeature("genre_affinity", "Share of the completed titles with a genre of it, mean over its genres."),
    DenseFeature("onboarding_match", "Share of its genres that were picked at sign-up."),
    DenseFeature(
        "interest_lift", "log of how much more of its theme a user of these interests watches than all; 0 without text."
    ),
)
# In the order of the columns.
DENSE_FEATURES = USER_DENSE + ITEM_DENSE + CONTEXT_DENSE + PAIR_DENSE

USER_CATEGORICALS = (
    Categorical("age_band", "Age band of the user.", 256),
    Categorical("city", "City of the user.", 2048),
    Categorical("country", "Country of the user.", 512),
)
ITEM_CATEGORICALS = (
    Categorical("main_genre", "First genre of the title.", 512),
    Categorical("language", "Language of the title.", 512),
    Categorical("kind", "Seen or heard.", 256),
    Categorical("creator", "Creator of the title.", 4096),
    Categorical("item_id", "The title itself.", 8192),
)
CONTEXT_CATEGORICALS = (Categorical("device", "Device of the moment.", 256),)
CROSSED_CATEGORICALS = (
    Categorical("age_band_x_main_genre", "Age band and main genre together.", 2048),
    Categorical("country_x_language", "Country and language together.", 2048),
)
# In the order of the columns.
CATEGORICALS = USER_CATEGORICALS + ITEM_CATEGORICALS + CONTEXT_CATEGORICALS + CROSSED_CATEGORICALS
