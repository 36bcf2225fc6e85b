"""What the two towers read, as columns of numbers: titles, people, and histories cut into windows.

Codes are places in the vocabularies that a model was trained with; 0 is everything it has not seen, so that an unseen
title, city or creator is never an error. Windows are kept as memory-mapped arrays: a training set need not fit in
memory, and processes that train together share it.

Shapes: I titles, G genres, D numbers of a text vector, U users, S windows, N titles of all windows together.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_defs.interactions import COMPLETE_SHARE, LEFT_SHARE
from pipelines.catalogue import Catalogue
from pipelines.errors import DataError
from pipelines.histories import Histories
from pipelines.sorted_ids import positions_among

# People are told apart by these columns of USERS.
PROFILE_COLUMNS = ("age_band", "city", "country", "device")
_OLDEST_YEAR, _YEARS_A_BUCKET, _YEAR_BUCKETS = 1900, 5, 42
_WINDOW_FILES = ("user_codes", "profiles", "starts", "lengths", "items", "shares", "is_target", "is_held_out")
# Fewer titles held out than these tell one pass from another by chance; more than these cost more than they tell.
_FEWEST_HELD_OUT, _MOST_HELD_OUT = 100, 5_000


@dataclass(frozen=True)
class Vocabularies:
    """What a model can tell apart. Codes start at 1, in the order given; creators and user ids are hashed."""

    item_ids: NDArray[np.int64]
    genres: tuple[str, ...]
    languages: tuple[str, ...]
    kinds: tuple[str, ...]
    profiles: tuple[tuple[str, ...], ...]
    creator_buckets: int
    user_buckets: int
    text_width: int


@dataclass(frozen=True)
class ItemInputs:
    """Titles: `ids`, `languages`, `years`, `kinds`, `creators` int64 [I]; `has_genre` float32 [I, G]; `text` [I, D]."""

    ids: NDArray[np.int64]
    languages: NDArray[np.int64]
    years: NDArray[np.int64]
    kinds: NDArray[np.int64]
    creators: NDArray[np.int64]
    has_genre: NDArray[np.float32]
    text: NDArray[np.float32]


@dataclass(frozen=True)
class Windows:
    """Stretches of histories: window `s` holds `items[starts[s]:starts[s] + lengths[s]]`, oldest first.

    `user_codes`: int64 [S]. `profiles`: int64 [S, 4]. `starts`, `lengths`: int64 [S]. `items`: int32 [N], positions
    among the titles of the model. `shares`: int8 [N], how much was watched: 1 left, 2 some, 3 to the end. `is_target`:
    bool [N], whether the title is one to be learned to predict from those before it. `is_held_out`: bool [N], whether
    it is one by whose prediction passes are told apart.
    """

    user_codes: NDArray[np.int64]
    profiles: NDArray[np.int64]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    items: NDArray[np.int32]
    shares: NDArray[np.int8]
    is_target: NDArray[np.bool_]
    is_held_out: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.starts)

    def save(self, folder: Path) -> None:
        """Write each column to a file of its own."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in _WINDOW_FILES:
            np.save(folder / f"{name}.npy", getattr(self, name))


def mapped_windows(folder: Path) -> Windows:
    """The windows that `save` wrote, mapped into memory and not read."""
    return Windows(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in _WINDOW_FILES))


def vocabularies(
    catalogue: Catalogue,
    learned_ids: NDArray[np.int64],
    users: pa.Table,
    text_width: int,
    creator_buckets: int,
    user_buckets: int,
) -> Vocabularies:
    """What can be told apart in a training set.

    Args:
        catalogue: of the day.
        learned_ids: titles that are in histories; only they get an id of their own.
        users: rows of USERS.
        text_width: numbers of a text vector.
        creator_buckets: creators are hashed into this many.
        user_buckets: user ids are hashed into this many; 0: users have no id of their own.
    """
    named = [sorted(set(users.column(name).to_pylist()) - {None}) for name in PROFILE_COLUMNS]
    return Vocabularies(
        np.unique(learned_ids),
        catalogue.genre_names,
        catalogue.language_names,
        catalogue.kind_names,
        tuple(tuple(names) for names in named),
        creator_buckets,
        user_buckets,
        text_width,
    )


def item_inputs(catalogue: Catalogue, text: NDArray[np.float32], known: Vocabularies) -> ItemInputs:
    """The titles of a catalogue as a model reads them, in the order of the catalogue.

    Raises:
        DataError: if text vectors are of another width than those learned from, or are not all finite.
    """
    if not np.isfinite(text).all():
        raise DataError("text vectors are not all finite")
    if text.shape[1] != known.text_width:
        if text.any():
            raise DataError(
                f"text vectors have {text.shape[1]} numbers, and the towers learned from {known.text_width}"
            )
        text = np.zeros((len(catalogue), known.text_width), np.float32)
    has_genre = np.zeros((len(catalogue), len(known.genres)), np.float32)
    theirs = {name: column for column, name in enumerate(catalogue.genre_names)}
    for column, name in enumerate(known.genres):
        if name in theirs:
            has_genre[:, column] = catalogue.has_genre[:, theirs[name]]
    years = (catalogue.release_years - _OLDEST_YEAR) // _YEARS_A_BUCKET + 1
    hashed = np.array([_bucket(name, known.creator_buckets) for name in catalogue.creator_names] + [0])
    return ItemInputs(
        ids=positions_among(known.item_ids, catalogue.item_ids) + 1,
        languages=_translated(catalogue.languages, catalogue.language_names, known.languages),
        years=np.where(catalogue.release_years > 0, years.clip(1, _YEAR_BUCKETS - 1), 0),
        kinds=_translated(catalogue.kinds, catalogue.kind_names, known.kinds),
        creators=hashed[catalogue.creators],
        has_genre=has_genre,
        text=np.ascontiguousarray(text, np.float32),
    )


