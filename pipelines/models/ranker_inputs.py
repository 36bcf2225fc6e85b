"""From what is known at a moment to what the ranker reads of (user, title) pairs: for learning and scoring alike.

One function makes the inputs of training impressions and of candidates, so that the two cannot differ. Only what
`Knowledge` holds is read; that it was all known before an impression is for its maker to see to.

Shapes: U users, I titles, G genres, L languages, N pairs, F dense features, C categoricals, D width of text vectors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_defs.ranking import (
    CATEGORICALS,
    CONTENT_LENGTH,
    CONTEXT_DENSE,
    DENSE_FEATURES,
    FATIGUE_LENGTHS,
    ITEM_CATEGORICALS,
    ITEM_DENSE,
    PAIR_DENSE,
    USER_CATEGORICALS,
    USER_DENSE,
)
from feature_defs.recommendations import HISTORY_LENGTH
from pipelines.catalogue import Catalogue
from pipelines.errors import DataError
from pipelines.histories import Histories
from pipelines.models.item_item import Neighbours, neighbour_sums
from pipelines.models.ranker_codes import crossed_codes, device_codes, indexed_codes, name_codes, number_codes
from pipelines.models.recent import Recent
from pipelines.models.watched import Watched, watched_by

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

# Pairs worked on at once, so that what is gathered for them stays in the processor's cache.
_BLOCK = 16_384
# Similarities of titles kept at once: 256 MiB of 16-bit floats. Beyond, they are computed pair by pair.
_SIMILARITY_CELLS = 128 * 1024 * 1024
# How many plays the mean of all weighs against what was seen of one.
_PRIOR_PLAYS = 5.0
_LONGEST_IDLE_DAYS = 365.0
_DAY_MICROSECONDS = 86_400_000_000


@dataclass(frozen=True)
class RankerInputs:
    """What the ranker reads of N pairs.

    `dense`: float32 or float16 [N, F], finite, columns as in `feature_defs.ranking.DENSE_FEATURES`. `codes`: integers
    [N, C], columns as in `CATEGORICALS`, 0 for unknown. `slots`: integers [N], the place at which the title was shown,
    -1 if unknown; read in training only. Arrays may be memory-mapped.
    """

    dense: NDArray[np.floating]
    codes: NDArray[np.integer]
    slots: NDArray[np.integer]

    def __post_init__(self) -> None:
        count = len(self.dense)
        if self.dense.shape != (count, len(DENSE_FEATURES)):
            raise DataError(f"dense inputs are {self.dense.shape}; the ranker reads {len(DENSE_FEATURES)} columns")
        if self.codes.shape != (count, len(CATEGORICALS)):
            raise DataError(f"codes are {self.codes.shape}; the ranker reads {count} rows of {len(CATEGORICALS)}")
        if self.slots.shape != (count,):
            raise DataError(f"slots are {self.slots.shape} beside {count} rows of dense inputs")

    def __len__(self) -> int:
        return len(self.dense)

    def rows(self, which: slice | NDArray[np.integer] | NDArray[np.bool_]) -> "RankerInputs":
        """Some of the pairs."""
        return RankerInputs(self.dense[which], self.codes[which], self.slots[which])


def joined(parts: Sequence[RankerInputs]) -> RankerInputs:
    """The pairs of several, one after the other: such as those of several days."""
    return RankerInputs(
        np.concatenate([part.dense for part in parts]),
        np.concatenate([part.codes for part in parts]),
        np.concatenate([part.slots for part in parts]),
    )


@dataclass(frozen=True)
class Context:
    """When and on what N titles are, or are to be, seen.

    `hours`: int64 [N], 0 to 23. `weekdays`: int64 [N], 0 for Monday. `devices`: [N], names (or None), or codes that
    `device_codes` made of them.
    """

    hours: Integers
    weekdays: Integers
    devices: Sequence[str | None] | Integers


@dataclass(frozen=True)
class Knowledge:
    """All that is known of U users and I titles at the end of a day, aligned with users and catalogue positions.

    `users`: rows of USERS, null where unknown. `user_features`, `item_features`: rows of USER_FEATURES and
    ITEM_FEATURES, null where there are none. `als_users`, `als_items`: float32 [U, K], [I, K]. `tower_users`,
    `tower_items`: float32 [U, 64], [I, 64]. `text_items`: float32 [I, D], of unit length. Vectors are zeros where
    unknown. `neighbours`: of titles, by who watched them. `tower_temperature`: by which a cosine of the towers is
    divided to be a logit.

    Raises:
        DataError: if the parts are not aligned.
    """

    catalogue: Catalogue
    users: pa.Table
    histories: Histories
    user_features: pa.Table
    item_features: pa.Table
    als_users: Floats
    als_items: Floats
    tower_users: Floats
    tower_items: Floats
    text_items: Floats
    neighbours: Neighbours
    tower_temperature: float

    def __post_init__(self) -> None:
        users, items = len(self.histories.user_ids), len(self.catalogue)
        for name, count, expected in (
            ("users", self.users.num_rows, users),
            ("user_features", self.user_features.num_rows, users),
            ("als_users", len(self.als_users), users),
            ("tower_users", len(self.tower_users), users),
            ("item_features", self.item_features.num_rows, items),
            ("als_items", len(self.als_items), items),
            ("tower_items", len(self.tower_items), items),
            ("text_items", len(self.text_items), items),
            ("neighbours", len(self.neighbours.positions), items),
        ):
            if count != expected:
                raise DataError(f"{name} has {count} rows where {expected} are expected")

    @cached_property
    def watched(self) -> Watched:
        """What users watched, by kind of thing."""
        return watched_by(self.catalogue, self.histories)

    @cached_property
    def user_dense(self) -> Floats:
        """Dense features of users: float32 [U, columns of USER_DENSE]."""
        return _user_dense(self)

    @cached_property
    def item_dense(self) -> Floats:
        """Dense features of titles: float32 [I, columns of ITEM_DENSE]."""
        return _item_dense(self)

    @cached_property
    def user_codes(self) -> Integers:
        """Codes of users: int64 [U, columns of USER_CATEGORICALS]."""
        columns = [name_codes(column.name, self.users.column(column.name)) for column in USER_CATEGORICALS]
        return np.stack(columns, axis=1)

    @cached_property
    def item_codes(self) -> Integers:
        """Codes of titles: int64 [I, columns of ITEM_CATEGORICALS]."""
        catalogue = self.catalogue
        columns = {
            "main_genre": indexed_codes(catalogue.genre_names, catalogue.main_genres, "main_genre"),
            "language": indexed_codes(catalogue.language_names, catalogue.languages, "language"),
            "kind": indexed_codes(catalogue.kind_names, catalogue.kinds, "kind"),
            "creator": indexed_codes(catalogue.creator_names, catalogue.creators, "creator"),
            "item_id": number_codes(catalogue.item_ids, "item_id"),
        }
        return np.stack([columns[categorical.name] for categorical in ITEM_CATEGORICALS], axis=1)

    @cached_property
    def tastes(self) -> Floats:
        """Share of completed titles with each genre, and genres picked at sign-up: float32 [U, 2, G]."""
        onboarding = self.users.column("onboarding_genres")
        picked = np.zeros_like(self.watched.genre_shares)
        lists = onboarding.cast(pa.list_(pa.string())).combine_chunks()
        genres = pc.index_in(pc.list_flatten(lists), pa.array(self.catalogue.genre_names, pa.string()))
        genres = pc.fill_null(genres, -1).to_numpy(zero_copy_only=False)
        owners = pc.list_parent_indices(lists).to_numpy()
        picked[owners[genres >= 0], genres[genres >= 0]] = 1
        return np.stack([self.watched.genre_shares, picked], axis=1)

    @cached_property
    def genre_weights(self) -> Floats:
        """Genres of each title, adding up to 1: float32 [I, G]."""
        has_genre = self.catalogue.has_genre.astype(np.float32)
        return np.asarray(has_genre / np.maximum(has_genre.sum(1, keepdims=True), 1), np.float32)

    @cached_property
    def als_moments(self) -> tuple[Floats, Floats]:
        """Mean and standard deviation of each user's ALS scores of all titles: float32 [U] each."""
        mean = self.als_items.mean(0)
        centred = self.als_items - mean
        spread = np.einsum("uk,kl,ul->u", self.als_users, centred.T @ centred / max(len(centred), 1), self.als_users)
        return self.als_users @ mean, np.sqrt(np.maximum(spread, 1e-12)).astype(np.float32)

    @cached_property
    def tower_normalisers(self) -> Floats:
        """Logarithm of the sum of the towers' exponentiated logits over what may be shown: float32 [U]."""
        items = self.tower_items[self.catalogue.may_be_shown]
        found = np.zeros(len(self.tower_users), np.float32)
        for start in range(0, len(found), 256):
            logits = self.tower_users[start : start + 256] @ items.T / self.tower_temperature
            most = logits.max(1, initial=0.0)
            found[start : start + 256] = most + np.log(np.exp(logits - most[:, None]).sum(1) + 1e-30)
        return found

    @cached_property
    def neighbour_scores(self) -> Floats:
        """How near each title is to what each user watched lately: float32 [U, I]."""
        return neighbour_sums(self.neighbours, Recent.of(self.histories, self.catalogue, HISTORY_LENGTH))

    @cached_property
    def recent(self) -> Integers:
        """The last completed titles that have a text: int64 [U, CONTENT_LENGTH], -1 where there are no more."""
        has_text = np.append(self.text_items.any(1), False)
        recent = self.watched.recent
        return np.where(has_text[recent], recent, -1)

    @cached_property
    def similarities(self) -> tuple[Integers, NDArray[np.float16]] | None:
        """The row of each title, int64 [I + 1], and similarities of lately completed titles to all: float16 [H, I].

        None where they are too many to be kept.
        """
        titles = np.unique(self.recent)
        titles = titles[titles >= 0]
        if len(titles) * len(self.catalogue) > _SIMILARITY_CELLS:
            return None
        rows = np.zeros(len(self.catalogue) + 1, np.int64)
        rows[titles] = np.arange(len(titles))
        similarities = np.empty((len(titles), len(self.catalogue)), np.float16)
        for start in range(0, len(titles), 1024):
            part = titles[start : start + 1024]
            similarities[start : start + 1024] = self.text_items[part] @ self.text_items.T
        return rows, similarities


