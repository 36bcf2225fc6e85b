"""The tables that the compiled rules read: a snapshot as columns, by row instead of by id.

A shelf follows the moment: which titles are hidden, and which are fresh, is brought up to date when a window opens or
closes. Its scratch space serves one answer at a time, so a shelf is used in one thread.
"""

import ctypes
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.serving.library import Library, compiled_rules
from pipelines.serving.rules.availability import LICENCE, MODERATION, RESTRICTED, WITHDRAWN
from pipelines.serving.rules.continuing import CODE
from pipelines.serving.rules.exploration import Explorable
from pipelines.serving.rules.fresh import Fresh
from pipelines.serving.rules.limits import Rules
from pipelines.serving.title import Entry
from pipelines.serving.titles import Showable, Titles

# The longest list that there is scratch space for; anything longer is arranged without.
LONGEST = 4096
# Least ages are kept as bytes.
_OLDEST = 255
_LIMITS = _OLDEST + 1
HIDING = (WITHDRAWN, LICENCE, MODERATION, RESTRICTED)
_HIDDEN_BY = {rule: code for code, rule in enumerate(HIDING, 1)}


# A title, as `arrange.c` has it.
_TITLE = np.dtype(
    [
        ("id", np.uint32),
        ("genre", np.int32),
        ("creator", np.int32),
        ("series", np.int32),
        ("explorable", np.int32),
        ("territory", np.int16),
        ("maturity", np.uint8),
        ("hidden", np.uint8),
        ("flags", np.uint8),
        ("padding", np.uint8, 7),
    ]
)


class _Audience(ctypes.Structure):
    _fields_ = (
        ("count", ctypes.c_int64),
        ("order", ctypes.c_void_p),
        ("sums", ctypes.c_void_p),
        ("masses", ctypes.c_void_p),
        ("total", ctypes.c_double),
    )


_NUMBERS = (
    "row_count", "slot_mask", "code_count", "genre_count", "set_count", "page", "continued", "genre_limit",
    "creator_limit", "series_limit", "fresh_count", "fresh_most", "width", "next_episode",
)  # fmt: skip
_TABLES = (
    "titles", "slots", "allowed", "explorable_rows", "weights", "by_code_at", "by_code", "fresh_rows", "fresh_vectors",
    "plan", "audiences",
)  # fmt: skip
_SCRATCH = ("touched", "counts", "is_full", "counted", "full", "out", "candidates")
_FRESH_SCRATCH = ("fresh_scores", "fresh_best")


