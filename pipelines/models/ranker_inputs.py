"""From what is known at a moment to what the ranker reads of (user, title) pairs: for learning and scoring alike.

One function makes the inputs of training impressions and of candidates, so that the two cannot differ. Only what
`Knowledge` holds is read; that it was all known before an impression is for its maker to see to.

Shapes: U users, I titles, G genres, L languages, N pairs, F dense features, C categoricals, D width of text vectors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_defs.interactions import COMPLETE_SHARE
from feature_defs.ranking import (
    CATEGORICALS,
    CONTEXT_DENSE,
    CROSSED_CATEGORICALS,
    DENSE_FEATURES,
    ITEM_DENSE,
    PAIR_DENSE,
    USER_CATEGORICALS,
    USER_DENSE,
)
from feature_defs.recommendations import HISTORY_LENGTH
from pipelines.catalogue import Catalogue
from pipelines.errors import DataError
from pipelines.histories import Histories
from pipelines.models.interests import Interests, watched_groups
from pipelines.models.item_item import Neighbours
from pipelines.models.ranker_codes import crossed_codes, device_codes, name_codes
from pipelines.models.ranker_counts import EPOCH, PLAY_COUNTS, days, drawn_share, numbers
from pipelines.models.ranker_pairs import Pasts, TitleSides, UserSides, pair_dense
from pipelines.models.ranker_titles import Titles

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

# Similarities of titles kept at once: 256 MiB of 16-bit integers. Beyond, they are computed pair by pair.
_SIMILARITY_CELLS = 128 * 1024 * 1024
_LONGEST_IDLE_DAYS = 365.0
# Which of USER_CATEGORICALS and of ITEM_CATEGORICALS each of CROSSED_CATEGORICALS puts together.
CROSSED = ((0, 0), (2, 1))
# Where the columns of each kind stand among DENSE_FEATURES.
_ENDS = np.cumsum([len(USER_DENSE), len(ITEM_DENSE), len(CONTEXT_DENSE), len(PAIR_DENSE)]).tolist()
_USER, _ITEM, _CONTEXT, _PAIR = (slice(start, end) for start, end in pairwise([0, *_ENDS]))


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
    `tower_items`: float32 [U, W], [I, W]. `text_items`: float32 [I, D], of unit length. Vectors are zeros where
    unknown. `neighbours`: of titles, by who watched them. `interests`: of people, in themes of texts.
    `tower_temperature`: by which a cosine of the towers is divided to be a logit. `shared`: what is known of these
    titles alone, where others were asked of them before.

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
    interests: Interests
    tower_temperature: float
    shared: Titles | None = None

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
    def titles(self) -> Titles:
        """What is known of titles alone."""
        return self.shared or Titles(
            self.catalogue, self.item_features, self.als_items, self.text_items, self.interests
        )

    @cached_property
    def user_dense(self) -> Floats:
        """Dense features of users: float32 [U, columns of USER_DENSE]."""
        return _user_dense(self)

    @cached_property
    def user_codes(self) -> Integers:
        """Codes of users: int64 [U, columns of USER_CATEGORICALS]."""
        columns = [name_codes(column.name, self.users.column(column.name)) for column in USER_CATEGORICALS]
        return np.stack(columns, axis=1)

    @cached_property
    def device_codes(self) -> Integers:
        """Codes of the devices that users mostly use: int64 [U]."""
        return name_codes("device", self.users.column("device"))

    @cached_property
    def picked_genres(self) -> Floats:
        """Genres picked at sign-up: float32 [U, G], 1 for each."""
        onboarding = self.users.column("onboarding_genres")
        picked = np.zeros((self.users.num_rows, len(self.catalogue.genre_names)), np.float32)
        lists = onboarding.cast(pa.list_(pa.string())).combine_chunks()
        genres = pc.index_in(pc.list_flatten(lists), pa.array(self.catalogue.genre_names, pa.string()))
        genres = pc.fill_null(genres, -1).to_numpy(zero_copy_only=False)
        owners = pc.list_parent_indices(lists).to_numpy()
        picked[owners[genres >= 0], genres[genres >= 0]] = 1
        return picked

    @cached_property
    def als_moments(self) -> tuple[Floats, Floats]:
        """Mean and standard deviation of each user's ALS scores of all titles: float32 [U] each."""
        mean, covariance = self.titles.als_moments
        spread = np.einsum("uk,uk->u", self.als_users @ covariance, self.als_users)
        return self.als_users @ mean, np.sqrt(np.maximum(spread, 1e-12)).astype(np.float32)

    @cached_property
    def tower_normalisers(self) -> Floats:
        """Logarithm of the sum of the towers' exponentiated logits over what may be shown: float32 [U]."""
        items = self.tower_items[self.catalogue.may_be_shown]
        found = np.zeros(len(self.tower_users), np.float32)
        for start in range(0, len(found), 256):
            logits = self.tower_users[start : start + 256] @ items.T
            logits /= np.float32(self.tower_temperature)
            most = logits.max(1, initial=0.0)
            logits -= most[:, None]
            found[start : start + 256] = most + np.log(np.exp(logits, out=logits).sum(1) + 1e-30)
        return found

    @cached_property
    def pasts(self) -> Pasts:
        """What each user watched, as positions in the catalogue."""
        histories = self.histories
        shares = np.clip(np.nan_to_num(histories.shares), 0, 1).astype(np.float32)
        titles = self.catalogue.positions(histories.item_ids)
        return Pasts(histories.offsets.astype(np.int64), titles, shares, histories.shares >= COMPLETE_SHARE)

    @cached_property
    def interest_lifts(self) -> Floats:
        """How much more of each theme each user watches than everybody, as a logarithm: float32 [U, themes]."""
        pasts = self.pasts
        watched = watched_groups(
            self.histories.owners(),
            pasts.titles,
            self.users.num_rows,
            self.titles.themes,
            len(self.interests.centres),
            self.catalogue.previous_episodes,
        )
        return self.interests.lifts(watched)

    @cached_property
    def user_sides(self) -> UserSides:
        """Of each user, what pairs are made of."""
        means, spreads = self.als_moments
        return UserSides(
            als=np.ascontiguousarray(self.als_users, np.float32),
            towers=np.ascontiguousarray(self.tower_users, np.float32),
            als_means=means,
            als_spreads=spreads,
            tower_normalisers=self.tower_normalisers,
            picked_genres=self.picked_genres,
            interest_lifts=self.interest_lifts,
        )

    @cached_property
    def title_sides(self) -> TitleSides:
        """Of each title, what pairs are made of; with the similarities to what these users completed last."""
        catalogue, titles = self.catalogue, self.titles
        similarities = np.empty((0, 0), np.int16)
        if len(catalogue) ** 2 <= _SIMILARITY_CELLS:
            completed = self.pasts.titles[self.pasts.is_complete & (self.pasts.titles >= 0)]
            titles.similarities.fill(completed)
            similarities = titles.similarities.table
        return TitleSides(
            als=np.ascontiguousarray(self.als_items, np.float32),
            towers=np.ascontiguousarray(self.tower_items, np.float32),
            texts=np.ascontiguousarray(self.text_items, np.float32),
            similarities=similarities,
            has_text=titles.has_text,
            neighbours=np.ascontiguousarray(self.neighbours.positions, np.int32),
            neighbour_weights=np.ascontiguousarray(self.neighbours.weights, np.float32),
            genre_weights=titles.genre_weights,
            has_genre=np.ascontiguousarray(catalogue.has_genre),
            themes=titles.themes,
            main_genres=catalogue.main_genres,
            languages=catalogue.languages,
            kinds=catalogue.kinds,
            creators=catalogue.creators,
            series=catalogue.series,
            next_episodes=catalogue.next_episodes,
            previous_episodes=catalogue.previous_episodes,
            series_lengths=titles.series_lengths,
        )


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
    titles = knowledge.titles
    dense[:, _USER], dense[:, _ITEM] = knowledge.user_dense[owners], titles.dense[positions]
    dense[:, _CONTEXT] = moments(context.hours, context.weekdays)
    dense[:, _PAIR] = pairs_of(knowledge, owners, positions)
    users, items = knowledge.user_codes[owners], titles.codes[positions]
    codes[:] = np.concatenate([users, items, devices[:, None], pair_codes(users, items)], axis=1)
    return RankerInputs(dense, codes, slots)


