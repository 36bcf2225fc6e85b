"""Erasure of a person: who asked for it, and that they are suppressed at once wherever they could be seen.

The record is a table of the lake, which never writes or reads a row of a user who is in it; the stores of lists hold
marks of their own. So the order is: the record first, then the stores. Whoever publishes asks once more in between
(`forget_again`), and a run that had read the user before leaves no list of theirs behind. Taking the rows out of
files is dearer, and done for all who wait together: `pipelines.removal`.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from feature_defs.record import ERASURES
from pipelines.arrow_schemas import arrow_schema
from pipelines.errors import UsageError
from pipelines.lake import Lake
from pipelines.stores.interface import LARGEST_USER_ID, ListStore

# A run that began before the erasure has ended or given up by then.
_LONGEST_RUN = timedelta(days=7)


@dataclass(frozen=True)
class Place:
    """What a place held of a user: how many rows, files or records, `None` if we do not look there; and why."""

    count: int | None
    why: str = ""


@dataclass(frozen=True)
class Receipt:
    """How far the erasure of a user is: asked for, suppressed in all stores, removed from all places that are ours."""

    erasure_id: str
    user_id: int
    asked_at: datetime
    suppressed_at: datetime | None = None
    removed_at: datetime | None = None
    places: Mapping[str, Place] = field(default_factory=dict)

    def with_found(self, found: Mapping[str, Place]) -> "Receipt":
        """The receipt with what was found now: counts are added to what had been found before."""
        places = dict(self.places)
        for name, place in found.items():
            before = places.get(name, Place(0)).count or 0
            places[name] = Place(None if place.count is None else before + place.count, place.why)
        return replace(self, places=places)

    def told(self) -> dict[str, object]:
        """The receipt in words and numbers, for the last line of a job."""
        moments = {name: getattr(self, name) for name in ("asked_at", "suppressed_at", "removed_at")}
        return {
            "erasure_id": self.erasure_id,
            "user_id": self.user_id,
            **{name: moment.isoformat() if moment else None for name, moment in moments.items()},
            "places": _places_to_json(self.places),
        }


def erased_users(lake: Lake) -> frozenset[int]:
    """Everybody whose erasure was asked for, as of now."""
    return frozenset(lake.erased_users().to_pylist())


def receipts(lake: Lake) -> dict[int, Receipt]:
    """The newest receipt of each user whose erasure was asked for, in the order of asking."""
    rows = sorted(lake.read(ERASURES).to_pylist(), key=lambda row: row["recorded_at"])
    found = {
        row["user_id"]: Receipt(
            erasure_id=row["erasure_id"],
            user_id=row["user_id"],
            asked_at=row["asked_at"],
            suppressed_at=row["suppressed_at"],
            removed_at=row["removed_at"],
            places={name: Place(**place) for name, place in json.loads(row["places"]).items()},
        )
        for row in rows
    }
    return dict(sorted(found.items(), key=lambda pair: pair[1].asked_at))


def record(lake: Lake, receipt: Receipt) -> None:
    """Keep how far an erasure is."""
    row = {
        "erasure_id": receipt.erasure_id,
        "user_id": receipt.user_id,
        "asked_at": receipt.asked_at,
        "suppressed_at": receipt.suppressed_at,
        "removed_at": receipt.removed_at,
        "places": json.dumps(_places_to_json(receipt.places), sort_keys=True),
        "recorded_at": datetime.now(UTC),
    }
    lake.append(ERASURES, pa.Table.from_pylist([row], arrow_schema(ERASURES)), receipt.asked_at.date())


def suppress(lake: Lake, store: ListStore, user_id: int) -> Receipt:
    """From now on nothing of a user is built, answered or loaded; a second time changes nothing but finds what is new.

    Args:
        lake: where the erasure is recorded, first of all.
        store: lets go of the user's lists and state.
        user_id: anybody: also one that was never heard of.

    Raises:
        UsageError: if this can be no user id.
        UnavailableError: if the lake or the store does not answer; asked again, it goes on where it was.
    """
    if not 1 <= user_id <= LARGEST_USER_ID:
        raise UsageError(f"--user-id must lie between 1 and 2^63 - 1, not be {user_id}")
    receipt = receipts(lake).get(user_id)
    if receipt is None:
        now = datetime.now(UTC)
        receipt = Receipt(f"{now:%Y%m%d}-{secrets.token_hex(6)}", user_id, now)
        record(lake, receipt)
    before = store.state(user_id)
    has_state = before.version > 0 and not before.state.is_forgotten
    found = {"lists": Place(store.forget_user(user_id)), "user_state": Place(int(has_state))}
    if receipt.suppressed_at is None or any(place.count for place in found.values()):
        first = receipt.suppressed_at or datetime.now(UTC)
        receipt = replace(receipt.with_found(found), suppressed_at=first)
        record(lake, receipt)
    return receipt


def forget_again(lake: Lake, store: ListStore) -> int:
    """Let the store forget whoever a run in flight may have written after their erasure, or a new store never knew.

    To be called before the live pointer moves. Returns how many lists were removed.

    Raises:
        UnavailableError: if the lake or the store does not answer.
    """
    asked = {user_id: receipt.asked_at for user_id, receipt in receipts(lake).items()}
    if not asked:
        return 0
    since, known = datetime.now(UTC) - _LONGEST_RUN, store.forgotten()
    again = [user_id for user_id, asked_at in asked.items() if asked_at >= since or user_id not in known]
    return sum(store.forget_user(user_id) for user_id in again)


def _places_to_json(places: Mapping[str, Place]) -> dict[str, dict[str, object]]:
    return {name: {"count": place.count, **({"why": place.why} if place.why else {})} for name, place in places.items()}
