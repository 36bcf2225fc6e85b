"""Whom and what features describe."""

from feature_defs.declarations import Between, Dtype, Entity, Field, NotNull

USER = Entity("user", ("user_id",), "A profile: a household account has several.")
ITEM = Entity("item", ("item_id",), "A title: a film, an episode, a podcast.")

USER_ID = Field("user_id", Dtype.INT64, "Profile, not household account.", (NotNull(), Between(1)))
# A packed list holds item ids as unsigned 32-bit integers.
ITEM_ID = Field("item_id", Dtype.INT64, "Title; at most 2^32 - 1.", (NotNull(), Between(1, 2**32 - 1)))