def pair_inputs(
    knowledge: Knowledge, owners: Integers, positions: Integers, context: Context, slots: Integers
) -> RankerInputs:
    """What the ranker reads of N pairs of a user and a title.

    Args:
        knowledge: what was known before the pairs were shown.
        owners: int64 [N], rows of `knowledge.users`. Pairs of one user are best kept together: it is faster.
        positions: int64 [N], positions in `knowledge.catalogue`.
        context: of the pairs; at scoring, what is usual for the user.
        slots: int64 [N], the places at which the titles were shown; -1 where unknown, as at scoring.

    Raises:
        DataError: if the arrays do not fit each other or point outside what is known.
    """
    count = len(owners)
    devices = device_codes(context.devices)
    if {len(positions), len(slots), len(context.hours), len(context.weekdays), len(devices)} != {count}:
        raise DataError("owners, positions, slots and context of pairs are not equally long")
    for name, values, bound in (
        ("users", owners, knowledge.users.num_rows),
        ("titles", positions, len(knowledge.catalogue)),
    ):
        if count and not 0 <= int(values.min()) <= int(values.max()) < bound:
            raise DataError(f"pairs point to {name} outside the {bound} that are known")
    dense = np.empty((count, len(DENSE_FEATURES)), np.float32)
    codes = np.empty((count, len(CATEGORICALS)), np.int64)
    moments = _moments(context.hours, context.weekdays)
    item_start = len(USER_DENSE)
    context_start = item_start + len(ITEM_DENSE)
    pair_start = context_start + len(CONTEXT_DENSE)
    for start in range(0, count, _BLOCK):
        part = slice(start, min(start + _BLOCK, count))
        owner, position = owners[part], positions[part]
        dense[part, :item_start] = knowledge.user_dense[owner]
        dense[part, item_start:context_start] = knowledge.item_dense[position]
        dense[part, context_start:pair_start] = moments[part]
        dense[part, pair_start:] = _pair_dense(knowledge, owner, position)
        codes[part] = _pair_codes(knowledge, owner, position, devices[part])
    return RankerInputs(dense, codes, slots)