def year_buckets() -> int:
    """How many codes a year of release may have."""
    return _YEAR_BUCKETS


def profile_codes(users: pa.Table, user_ids: NDArray[np.int64], known: Vocabularies) -> NDArray[np.int64]:
    """Codes of the profiles of users: int64 [U, 4]; 0 for attributes and users that are unknown."""
    at = pc.index_in(pa.array(user_ids), users.column("user_id").combine_chunks())
    columns = []
    for name, names in zip(PROFILE_COLUMNS, known.profiles, strict=True):
        texts = users.column(name).combine_chunks().take(at)
        codes = pc.add(pc.fill_null(pc.index_in(texts, pa.array(names, pa.string())), -1), 1)
        columns.append(codes.to_numpy(zero_copy_only=False).astype(np.int64))
    return np.stack(columns, 1)


def user_codes(user_ids: NDArray[np.int64], buckets: int) -> NDArray[np.int64]:
    """User ids hashed into buckets 1 to `buckets`, or 0 without any: int64 [U]. (Fibonacci hashing, Knuth 6.4.)"""
    if not buckets:
        return np.zeros(len(user_ids), np.int64)
    mixed = user_ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(32)
    return (mixed % np.uint64(buckets)).astype(np.int64) + 1


def windows(
    histories: Histories,
    catalogue: Catalogue,
    users: pa.Table,
    known: Vocabularies,
    length: int,
    held_out_share: float = 0.0,
) -> Windows:
    """Every history cut into windows of at most `length` titles, so that each title is predicted once.

    Windows of one user overlap by half: a title in the middle of a long history has a past to be predicted from. Titles
    that the catalogue does not hold are left out. A title is to be predicted if it was watched to the end and is not
    in the half that the window before it held. Of a share of users, who follow from their ids, the newest such title is
    held out instead.
    """
    positions = catalogue.positions(histories.item_ids)
    histories, positions = histories.where(positions >= 0), positions[positions >= 0]
    counts = np.diff(histories.offsets)
    stride = max(length // 2, 1)
    per_user = np.where(counts > length, 1 + -(-(counts - length) // stride), (counts > 0).astype(np.int64))
    owners = np.repeat(np.arange(len(counts)), per_user)
    number = np.arange(len(owners)) - np.repeat(np.cumsum(per_user) - per_user, per_user)
    begins = number * stride
    lengths = np.minimum(counts[owners] - begins, length)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    within = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)
    source = np.repeat(histories.offsets[owners] + begins, lengths) + within
    is_new = np.repeat(number, lengths) == 0
    is_new |= within >= length - stride
    shares = histories.shares[source]
    is_target = (shares >= np.float32(COMPLETE_SHARE)) & is_new
    is_held_out = _held_out(histories.user_ids, np.repeat(owners, lengths), is_target, held_out_share)
    return Windows(
        user_codes=user_codes(histories.user_ids, known.user_buckets)[owners],
        profiles=profile_codes(users, histories.user_ids, known)[owners],
        starts=starts[:-1].astype(np.int64),
        lengths=lengths.astype(np.int64),
        items=positions[source].astype(np.int32),
        shares=share_codes(shares),
        is_target=is_target & ~is_held_out,
        is_held_out=is_held_out,
    )


def _held_out(
    user_ids: NDArray[np.int64], owners: NDArray[np.int64], is_target: NDArray[np.bool_], share: float
) -> NDArray[np.bool_]:
    """The last target of a share of users: bool [N]; none, where they would be too few to tell anything."""
    buckets = 1_000_000
    share = min(share, _MOST_HELD_OUT / max(len(user_ids), 1))
    is_chosen = user_codes(user_ids, buckets) <= share * buckets
    at = np.flatnonzero(is_target)
    is_last = np.append(owners[at][1:] != owners[at][:-1], True)[: len(at)]
    at = at[is_last & is_chosen[owners[at]]]
    held_out = np.zeros(len(is_target), np.bool_)
    if len(at) >= _FEWEST_HELD_OUT:
        held_out[at] = True
    return held_out


def share_codes(shares: NDArray[np.float32]) -> NDArray[np.int8]:
    """How much of a title was watched: 1 left, 2 some of it, 3 to the end."""
    left, complete = np.float32(LEFT_SHARE), np.float32(COMPLETE_SHARE)
    return (1 + (shares >= left).astype(np.int8) + (shares >= complete).astype(np.int8)).astype(np.int8)


def _translated(codes: NDArray[np.int64], names: Sequence[str], known: Sequence[str]) -> NDArray[np.int64]:
    """Codes among `names` as codes among `known`, from 1; 0 for what is not there."""
    place = {name: number + 1 for number, name in enumerate(known)}
    table = np.array([place.get(name, 0) for name in names] + [0])
    return table[codes].astype(np.int64)


def _bucket(name: str, buckets: int) -> int:
    return zlib.crc32(name.encode()) % buckets + 1
