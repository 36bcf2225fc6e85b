"""The rules of `pipelines.serving.arranging`, compiled where there is a library of them; interpreted where not.

Both give the same answer: tests hold one against the other. What is compiled is the one pass over a list; what an
answer is in words, and what a user said means, is worked out here.
"""

import ctypes
import struct
from collections.abc import Collection
from struct import Struct

from feature_defs.recommendations import SOURCES
from pipelines.lists.codec import LARGEST_ITEM_ID, UserList
from pipelines.serving import arranging, placed
from pipelines.serving.arranging import RELAXATIONS
from pipelines.serving.placed import BECAUSE, Arranged, Asked, Item, Reason, reason_of
from pipelines.serving.rules.audience import MATURITY, TERRITORY
from pipelines.serving.rules.caps import CREATOR, GENRE, SERIES
from pipelines.serving.rules.continuing import NEXT_EPISODE, following
from pipelines.serving.rules.exploration import Chance
from pipelines.serving.rules.not_interested import demoted
from pipelines.serving.rules.watched import watched
from pipelines.serving.shelf import HIDING, LONGEST
from pipelines.serving.snapshots import Snapshot
from pipelines.stores.user_state import UserState

# As the source numbers them, from 1.
_RULES = (
    *HIDING, placed.UNKNOWN, TERRITORY, MATURITY, placed.SERVED, placed.EXCLUDED, placed.NOT_INTERESTED,
    placed.WATCHED, placed.DEMOTED, CREATOR, GENRE, SERIES,
)  # fmt: skip
_RELAXED = [(1 << 1 + _RULES.index(name), name) for name in RELAXATIONS]
_REASONS = tuple(
    Reason(name)
    for name in (*SOURCES, *[placed.OTHER] * (256 - len(SOURCES)), placed.FRESH, placed.EXPLORE, NEXT_EPISODE)
)
_NEEDS_AUDIENCE = -2
_REQUEST = Struct("<11q")
# Which rules gave way, how many titles each rule held back (the first is none), the audience that is needed.
_HEAD = Struct(f"<q8x{len(_RULES)}qq")
_PLACEMENT = Struct("<IIqdd")
_NO_LIMIT = 1 << 30
_MOST = 200  # titles that there is room for in an answer
_ANSWER = ctypes.create_string_buffer(_HEAD.size + _MOST * _PLACEMENT.size)
_ITEMS = memoryview(_ANSWER)[_HEAD.size :]
_BYTES, _HASH_BYTES = 8, 64


def arrange(user_list: UserList, state: UserState, snapshot: Snapshot | None, asked: Asked) -> Arranged:
    """See `pipelines.serving.arranging.arrange`, whose answer this is."""
    if snapshot is None or snapshot.shelf is None or asked.k > _MOST or len(user_list) > LONGEST:
        return arranging.arrange(user_list, state, snapshot, asked)
    shelf = snapshot.shelf
    shelf.bring_up_to(asked.now)
    near: Collection[int] = ()
    after: Collection[int] = ()
    if state.not_interested:
        near = demoted(state.not_interested, snapshot.neighbours, snapshot.rules.demoted)
    if state.watched:
        after = following(
            state.watched, snapshot.titles.next_episodes, watched(user_list.history.tolist(), state.watched)
        )
    said = (asked.exclude, asked.served, state.not_interested, state.watched, near, after)
    ids = _packed([item for kind in said for item in kind]) if any(said) else b""
    counts = [len(kind) for kind in said]
    country = shelf.country(asked.country)
    limit = _NO_LIMIT if state.limit is None else state.limit
    has_draws = bool(snapshot.rules.fresh_slots or snapshot.rules.explored_slots)
    chance = Chance(asked.seed, asked.page)
    hashes = chance.hash(0)
    while True:
        request = _REQUEST.pack(asked.k, country, limit, has_draws, *counts, len(hashes) // _BYTES)
        count: int = shelf.library.arrange(shelf.address, request, user_list.data, ids, hashes, _ANSWER)
        if count >= 0:
            break
        if count == _NEEDS_AUDIENCE:
            shelf.add_audience(country, _HEAD.unpack_from(_ANSWER)[-1])
        else:
            hashes += b"".join(map(chance.hash, range(len(hashes) // _HASH_BYTES, 2 * len(hashes) // _HASH_BYTES)))
    relaxed, *filtered, _ = _HEAD.unpack_from(_ANSWER)
    found = _PLACEMENT.iter_unpack(_ITEMS[: count * _PLACEMENT.size])
    items = [
        Item(item, score, slot, propensity, reason_of(BECAUSE, because) if because else _REASONS[reason])
        for slot, (item, because, reason, score, propensity) in enumerate(found)
    ]
    return Arranged(
        items,
        tuple([name for bit, name in _RELAXED if relaxed & bit]) if relaxed else (),
        {rule: held for rule, held in zip(_RULES, filtered, strict=True) if held},
    )


def _packed(ids: list[int]) -> bytes:
    """Ids as the library reads them; what no catalogue can hold becomes 0, which none does."""
    return struct.pack(f"<{len(ids)}I", *[item if item <= LARGEST_ITEM_ID else 0 for item in ids])