def usual_context(knowledge: Knowledge, owners: Integers, hours: Integers, weekdays: Integers) -> Context:
    """The context to score pairs in: each user's own device, and the hour and weekday given for each user.

    Args:
        knowledge: with U users.
        owners: int64 [N], rows of `knowledge.users`.
        hours: int64 [U], the hour at which each user mostly watches.
        weekdays: int64 [U], the day of the week to score for.
    """
    devices = name_codes("device", knowledge.users.column("device"))
    return Context(hours[owners], weekdays[owners], devices[owners])


def _pair_dense(knowledge: Knowledge, owners: Integers, positions: Integers) -> Floats:
    catalogue, watched = knowledge.catalogue, knowledge.watched
    base = len(catalogue) + 1
    columns: dict[str, Floats] = {}
    columns["als_score"] = _dots(knowledge.als_users, owners, knowledge.als_items, positions)
    columns["tower_score"] = _dots(knowledge.tower_users, owners, knowledge.tower_items, positions)
    means, spreads = knowledge.als_moments
    columns["als_standing"] = (columns["als_score"] - means[owners]) / spreads[owners]
    columns["als_standing"] *= columns["als_score"] != 0
    logits = columns["tower_score"] / np.float32(knowledge.tower_temperature)
    columns["tower_log_share"] = logits - knowledge.tower_normalisers[owners]
    columns["item_item_score"] = np.log1p(knowledge.neighbour_scores[owners, positions])
    columns["content_mean"], columns["content_best"] = _content(knowledge, owners, positions)
    series = catalogue.series[positions]
    in_series = np.flatnonzero(series >= 0)
    keys = owners[in_series] * base
    progress = np.zeros((3, len(owners)), np.float32)
    progress[0, in_series] = watched.next_episodes.of(keys + positions[in_series]) > 0
    keys += series[in_series]
    progress[1, in_series] = np.log1p(watched.series.of(keys))
    progress[2, in_series] = watched.series_completed.of(keys) / watched.series_lengths[series[in_series]]
    columns["is_next_episode"], columns["series_watched"], columns["series_completed_share"] = progress
    main_genres = catalogue.main_genres[positions]
    for length, shares in zip(FATIGUE_LENGTHS, watched.lately, strict=True):
        columns[f"genre_share_{length}"] = shares[owners, main_genres]
    columns["language_share"] = watched.language_shares[owners, catalogue.languages[positions]]
    columns["kind_share"] = watched.kind_shares[owners, catalogue.kinds[positions]]
    creators = catalogue.creators[positions]
    columns["creator_watched"] = np.log1p(watched.creators.of(np.where(creators >= 0, owners * base + creators, -1)))
    tastes = np.einsum("nbg,ng->bn", knowledge.tastes[owners], knowledge.genre_weights[positions])
    columns["genre_affinity"], columns["onboarding_match"] = tastes
    return np.stack([columns[feature.name] for feature in PAIR_DENSE], axis=1)


