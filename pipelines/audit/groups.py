"""Who belongs to which group, and which groups are large enough to be judged by themselves.

A group that is not is pooled with its like: with its neighbours where labels have an order (a pool grows by the
smaller of the two beside it), otherwise with all other small groups (and then with the next smallest). A pool ends
where it can be judged. Its members are named all the same, and a large group that a pool took in is also judged by
itself: nobody is dropped.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_defs.audit_policy import AuditedAttribute, AuditPolicy
from pipelines.audit.subjects import UNKNOWN, Labels
from pipelines.catalogue import Catalogue
from pipelines.days import end_of
from pipelines.errors import DataError
from pipelines.histories import Histories
from pipelines.sorted_ids import positions_among

_NAMED_MEMBERS = 4


@dataclass(frozen=True)
class _Known:
    """What is known of users, as `groups_of` is told it; `histories` are those of `user_ids`, in their order."""

    user_ids: NDArray[np.int64]
    histories: Histories
    catalogue: Catalogue
    users: pa.Table
    protected: pa.Table | None
    day: date


# By what users can be told apart, and how their labels are found.
_LABELS: Mapping[str, Callable[[_Known, AuditedAttribute], Labels]] = {
    "activity_tier": lambda known, one: _cut(np.diff(known.histories.offsets), one),
    "tenure": lambda known, one: _cut(_days_since_signup(known.users, known.user_ids, known.day), one),
    "age_band": lambda known, one: _age_bands(known.users, known.protected, known.user_ids, one),
    "gender": lambda known, _: _column(known.protected, "gender", known.user_ids),
    "country": lambda known, _: _column(known.users, "country", known.user_ids),
    "language": lambda known, _: _languages(known.histories, known.catalogue),
    "device": lambda known, _: _column(known.users, "device", known.user_ids),
}
ATTRIBUTES = tuple(_LABELS)
# Those whose labels are cut from a number, by the policy's bounds.
CUT_ATTRIBUTES = ("activity_tier", "tenure", "age_band")
# Those that follow from what a user watched: whoever watched nothing has none.
WATCHED_ATTRIBUTES = ("language",)


@dataclass(frozen=True)
class Coded:
    """An attribute of users as codes: `codes` int64 [U] index `names`."""

    attribute: AuditedAttribute
    names: tuple[str, ...]
    codes: NDArray[np.int64]

    def counts(self) -> NDArray[np.int64]:
        """Users by name: int64."""
        return np.bincount(self.codes, minlength=len(self.names))

    def members(self, names: Sequence[str]) -> NDArray[np.bool_]:
        """Who has one of these labels: bool [U]."""
        wanted = np.isin(np.array(self.names), np.array(list(names)))
        return wanted[self.codes]


def groups_of(
    policy: AuditPolicy,
    user_ids: NDArray[np.int64],
    histories: Histories,
    catalogue: Catalogue,
    users: pa.Table,
    protected: pa.Table | None,
    day: date,
) -> dict[str, Labels]:
    """The labels of users by attribute, for the attributes that a policy audits: object [U] each.

    Activity is the number of titles in the history, tenure counts days from sign-up to the end of `day`, language is
    that of most titles in the history. Age band is the user's own, or else cut from the protected age.

    Args:
        policy: names the attributes and the bounds of tiers.
        user_ids: int64 [U].
        histories: what users watched before.
        catalogue: knows the language of titles.
        users: rows of USERS.
        protected: rows of PROTECTED_ATTRIBUTES, if the service holds any.
        day: the last day known.
    """
    known = _Known(user_ids, histories.of(user_ids), catalogue, users, protected, day)
    return {one.name: _LABELS[one.name](known, one) for one in policy.attributes if one.name in _LABELS}


def coded(attribute: AuditedAttribute, labels: Labels) -> Coded:
    """Labels as codes, names in alphabetical order."""
    encoded = pa.array(labels, pa.string()).fill_null(UNKNOWN).dictionary_encode()
    names = encoded.dictionary.to_pylist()
    order = np.argsort(np.array(names, np.str_))
    places = np.empty(len(names), np.int64)
    places[order] = np.arange(len(names))
    return Coded(attribute, tuple(names[at] for at in order), places[encoded.indices.to_numpy()])


def audited_attributes(policy: AuditPolicy, groups: Mapping[str, Labels], user_count: int) -> list[Coded]:
    """The attributes that can be audited, as codes; one that may be absent and is known of nobody is left out.

    Raises:
        DataError: if an attribute is unknown for too many users, or known of nobody and needed.
    """
    found = []
    for attribute in policy.attributes:
        labels = groups.get(attribute.name)
        one = coded(attribute, labels) if labels is not None else None
        if one is not None and len(one.codes) != user_count:
            raise DataError(f"{attribute.name} has {len(one.codes):,} labels for {user_count:,} users")
        known = 0 if one is None else user_count - int(one.members((UNKNOWN,)).sum())
        if not known and attribute.may_be_absent:
            continue
        missing = user_count - known
        if one is None or not known:
            raise DataError(f"{attribute.name} is known of nobody, and the policy asks for it")
        if missing >= policy.unknown_limit * user_count and missing:
            raise DataError(
                f"{attribute.name} is unknown for {missing:,} of {user_count:,} users ({missing / user_count:.0%}): "
                f"it must be known of more than {1 - policy.unknown_limit:.0%} to be audited"
            )
        found.append(one)
    return found


def pooled(
    attribute: AuditedAttribute,
    counts: Mapping[str, int],
    small: Sequence[str],
    has_its_size: Callable[[Sequence[str]], bool],
) -> list[tuple[str, ...]]:
    """What small groups are pooled with: tuples of labels, each with a small one among them.

    Args:
        attribute: whose labels they are; says their order.
        counts: users by label, without the unknown.
        small: the labels that cannot be judged by themselves.
        has_its_size: whether these labels together can be judged.
    """
    if not small or len(counts) < 2:
        return []
    if attribute.order:
        return _pooled_with_neighbours(attribute, counts, small, has_its_size)
    pool = sorted(small)
    for name in sorted((one for one in counts if one not in small), key=lambda one: (counts[one], one)):
        if len(pool) > 1 and has_its_size(pool):
            break
        pool.append(name)
    return [tuple(pool)] if len(pool) > 1 else []


def name_of(labels: Sequence[str]) -> str:
    """What a pool is called."""
    if len(labels) <= _NAMED_MEMBERS:
        return "+".join(labels)
    return "+".join(labels[:_NAMED_MEMBERS]) + f"+{len(labels) - _NAMED_MEMBERS} more"


def _pooled_with_neighbours(
    attribute: AuditedAttribute,
    counts: Mapping[str, int],
    small: Sequence[str],
    has_its_size: Callable[[Sequence[str]], bool],
) -> list[tuple[str, ...]]:
    known = [name for name in attribute.order if name in counts]
    blocks: list[tuple[str, ...]] = [(name,) for name in (*known, *sorted(set(counts) - set(known)))]
    is_small = [block[0] in small for block in blocks]
    while True in is_small and len(blocks) > 1:
        at = is_small.index(True)
        beside = [one for one in (at - 1, at + 1) if 0 <= one < len(blocks)]
        other = min(beside, key=lambda one: (not is_small[one], sum(counts[name] for name in blocks[one])))
        first, second = sorted((at, other))
        blocks[first : second + 1] = [blocks[first] + blocks[second]]
        is_small[first : second + 1] = [not has_its_size(blocks[first])]
    return [block for block in blocks if len(block) > 1]


def _cut(values: NDArray[np.int64], attribute: AuditedAttribute) -> Labels:
    names = np.array([UNKNOWN, *attribute.order], object)
    labels: Labels = names[np.searchsorted(np.array(attribute.least), values, "right")]
    return labels


def _column(rows: pa.Table | None, name: str, user_ids: NDArray[np.int64]) -> Labels:
    if rows is None or not rows.num_rows:
        return np.full(len(user_ids), UNKNOWN, object)
    rows = rows.sort_by("user_id")
    at = positions_among(rows.column("user_id").to_numpy().astype(np.int64), user_ids)
    texts = rows.column(name).cast(pa.string()).fill_null(UNKNOWN).to_numpy()
    return np.where(at >= 0, texts[np.maximum(at, 0)], UNKNOWN).astype(object)


def _days_since_signup(users: pa.Table, user_ids: NDArray[np.int64], day: date) -> NDArray[np.int64]:
    rows = users.sort_by("user_id")
    at = positions_among(rows.column("user_id").to_numpy().astype(np.int64), user_ids)
    signed = rows.column("signup_at").cast(pa.timestamp("us", "UTC")).cast(pa.int64()).fill_null(2**62).to_numpy()
    days = (int(end_of(day).timestamp()) * 1_000_000 - signed) // 86_400_000_000
    # Before the first tier begins: unknown.
    return np.where(at >= 0, days[np.maximum(at, 0)], -1)


def _age_bands(
    users: pa.Table, protected: pa.Table | None, user_ids: NDArray[np.int64], attribute: AuditedAttribute
) -> Labels:
    bands = _column(users, "age_band", user_ids)
    if protected is None or not protected.num_rows:
        return bands
    # Before the first band begins: unknown.
    ages = pc.fill_null(protected.column("age"), -1).to_numpy().astype(np.int64)
    rows = pa.table({"user_id": protected.column("user_id"), "band": pa.array(_cut(ages, attribute), pa.string())})
    return np.where(bands == UNKNOWN, _column(rows, "band", user_ids), bands).astype(object)


def _languages(histories: Histories, catalogue: Catalogue) -> Labels:
    at = catalogue.positions(histories.item_ids)
    codes = np.where(at >= 0, catalogue.languages[np.maximum(at, 0)], -1)
    is_known = codes >= 0
    count = max(len(catalogue.language_names), 1)
    watched = np.bincount(
        histories.owners()[is_known] * count + codes[is_known], minlength=len(histories.user_ids) * count
    )
    watched = watched.reshape(-1, count)
    names = np.array([*(catalogue.language_names or (UNKNOWN,)), UNKNOWN], object)
    best: Labels = names[np.where(watched.any(1), watched.argmax(1), len(names) - 1)]
    return best