class _Shelf(ctypes.Structure):
    """As `arrange.c` has it."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in _NUMBERS),
        *((name, ctypes.c_void_p) for name in (*_TABLES, *_SCRATCH)),
        ("capacity", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in _FRESH_SCRATCH),
    )


class Shelf:
    """The titles, the explorable and the fresh of a snapshot, and what its answers keep to; `library` reads it."""

    def __init__(self, titles: Titles, explorable: Explorable, fresh: Fresh, rules: Rules, library: Library) -> None:
        """Takes them in; of N titles, some hundred bytes each."""
        self.library = library
        self._titles, self._fresh = titles, fresh
        self._struct = _Shelf(capacity=LONGEST + rules.continued)
        # What the structure points to.
        self._arrays: dict[str, NDArray[Any]] = {}
        self._audiences: dict[int, tuple[_Audience, list[NDArray[Any]]]] = {}
        self._view: Showable | None = None
        self._fresh_ids: Sequence[int] | None = None
        self._rows = np.zeros(len(titles.entries), _TITLE)
        self._rows["id"] = np.fromiter(titles.entries, np.uint32, len(titles.entries))
        self._row_of = dict(zip(titles.entries, range(len(self._rows)), strict=True))
        self._set("titles", self._rows)
        self._set_titles(list(titles.entries.values()))
        self._set_explorable(explorable)
        self._set_rules(rules)
        self._set_scratch()
        library.index(self._struct.titles, self._struct.row_count, self._struct.slots, self._struct.slot_mask)

    @property
    def address(self) -> int:
        """Where the compiled rules find it."""
        return ctypes.addressof(self._struct)

    def country(self, code: str | None) -> int:
        """The number of a country; 0 of one that no title is licensed for by name."""
        return self._countries.get(code, 0) if code is not None else 0

    def bring_up_to(self, now: datetime) -> None:
        """Show what may be shown at a moment: one comparison of times, while that is the same."""
        view = self._titles.showable(now)
        if view is not self._view:
            self._hide(view)
        fresh_ids, vectors = self._fresh.now(view.entries, now)
        if fresh_ids is not self._fresh_ids:
            self._fresh_ids = fresh_ids
            count = len(fresh_ids)
            self._set("fresh_rows", np.array([self._row_of[item] for item in fresh_ids], np.int32))
            self._set("fresh_vectors", vectors.astype(np.float32))
            self._set("fresh_scores", np.zeros(count, np.float32))
            self._set("fresh_best", np.zeros(count, np.int32))
            self._struct.fresh_count, self._struct.width = count, vectors.shape[1]
            self._struct.fresh_most = self._fresh.most(count)

    def add_audience(self, country: int, limit: int) -> None:
        """Work out which of the explorable people of a country and a limit of age may be shown."""
        at = self._arrays
        titles = self._rows[at["explorable_rows"]]
        allowed = np.append(at["allowed"][country], 1)  # -1: everywhere
        is_fit = (titles["hidden"] == 0) & (titles["maturity"] <= limit) & (allowed[titles["territory"]] == 1)
        order = np.flatnonzero(is_fit).astype(np.int32)
        weights = at["weights"][order]
        sums = np.cumsum(weights)
        genres = titles["genre"][order]
        masses = np.bincount(genres[genres >= 0], weights[genres >= 0], max(self._struct.genre_count, 1))
        total = float(sums[-1]) if len(sums) else 0.0
        audience = _Audience(len(order), order.ctypes.data, sums.ctypes.data, masses.ctypes.data, total)
        place = country * _LIMITS + limit
        self._audiences[place] = (audience, [order, sums, masses])
        at["audiences"][place] = ctypes.addressof(audience)

    def _set(self, name: str, array: NDArray[Any]) -> None:
        array = np.ascontiguousarray(array)
        self._arrays[name] = array
        setattr(self._struct, name, array.ctypes.data)

    def _set_titles(self, entries: Sequence[Entry]) -> None:
        count, titles = len(entries), self._rows
        sets = {one[1]: 0 for one in entries if one[1] is not None}
        sets.update(zip(sets, range(len(sets)), strict=True))
        self._countries = {country: 1 + at for at, country in enumerate(sorted(frozenset().union(*sets)))}
        allowed = np.zeros((1 + len(self._countries), max(len(sets), 1)), np.uint8)
        for countries, at in sets.items():
            for country in countries:
                allowed[self._countries[country], at] = 1
        self._set("allowed", allowed)
        titles["maturity"] = [min(one[0], _OLDEST) for one in entries]
        titles["territory"] = [-1 if one[1] is None else sets[one[1]] for one in entries]
        # Codes anew, those of genres first: there are few, and their sums are kept for every audience.
        codes: dict[int, int] = {}
        titles["genre"] = _coded([one[2] for one in entries], codes)
        self._struct.genre_count = len(codes)
        titles["creator"] = _coded([one[3] for one in entries], codes)
        titles["series"] = _coded([one[4] for one in entries], codes)
        size = 1 << (2 * max(count, 1)).bit_length()
        self._set("slots", np.full(size, -1, np.int32))
        self._set("audiences", np.zeros(len(allowed) * _LIMITS, np.uintp))
        struct = self._struct
        struct.row_count, struct.slot_mask, struct.code_count = count, size - 1, len(codes)
        struct.set_count = allowed.shape[1]

    def _set_explorable(self, explorable: Explorable) -> None:
        known = {item: weight for item, weight in explorable.weights.items() if item in self._row_of}
        rows = np.array([self._row_of[item] for item in known], np.int32)
        self._rows["explorable"] = -1
        self._rows["explorable"][rows] = np.arange(len(rows))
        self._set("explorable_rows", rows)
        self._set("weights", np.array(list(known.values()), np.float64))
        # Of each creator and each series, its explorable titles, end to end.
        codes = np.concatenate([self._rows["creator"][rows], self._rows["series"][rows]])
        numbers = np.tile(np.arange(len(rows), dtype=np.int32), 2)[codes >= 0]
        codes = codes[codes >= 0]
        order = np.argsort(codes, kind="stable")
        starts = np.searchsorted(codes[order], np.arange(self._struct.code_count + 1))
        self._set("by_code_at", starts.astype(np.int32))
        self._set("by_code", numbers[order])

    def _set_rules(self, rules: Rules) -> None:
        struct = self._struct
        struct.page, struct.continued, struct.next_episode = rules.page, rules.continued, CODE
        struct.genre_limit, struct.creator_limit, struct.series_limit = rules.caps
        self._set("plan", np.array(rules.plan, np.uint8))

    def _set_scratch(self) -> None:
        rows, codes = self._struct.row_count, self._struct.code_count
        self._set("touched", np.zeros(rows, np.int32))
        self._set("counts", np.zeros(codes, np.int32))
        self._set("is_full", np.zeros(codes, np.uint8))
        self._set("counted", np.zeros(codes, np.int32))
        self._set("full", np.zeros(codes, np.int32))
        self._set("out", np.zeros(len(self._arrays["explorable_rows"]), np.int32))
        self._set("candidates", np.zeros((5, self._struct.capacity, 3), np.int32))

    def _hide(self, view: Showable) -> None:
        """Mark what is hidden now: only what changed, where this follows on what was marked."""
        hidden = self._rows["hidden"]
        is_next = self._view is not None and view.number == self._view.number + 1
        changed: Iterable[int] = view.changed if is_next else self._row_of
        for item in changed:
            rule = view.hidden.get(item)
            hidden[self._row_of[item]] = 0 if rule is None else _HIDDEN_BY[rule]
        self._view, self._audiences = view, {}
        self._arrays["audiences"][:] = 0


def shelf_of(titles: Titles, explorable: Explorable, fresh: Fresh, rules: Rules, now: datetime) -> Shelf | None:
    """The tables of a snapshot, as they are at a moment; `None` where there are no compiled rules to read them."""
    library = compiled_rules()
    if library is None:
        return None
    shelf = Shelf(titles, explorable, fresh, rules, library)
    shelf.bring_up_to(now)
    return shelf


def _coded(column: Sequence[int], codes: dict[int, int]) -> NDArray[np.int32]:
    """The codes of a column, numbered on; -1 stays."""
    return np.array([-1 if one < 0 else codes.setdefault(one, len(codes)) for one in column], np.int32)