def _dots(users: Floats, owners: Integers, items: Floats, positions: Integers) -> Floats:
    scores: Floats = np.einsum("nk,nk->n", users[owners], items[positions])
    return scores


def _content(knowledge: Knowledge, owners: Integers, positions: Integers) -> tuple[Floats, Floats]:
    """Mean and largest similarity of titles to those that their users completed last: float32 [N] each."""
    total = np.zeros(len(owners), np.float32)
    best = np.full(len(owners), -1, np.float32)
    recent = knowledge.recent[owners]
    kept = knowledge.similarities
    for back in range(CONTENT_LENGTH):
        title = recent[:, back]
        if kept is None:
            similarity = _dots(knowledge.text_items, title, knowledge.text_items, positions)
        elif len(kept[1]):
            rows, similarities = kept
            similarity = similarities[rows[title], positions].astype(np.float32)
        else:
            break
        is_there = title >= 0
        total += np.where(is_there, similarity, np.float32(0))
        np.maximum(best, np.where(is_there, similarity, np.float32(-1)), out=best)
    counts = (recent >= 0).sum(1)
    has_text = knowledge.item_dense[positions, _HAS_TEXT] > 0
    best = np.where((counts > 0) & has_text, best, np.float32(0))
    return total / np.maximum(counts, 1).astype(np.float32), best


_HAS_TEXT = [feature.name for feature in ITEM_DENSE].index("item_has_text")


