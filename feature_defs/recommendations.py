"""What is precomputed for a user, and published."""

from feature_defs.declarations import Array, Between, Dtype, Field, NotNull, Table
from feature_defs.entities import ITEM_ID, USER_ID

# Why a title may be in a list; the position is the code in the packed list.
SOURCES = (
    "most_popular",
    "trending",
    "als",
    "towers",
    "item_item",
    "content",
    "next_episode",
    "new_title",
    "cohort",
)
# The reason is an index into the history that the list carries; this one says that there is none.
NO_REASON = 255
HISTORY_LENGTH = 40
LIST_LENGTH = 200
VECTOR_WIDTH = 96

RECOMMENDATIONS = Table(
    name="recommendations",
    description=(
        "One row a user: the list in order of rank, as columns of equal length, with the history its reasons point "
        "into and the user's vector."
    ),
    fields=(
        Field("run_id", Dtype.STRING, "The run that made the list.", (NotNull(),)),
        Field("shard", Dtype.STRING, "Which part of the users, as i/n.", (NotNull(),)),
        USER_ID,
        Field("item_ids", Array(Dtype.INT64), "Titles, best first.", (NotNull(), *ITEM_ID.rules[1:])),
        # Scores are stored as 16-bit floats: 65504 is the largest.
        Field("scores", Array(Dtype.FLOAT32), "Score of each title.", (NotNull(), Between(-65504, 65504))),
        Field(
            "sources",
            Array(Dtype.INT16),
            "Code of the source of each title.",
            (NotNull(), Between(0, len(SOURCES) - 1)),
        ),
        Field(
            "reasons", Array(Dtype.INT16), "Index into `history` of the title that explains it, or 255.", (NotNull(),)
        ),
        Field("history", Array(Dtype.INT64), "Titles lately watched, newest first.", (NotNull(), *ITEM_ID.rules[1:])),
        Field("vector", Array(Dtype.FLOAT32), "The user's vector.", (NotNull(), Between(-65504, 65504))),
    ),
    key=("run_id", "user_id"),
)

RECOMMENDATION_SLOTS = Table(
    name="recommendation_slots",
    description="The same lists, one row a place: how they are validated before they go out.",
    fields=(
        USER_ID,
        Field("slot", Dtype.INT32, "Place in the list, from 0.", (NotNull(), Between(0, LIST_LENGTH - 1))),
        ITEM_ID,
        Field("score", Dtype.FLOAT32, "Score of the title.", (NotNull(), Between(-65504, 65504))),
        Field("source", Dtype.INT16, "Code of its source.", (NotNull(), Between(0, len(SOURCES) - 1))),
        Field("reason", Dtype.INT16, "Index into the history, or 255.", (NotNull(), Between(0, NO_REASON))),
    ),
    key=("user_id", "item_id"),
)
