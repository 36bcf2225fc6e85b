"""What users did, and what they were shown: the log everything else is derived from."""

from datetime import timedelta

from feature_defs.declarations import Between, Dtype, Field, Near, NotNull, OneOf, Table
from feature_defs.entities import ITEM_ID, USER_ID

KINDS = ("impression", "click", "play", "skip", "not_interested", "like", "share", "follow", "report")

EVENTS = Table(
    name="events",
    description="One row an event, in the partition of the day it was received.",
    fields=(
        Field("event_id", Dtype.STRING, "Given by the sender; the same id twice is the same event.", (NotNull(),)),
        Field("request_id", Dtype.STRING, "The answer of the endpoint that the event belongs to, if any."),
        USER_ID,
        ITEM_ID,
        Field("kind", Dtype.STRING, "What happened.", (NotNull(), OneOf(KINDS))),
        Field(
            "happened_at",
            Dtype.TIMESTAMP,
            "When it happened, by the sender's clock.",
            # A device that was offline reports late; a clock that is wrong by years must not move a feature.
            (NotNull(), Near("received_at", before=timedelta(days=366), after=timedelta(days=1))),
        ),
        Field("received_at", Dtype.TIMESTAMP, "When we received it; decides the day.", (NotNull(),)),
        Field("watched_share", Dtype.FLOAT32, "Share of the title watched; plays only.", (Between(0, 1),)),
        Field("position", Dtype.INT32, "Seconds into the title at which a play ended.", (Between(0),)),
        Field("surface", Dtype.STRING, "Where in the product: home, search, detail."),
        Field("device", Dtype.STRING, "tv, phone, tablet, web."),
        Field("run_id", Dtype.STRING, "The run whose list was answered; joined from the answer, never sent."),
        Field("slot", Dtype.INT32, "Place in the answer, from 0; joined from the answer.", (Between(0),)),
        Field(
            "propensity", Dtype.FLOAT32, "Probability of being in that slot; joined from the answer.", (Between(0, 1),)
        ),
    ),
    key=("event_id",),
    day_of="received_at",
)

ANSWERS = Table(
    name="answers",
    description="What the endpoint answered: one row a slot of an answer.",
    fields=(
        Field("request_id", Dtype.STRING, "One answer.", (NotNull(),)),
        Field("slot", Dtype.INT32, "Place in the answer, from 0.", (NotNull(), Between(0))),
        USER_ID,
        ITEM_ID,
        Field("answered_at", Dtype.TIMESTAMP, "When the answer was given.", (NotNull(),)),
        Field("run_id", Dtype.STRING, "The run whose list was answered; null where no run is live."),
        Field("source", Dtype.STRING, "Which hop answered: embedded, redis, cassandra, trending.", (NotNull(),)),
        Field("score", Dtype.FLOAT32, "Score of the title in the list."),
        Field("propensity", Dtype.FLOAT32, "Probability of the title being in this slot.", (Between(0, 1),)),
    ),
    key=("request_id", "slot"),
    day_of="answered_at",
)
