"""A packed list in, what the endpoint says out."""

import uuid
from datetime import UTC, datetime
from typing import Literal

import msgspec

from feature_defs.recommendations import NO_REASON, SOURCES
from pipelines.lists.codec import CorruptListError, UserList, unpack
from pipelines.serving.metrics import Metrics
from pipelines.spool import Answer, AnsweredItem
from pipelines.stores.lookup import Found

Source = Literal["personal", "trending", "none"]


class Reason(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a title is in the list: another title the user watched, or the source it came from."""

    kind: str
    item_id: int | None = None


class Item(msgspec.Struct, frozen=True):
    """A title in its slot, counted from 0; `propensity` is the probability with which it is there."""

    item_id: int
    score: float
    slot: int
    propensity: float
    reason: Reason


class Recommendations(msgspec.Struct, frozen=True):
    """An answer: which list of which run, from where, and its first titles."""

    request_id: str
    run_id: str
    source: Source
    store: str
    generated_at: datetime
    items: list[Item]

    def for_spool(self, user_id: int, answered_at: datetime) -> Answer:
        """The answer as it is remembered; its source is the hop that gave it."""
        return Answer(
            request_id=self.request_id,
            answered_at=answered_at,
            user_id=user_id,
            run_id=self.run_id,
            source=self.store if self.source == "personal" else self.source,
            items=[AnsweredItem(item.slot, item.item_id, item.score, item.propensity) for item in self.items],
        )


_SOURCE_REASONS = tuple(Reason(source) for source in SOURCES)
_NEWER_SOURCE = Reason("other")
# The lists are in one order; a slot is not drawn.
_PROPENSITY = 1.0


def recommendations(found: Found, k: int, metrics: Metrics) -> Recommendations:
    """The first `k` titles of the user's list; of the trending list if the user has none, or none that can be read.

    Who opted out of personalisation, or was forgotten, gets the trending list too.
    """
    source: Source = "personal"
    is_personal = found.user_list is not None and not found.state.is_opted_out and not found.state.is_forgotten
    user_list = _readable(found.user_list, metrics) if is_personal else None
    if not user_list:
        source, user_list = "trending", _readable(found.trending, metrics)
    return Recommendations(
        request_id=uuid.uuid4().hex,
        run_id=found.live.run_id,
        source=source if user_list else "none",
        store=found.store,
        generated_at=user_list.generated_at if user_list is not None else found.live.moved_at.astimezone(UTC),
        items=_items(user_list, k) if user_list else [],
    )


def _readable(data: bytes | None, metrics: Metrics) -> UserList | None:
    try:
        return unpack(data) if data is not None else None
    except CorruptListError:
        metrics.corrupt_lists.inc()
        return None


def _items(user_list: UserList, k: int) -> list[Item]:
    history = user_list.history.tolist()
    return [
        Item(
            item_id,
            score,
            slot,
            _PROPENSITY,
            Reason("because_you_watched", history[reason]) if reason != NO_REASON else _of_source(source),
        )
        for slot, (item_id, score, source, reason) in enumerate(
            zip(
                user_list.item_ids[:k].tolist(),
                user_list.scores[:k].tolist(),
                user_list.sources[:k].tolist(),
                user_list.reasons[:k].tolist(),
                strict=True,
            )
        )
    ]


def _of_source(code: int) -> Reason:
    return _SOURCE_REASONS[code] if code < len(SOURCES) else _NEWER_SOURCE
