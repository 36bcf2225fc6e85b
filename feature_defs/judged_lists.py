"""The lists that models were judged by, kept so that the audit looks at the very same."""

from feature_defs.declarations import Array, Dtype, Field, NotNull, OneOf, Table
from feature_defs.entities import ITEM_ID, USER_ID

JUDGED_LISTS = Table(
    name="judged_lists",
    description=(
        "One row a user with something to find and a model set: the list as it would be served, on days that the set "
        "had not learned from. Written by the evaluation, read by the audit of the same run."
    ),
    fields=(
        Field("run_id", Dtype.STRING, "The run that judged.", (NotNull(),)),
        Field("role", Dtype.STRING, "Whose list.", (NotNull(), OneOf(("challenger", "champion")))),
        Field("model_set", Dtype.STRING, "The model set that made it.", (NotNull(),)),
        USER_ID,
        Field("item_ids", Array(Dtype.INT64), "Titles, best first.", (NotNull(), *ITEM_ID.rules[1:])),
    ),
    key=("run_id", "role", "user_id"),
)
