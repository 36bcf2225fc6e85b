"""What can be watched or heard."""

from feature_defs.declarations import Array, Between, Dtype, Field, NotNull, OneOf, Severity, Table
from feature_defs.entities import ITEM_ID

ITEMS = Table(
    name="items",
    description="The catalogue as known on a day: one row a title.",
    fields=(
        ITEM_ID,
        Field("title", Dtype.STRING, "As shown to people.", (NotNull(),)),
        Field("synopsis", Dtype.STRING, "A paragraph about the title."),
        Field("genres", Array(Dtype.STRING), "Genres, most fitting first."),
        Field("language", Dtype.STRING, "Original language, ISO 639-1."),
        Field("cast", Array(Dtype.STRING), "Leading people, in billing order."),
        Field("creator", Dtype.STRING, "Director, author or host."),
        Field("release_year", Dtype.INT32, "Year of first release.", (Between(1870, 2100, Severity.WARNING),)),
        Field("kind", Dtype.STRING, "Seen or heard.", (NotNull(), OneOf(("video", "audio")))),
        Field("duration_seconds", Dtype.INT32, "Running time.", (Between(1),)),
        Field("series_id", Dtype.INT64, "The series an episode belongs to."),
        Field("season", Dtype.INT32, "Season of an episode.", (Between(0),)),
        Field("episode", Dtype.INT32, "Number of an episode in its season.", (Between(0),)),
        Field("maturity", Dtype.INT32, "Least age in years for which the title is fit.", (Between(0, 21),)),
        Field("published_at", Dtype.TIMESTAMP, "From when the title may be shown.", (NotNull(),)),
        Field("withdrawn_at", Dtype.TIMESTAMP, "From when it may no longer be shown."),
        Field("licence_from", Dtype.TIMESTAMP, "Start of the licence window."),
        Field("licence_until", Dtype.TIMESTAMP, "End of the licence window."),
        Field("territories", Array(Dtype.STRING), "Countries where it may be shown, ISO 3166-1; null: everywhere."),
        Field(
            "moderation_state",
            Dtype.STRING,
            "Only approved titles are recommended.",
            (NotNull(), OneOf(("approved", "pending", "rejected"))),
        ),
        Field("origin_country", Dtype.STRING, "Country of origin, ISO 3166-1."),
    ),
    key=("item_id",),
)

ITEM_TEXT_VECTORS = Table(
    name="item_text_vectors",
    description="What a sentence encoder makes of a title's text: one row a title and encoder.",
    fields=(
        ITEM_ID,
        Field("encoder", Dtype.STRING, "Name of the sentence encoder.", (NotNull(),)),
        Field("text_digest", Dtype.STRING, "Digest of the text that was embedded.", (NotNull(),)),
        Field("vector", Array(Dtype.FLOAT32), "Embedding of unit length.", (NotNull(), Between(-1, 1))),
    ),
    key=("item_id", "encoder"),
)
