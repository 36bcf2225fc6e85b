"""What the endpoint is told: the forms of events, of answers at sign-up and of preferences."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pipelines.lists.codec import LARGEST_ITEM_ID
from pipelines.serving.problems import Refused
from pipelines.serving.questions import LARGEST_LIMIT, WORD_PATTERN
from pipelines.stores.interface import LARGEST_USER_ID

MOST_EVENTS = 500

Word = Annotated[str, Meta(pattern=WORD_PATTERN)]
Kind = Literal["impression", "click", "play", "skip", "not_interested", "like", "share", "follow", "report"]
AgeBand = Literal["under_18", "18_24", "25_34", "35_44", "45_54", "55_up"]


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that happened to a title. Run, slot and propensity are looked up by `request_id`, and never sent."""

    event_id: Annotated[
        str, Meta(pattern="^[!-~]{1,128}$", description="Given by the sender; the same id twice is the same event.")
    ]
    user_id: Annotated[int, Meta(ge=1, le=LARGEST_USER_ID)]
    item_id: Annotated[int, Meta(ge=1, le=LARGEST_ITEM_ID)]
    kind: Kind
    happened_at: Annotated[datetime, Meta(tz=True, description="By the sender's clock, with a time zone.")]
    request_id: Annotated[str, Meta(pattern="^[0-9a-f]{32}$", description="The answer that it belongs to.")] | None = (
        None
    )
    watched_share: Annotated[float, Meta(ge=0, le=1, description="Of the title; of plays only.")] | None = None
    position: Annotated[int, Meta(ge=0, le=2**31 - 1, description="Seconds into the title; of plays only.")] | None = (
        None
    )
    surface: Word | None = None
    device: Word | None = None


class Taken(msgspec.Struct, frozen=True):
    """What became of a batch: `accepted` events are on disk, the same event twice in it counts once (`repeated`)."""

    accepted: int
    repeated: int
    refused: list[Refused]


class Onboarding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a user answered at sign-up."""

    genres: Annotated[list[Annotated[str, Meta(min_length=1, max_length=64)]], Meta(min_length=1, max_length=20)]
    age_band: AgeBand | None = None
    city: Annotated[str, Meta(min_length=1, max_length=100)] | None = None


class Preferences(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a user decided. Opting out lets go of all else that is kept beside lists; no limit means the account's."""

    is_opted_out: bool
    maturity_limit: (
        Annotated[int, Meta(ge=0, le=LARGEST_LIMIT, description="Least age of titles not shown.")] | None
    ) = None