def pairs_of(knowledge: Knowledge, owners: Integers, positions: Integers) -> Floats:
    """What is read of users and titles together: float32 [N, columns of PAIR_DENSE].

    Args:
        knowledge: what is known.
        owners: int64 [N], rows of users.
        positions: int64 [N], of titles.
    """
    return pair_dense(
        owners,
        positions,
        knowledge.pasts,
        knowledge.user_sides,
        knowledge.title_sides,
        knowledge.tower_temperature,
        HISTORY_LENGTH,
    )


def pair_codes(users: Integers, items: Integers) -> Integers:
    """Codes of CROSSED_CATEGORICALS from codes of USER_CATEGORICALS and ITEM_CATEGORICALS: int64 [N, columns]."""
    columns = [
        crossed_codes(users[:, left], items[:, right], categorical.name)
        for (left, right), categorical in zip(CROSSED, CROSSED_CATEGORICALS, strict=True)
    ]
    return np.stack(columns, axis=1)


def usual_context(knowledge: Knowledge, owners: Integers, hours: Integers, weekdays: Integers) -> Context:
    """The context to score pairs in: each user's own device, and the hour and weekday given for each user.

    Args:
        knowledge: with U users.
        owners: int64 [N], rows of `knowledge.users`.
        hours: int64 [U], the hour at which each user mostly watches.
        weekdays: int64 [U], the day of the week to score for.
    """
    return Context(hours[owners], weekdays[owners], knowledge.device_codes[owners])


def moments(hours: Integers, weekdays: Integers) -> Floats:
    """Columns of CONTEXT_DENSE: float32 [N, columns].

    Args:
        hours: int64 [N], 0 to 23.
        weekdays: int64 [N], 0 for Monday.
    """
    hour, weekday = hours * (2 * np.pi / 24), weekdays * (2 * np.pi / 7)
    return np.stack(
        [np.sin(hour), np.cos(hour), np.sin(weekday), np.cos(weekday), weekdays >= 5], axis=1, dtype=np.float32
    )


def _user_dense(knowledge: Knowledge) -> Floats:
    features, day = knowledge.user_features, knowledge.catalogue.day.toordinal() - EPOCH
    signup = days(knowledge.users.column("signup_at"))
    idle = np.nan_to_num(day - days(features.column("last_played_at")), nan=_LONGEST_IDLE_DAYS)
    columns = {
        **{f"user_{name}": np.log1p(numbers(features, name)) for name in PLAY_COUNTS},
        "user_watched_share": drawn_share(features, "mean_watched_share_28d"),
        "user_complete_share": drawn_share(features, "complete_count_28d"),
        "user_history_length": np.log1p(np.diff(knowledge.histories.offsets)),
        "user_idle_days": np.log1p(idle.clip(0, _LONGEST_IDLE_DAYS)),
        "user_age_days": np.log1p(np.nan_to_num(day - signup, nan=0.0).clip(0)),
    }
    return np.stack([columns[feature.name] for feature in USER_DENSE], axis=1).astype(np.float32)
