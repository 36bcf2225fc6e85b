"""Who watches. What only the audit may read is in a table of its own."""

from feature_defs.declarations import Array, Between, Dtype, Field, NotNull, OneOf, Table
from feature_defs.entities import ITEM_ID, USER_ID

USERS = Table(
    name="users",
    description="Profiles as known on a day: one row a profile.",
    fields=(
        USER_ID,
        Field("age_band", Dtype.STRING, "Coarse: under_18, 18_24, 25_34, 35_44, 45_54, 55_up."),
        Field("city", Dtype.STRING, "City or postal area."),
        Field("country", Dtype.STRING, "ISO 3166-1."),
        Field("device", Dtype.STRING, "Most used device."),
        Field("onboarding_genres", Array(Dtype.STRING), "Genres picked at sign-up."),
        Field("signup_at", Dtype.TIMESTAMP, "When the profile was made.", (NotNull(),)),
        Field("maturity_limit", Dtype.INT32, "Titles above this age are never shown.", (Between(0, 21),)),
        Field("is_opted_out", Dtype.BOOL, "Opted out of personalisation.", (NotNull(),)),
    ),
    key=("user_id",),
)

PROTECTED_ATTRIBUTES = Table(
    name="protected_attributes",
    description="Read by the audit alone: no feature, model or list may depend on it.",
    fields=(
        USER_ID,
        Field("gender", Dtype.STRING, "As stated by the person.", (OneOf(("female", "male", "other")),)),
        Field("age", Dtype.INT32, "In years, exact or the lower end of a band.", (Between(0, 120),)),
    ),
    key=("user_id",),
)

USER_STATE = Table(
    name="user_state",
    description="What a user decided since the night: small, mutable, read with the list.",
    fields=(
        USER_ID,
        Field("is_opted_out", Dtype.BOOL, "Opted out of personalisation, as said here; null: as the account says."),
        Field("account_opts_out", Dtype.BOOL, "The same, as the account says.", (NotNull(),)),
        Field("is_suppressed", Dtype.BOOL, "Erasure was asked for.", (NotNull(),)),
        Field("maturity_limit", Dtype.INT32, "Titles above this age are never shown.", (Between(0, 21),)),
        Field("account_limit", Dtype.INT32, "The account's limit, where none was set here.", (Between(0, 21),)),
        Field("not_interested", Array(Dtype.INT64), "Titles the user turned down.", ITEM_ID.rules[1:]),
        Field("onboarding_picks", Array(Dtype.INT64), "Titles picked at sign-up.", ITEM_ID.rules[1:]),
        Field("watched_since_run", Array(Dtype.INT64), "Titles finished since the live run.", ITEM_ID.rules[1:]),
        Field("changed_at", Dtype.TIMESTAMP, "Last change.", (NotNull(),)),
    ),
    key=("user_id",),
)

PREFERENCES = Table(
    name="preferences",
    description=(
        "What users decided and answered at the endpoint, one row each time; the newest goes before what `users` says."
    ),
    fields=(
        USER_ID,
        Field("said_at", Dtype.TIMESTAMP, "When it was said.", (NotNull(),)),
        Field("is_opted_out", Dtype.BOOL, "The decision on personalisation; null in a row of answers at sign-up."),
        Field(
            "maturity_limit",
            Dtype.INT32,
            "Decided together with it; null: the account's limit stands.",
            (Between(0, 21),),
        ),
        Field("onboarding_genres", Array(Dtype.STRING), "Genres picked at sign-up; null in a row of a decision."),
        Field("age_band", Dtype.STRING, "Answered together with them."),
        Field("city", Dtype.STRING, "Answered together with them."),
    ),
    key=("user_id", "said_at"),
)