def _moments(hours: Integers, weekdays: Integers) -> Floats:
    hour, weekday = hours * (2 * np.pi / 24), weekdays * (2 * np.pi / 7)
    return np.stack(
        [np.sin(hour), np.cos(hour), np.sin(weekday), np.cos(weekday), weekdays >= 5], axis=1, dtype=np.float32
    )


def _user_dense(knowledge: Knowledge) -> Floats:
    features, day = knowledge.user_features, knowledge.catalogue.day.toordinal() - _EPOCH
    signup = _days(knowledge.users.column("signup_at"))
    idle = np.nan_to_num(day - _days(features.column("last_played_at")), nan=_LONGEST_IDLE_DAYS)
    columns = {
        **{f"user_{name}": np.log1p(_numbers(features, name)) for name in _PLAY_COUNTS},
        "user_watched_share": _drawn_share(features, "mean_watched_share_28d"),
        "user_complete_share": _drawn_share(features, "complete_count_28d"),
        "user_history_length": np.log1p(np.diff(knowledge.histories.offsets)),
        "user_idle_days": np.log1p(idle.clip(0, _LONGEST_IDLE_DAYS)),
        "user_age_days": np.log1p(np.nan_to_num(day - signup, nan=0.0).clip(0)),
    }
    return np.stack([columns[feature.name] for feature in USER_DENSE], axis=1).astype(np.float32)


def _item_dense(knowledge: Knowledge) -> Floats:
    catalogue, features = knowledge.catalogue, knowledge.item_features
    day = catalogue.day.toordinal() - _EPOCH
    years = np.where(catalogue.release_years > 0, catalogue.day.year - catalogue.release_years, 0)
    recent, month = _numbers(features, "play_count_7d"), _numbers(features, "play_count_28d")
    columns = {
        **{f"item_{name}": np.log1p(_numbers(features, name)) for name in _PLAY_COUNTS},
        "item_trend": np.log((4 * recent + 1) / (month + 1)),
        "item_watched_share": _drawn_share(features, "mean_watched_share_28d"),
        "item_complete_share": _drawn_share(features, "complete_count_28d"),
        "item_published_days": np.log1p((day - catalogue.published_days).clip(0)),
        "item_release_years": np.log1p(years.clip(0)),
        "item_maturity": catalogue.maturities / 18,
        "item_is_episode": catalogue.series >= 0,
        "item_has_text": knowledge.text_items.any(1),
    }
    return np.stack([columns[feature.name] for feature in ITEM_DENSE], axis=1).astype(np.float32)


# 1970-01-01 as a proleptic ordinal.
_EPOCH = 719_163
_PLAY_COUNTS = ("play_count_7d", "play_count_28d", "play_count")


def _numbers(table: pa.Table, name: str) -> NDArray[np.float64]:
    values: NDArray[np.float64] = pc.fill_null(table.column(name).cast(pa.float64()), 0.0).to_numpy()
    return values


def _days(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Days since 1970 of timestamps: float64, NaN for null."""
    moments = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).cast(pa.float64(), safe=False)
    return np.asarray(pc.fill_null(moments, np.nan).to_numpy() // _DAY_MICROSECONDS, np.float64)


def _drawn_share(table: pa.Table, name: str) -> NDArray[np.float64]:
    """A share of the plays of 28 days, drawn to that of all plays, the more so the fewer plays there are."""
    plays, values = _numbers(table, "play_count_28d"), _numbers(table, name)
    sums = values if name.endswith("_count_28d") else values * plays
    prior = sums.sum() / plays.sum() if plays.sum() else 0.5
    drawn: NDArray[np.float64] = (sums + prior * _PRIOR_PLAYS) / (plays + _PRIOR_PLAYS)
    return drawn


def _pair_codes(knowledge: Knowledge, owners: Integers, positions: Integers, devices: Integers) -> Integers:
    users, items = knowledge.user_codes[owners], knowledge.item_codes[positions]
    crossed = (
        crossed_codes(users[:, 0], items[:, 0], "age_band_x_main_genre"),
        crossed_codes(users[:, 2], items[:, 1], "country_x_language"),
    )
    return np.concatenate([users, items, np.stack([devices, *crossed], axis=1)], axis=1)
