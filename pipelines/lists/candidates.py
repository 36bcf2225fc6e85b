"""Titles that may become a user's list: what each source proposes, merged by quota, with the reason of each.

How proposals are fused is in `pipelines.lists.fusing`, what explains a candidate in `pipelines.lists.reasons`.

Shapes: U users, B users of a block, N candidates of all users together, I titles of the catalogue, K factors of ALS,
W width of a tower vector, D width of a text vector, C candidates of a user.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_defs.recommendations import HISTORY_LENGTH, SOURCES
from pipelines.blas_threads import one_blas_thread
from pipelines.catalogue import Catalogue
from pipelines.errors import DataError
from pipelines.histories import Histories
from pipelines.lists import reasons, sources
from pipelines.lists.candidate_configuration import CandidateConfiguration
from pipelines.lists.forbidden import forbidden
from pipelines.lists.fusing import Proposals, fuse
from pipelines.models.interests import Interests
from pipelines.models.item_item import Neighbours
from pipelines.models.nearest import NearestIndex
from pipelines.models.ranker_titles import Titles
from pipelines.models.recent import Recent

# Cells of user x title held at once: 4 MiB of float32, which stay in the processor's cache.
_CELLS = 1024 * 1024
_USERS_AT_ONCE = 512
_CODES = {name: code for code, name in enumerate(SOURCES)}

_Number = TypeVar("_Number", bound=np.number)

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Candidates:
    """Candidates in compressed rows: those of user `u` stand at `offsets[u]:offsets[u + 1]`, in retrieval order.

    `user_ids`: int64 [U]. `offsets`: int64 [U + 1]. `positions`: int64 [N], where each stands in the catalogue of the
    day. `sources`: int64 [N], codes of `feature_defs.recommendations.SOURCES`: the source that ranked it highest.
    `reasons`: int64 [N], how far back in the user's history the title that explains it is, 0 for the newest, -1 where
    there is none. `scores`: float32 [N], the fused retrieval score by which they are ordered.
    """

    user_ids: NDArray[np.int64]
    offsets: NDArray[np.int64]
    positions: NDArray[np.int64]
    sources: NDArray[np.int64]
    reasons: NDArray[np.int64]
    scores: NDArray[np.float32]

    def owners(self) -> NDArray[np.int64]:
        """To which user each candidate belongs, as a position: int64 [N]."""
        return np.repeat(np.arange(len(self.user_ids)), np.diff(self.offsets))


@dataclass(frozen=True)
class Retrieval:
    """What sources propose from; positions are those of `catalogue`.

    `als_items`: float32 [I, K], zero rows where ALS does not know the title. `tower_items`: float32 [I, W], with
    `index` over them. `text_items`: float32 [I, D], unit rows, zero where a title has no text. `neighbours`: of the
    titles, by who watched them. `popularity`, `popularity_recent`: int64 [I], plays ever and in the last 7 days.
    """

    catalogue: Catalogue
    als_items: Floats
    tower_items: Floats
    index: NearestIndex
    text_items: Floats
    neighbours: Neighbours
    popularity_recent: Integers
    popularity: Integers

    def __post_init__(self) -> None:
        parts: dict[str, NDArray[np.number]] = {
            "ALS vectors": self.als_items,
            "tower vectors": self.tower_items,
            "text vectors": self.text_items,
            "neighbours": self.neighbours.positions,
            "recent plays": self.popularity_recent,
            "plays": self.popularity,
        }
        for name, values in parts.items():
            if len(values) != len(self.catalogue):
                raise DataError(
                    f"the catalogue has {len(self.catalogue)} titles, and there are {name} of {len(values)}"
                )
            if not np.isfinite(values).all():
                raise DataError(f"the {name} of titles are not all finite")
        for name in ("als_items", "tower_items", "text_items"):
            # What was read from a file may not be written to, and compiled code would be compiled once more for it.
            object.__setattr__(self, name, np.require(getattr(self, name), np.float32, ["C", "W"]))
        self.index.check_belongs(self.tower_items)

    @cached_property
    def als_knows(self) -> NDArray[np.bool_]:
        """Which titles ALS knows: bool [I]."""
        return np.asarray(self.als_items.any(1))

    @cached_property
    def towers_know(self) -> NDArray[np.bool_]:
        """Which titles have a tower vector: bool [I]."""
        return np.asarray(self.tower_items.any(1))

    @cached_property
    def has_text(self) -> NDArray[np.bool_]:
        """Which titles have a text vector: bool [I]."""
        return np.asarray(self.text_items.any(1))

    @cached_property
    def by_recent_plays(self) -> Integers:
        """Titles played lately, most plays first; ties by plays ever, then by position."""
        order = np.lexsort((-self.popularity, -self.popularity_recent))
        return order[self.popularity_recent[order] > 0]

    @cached_property
    def by_plays(self) -> Integers:
        """All titles, most plays first; ties by position."""
        return np.argsort(-self.popularity, kind="stable")

    @cached_property
    def _titles(self) -> dict[int, Titles]:
        return {}

    def titles(self, item_features: pa.Table, interests: Interests) -> Titles:
        """What the ranker reads of the titles alone, the same object each time that the same is given.

        Args:
            item_features: rows of ITEM_FEATURES, aligned with the catalogue.
            interests: of the model set that proposes.
        """
        kept = self._titles.get(id(item_features))
        if kept is None or kept.item_features is not item_features or kept.interests is not interests:
            kept = Titles(self.catalogue, item_features, self.als_items, self.text_items, interests)
            self._titles[id(item_features)] = kept
        return kept


def candidates(
    retrieval: Retrieval,
    histories: Histories,
    als_users: Floats,
    tower_users: Floats,
    configuration: CandidateConfiguration,
    maturity_limits: Integers | None = None,
    cohort_users: Floats | None = None,
    *,
    with_reasons: bool = True,
) -> Candidates:
    """The titles of each user that may become a list, fused from all sources, best first.

    Never a title of the user's history, one that may not be shown, or one above the user's maturity limit. Places that
    the quotas leave free are filled with the next best of the towers, then with the most popular. The reason of a
    title is among the newest 40 of the history, which a list carries: for most sources the nearest title there, for an
    episode the closest before it; none for what trends, is new or popular, or has nothing near.

    Args:
        retrieval: what is proposed from.
        histories: of the users, U, whole.
        als_users: float32 [U, K]; a user with a zero row gets nothing from ALS.
        tower_users: float32 [U, W]; a user with a zero row gets nothing from the towers.
        configuration: how many, and from where.
        maturity_limits: int64 [U], the largest age each may see; None: no user has one.
        cohort_users: float32 [U, K], ALS vectors of the users' cohorts, zero rows for those who need none; None: nobody
            does.
        with_reasons: whether reasons are looked for, or are all -1, as for those of whom a few are kept.

    Raises:
        DataError: where vectors have other shapes or are not all finite.
    """
    count = len(histories.user_ids)
    cohort_users = np.zeros_like(als_users) if cohort_users is None else cohort_users
    for name, users, items in (
        ("ALS", als_users, retrieval.als_items),
        ("tower", tower_users, retrieval.tower_items),
        ("cohort", cohort_users, retrieval.als_items),
    ):
        if users.shape != (count, items.shape[1]):
            raise DataError(f"{count} users need {name} vectors of width {items.shape[1]}, and these are {users.shape}")
        if not np.isfinite(users).all():
            raise DataError(f"the {name} vectors of users are not all finite")
    step = min(max(1, _CELLS // max(len(retrieval.catalogue), 1)), _USERS_AT_ONCE)
    with one_blas_thread():
        parts = [
            _of_block(
                retrieval,
                histories.of(histories.user_ids[start : start + step]),
                als_users[start : start + step],
                tower_users[start : start + step],
                configuration,
                None if maturity_limits is None else maturity_limits[start : start + step],
                cohort_users[start : start + step],
            )
            for start in range(0, max(count, 1), step)
        ]
    found = Candidates(
        user_ids=histories.user_ids,
        offsets=np.cumsum(np.concatenate([[0], *(np.diff(part.offsets) for part in parts)]), dtype=np.int64),
        positions=np.concatenate([part.positions for part in parts]),
        sources=np.concatenate([part.sources for part in parts]),
        reasons=np.concatenate([part.reasons for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
    )
    if not with_reasons:
        return found
    positions, codes = padded(found, found.positions, -1), padded(found, found.sources, 0)
    return replace(found, reasons=explained(retrieval, histories, positions, codes)[positions >= 0])


def padded(found: Candidates, values: NDArray[_Number], empty: float) -> NDArray[_Number]:
    """A number of each candidate, [N], as a matrix [U, C], `empty` where a user has fewer; at least one column."""
    counts = np.diff(found.offsets)
    matrix = np.full((len(counts), max(int(counts.max(initial=0)), 1)), empty, values.dtype)
    matrix[np.arange(matrix.shape[1]) < counts[:, None]] = values
    return matrix


def compressed(
    user_ids: Integers, positions: Integers, source_codes: Integers, explained: Integers, scores: Floats
) -> Candidates:
    """Candidates from matrices [U, C], in which -1 as a position means that there is none."""
    is_there = positions >= 0
    return Candidates(
        user_ids=user_ids,
        offsets=np.concatenate([[0], np.cumsum(is_there.sum(1))]).astype(np.int64),
        positions=positions[is_there],
        sources=source_codes[is_there],
        reasons=explained[is_there],
        scores=scores[is_there],
    )


def _of_block(
    retrieval: Retrieval,
    histories: Histories,
    als_users: Floats,
    tower_users: Floats,
    configuration: CandidateConfiguration,
    maturity_limits: Integers | None,
    cohort_users: Floats,
) -> Candidates:
    blocked = forbidden(retrieval.catalogue, histories, maturity_limits)
    recent = Recent.of(histories, retrieval.catalogue, HISTORY_LENGTH)
    proposals = _proposals(retrieval, histories, recent, als_users, tower_users, blocked, configuration)
    if configuration.quotas.cohort and cohort_users.any():
        proposals["cohort"] = sources.by_vectors(
            cohort_users, retrieval.als_items, retrieval.als_knows, blocked, configuration.quotas.cohort
        )
    quotas = {name: int(getattr(configuration.quotas, name)) for name in proposals}
    weights = {name: float(getattr(configuration.weights, name)) for name in proposals}
    names = list(proposals)
    # Half of what the last place of any source is worth.
    last = [weights[name] / (configuration.rank_constant + 1 + quotas[name]) for name in names if quotas[name]]
    fused = fuse(
        Proposals(
            np.concatenate([np.zeros((len(blocked), 0), np.int64), *proposals.values()], axis=1),
            np.cumsum([0, *(proposals[name].shape[1] for name in names)]),
            np.array([quotas[name] for name in names], np.int64),
            np.array([weights[name] for name in names], np.float64),
            np.array([_CODES[name] for name in names], np.int64),
            names.index("towers") if "towers" in names else -1,
        ),
        blocked,
        retrieval.by_plays,
        configuration.count,
        configuration.rank_constant,
        float(np.float32(min(last, default=1.0))) / 2,
        _CODES["most_popular"],
    )
    return compressed(
        histories.user_ids, fused.positions, fused.sources, np.full_like(fused.positions, -1), fused.scores
    )


def _proposals(
    retrieval: Retrieval,
    histories: Histories,
    recent: Recent,
    als_users: Floats,
    tower_users: Floats,
    blocked: NDArray[np.bool_],
    configuration: CandidateConfiguration,
) -> dict[str, Integers]:
    """What each source proposes, best first: int64 [B, quota] by source, -1 where it has no more.

    The towers propose as many as there are candidates: what goes beyond their quota fills free places.
    """
    quotas = configuration.quotas
    catalogue = retrieval.catalogue
    proposals: dict[str, Integers] = {}
    if quotas.towers:
        wanted = max(configuration.count, quotas.towers)
        if len(catalogue) > configuration.search_above:
            proposals["towers"] = sources.by_index(retrieval.index, tower_users, retrieval.towers_know, blocked, wanted)
        else:
            proposals["towers"] = sources.by_vectors(
                tower_users, retrieval.tower_items, retrieval.towers_know, blocked, wanted
            )
    if quotas.als:
        proposals["als"] = sources.by_vectors(als_users, retrieval.als_items, retrieval.als_knows, blocked, quotas.als)
    if quotas.item_item:
        proposals["item_item"] = sources.by_neighbours(retrieval.neighbours, recent, blocked, quotas.item_item)
    if quotas.content:
        profiles = sources.text_profiles(retrieval.text_items, recent, configuration.profile_length)
        proposals["content"] = sources.by_vectors(
            profiles, retrieval.text_items, retrieval.has_text, blocked, quotas.content
        )
    if quotas.trending:
        proposals["trending"] = sources.first_open(retrieval.by_recent_plays, blocked, quotas.trending)
    if quotas.next_episode:
        proposals["next_episode"] = sources.next_episodes(
            catalogue, histories, blocked, quotas.next_episode, ahead=configuration.episodes_ahead
        )
    if quotas.new_title:
        proposals["new_title"] = sources.new_titles(
            catalogue,
            tower_users,
            retrieval.tower_items,
            blocked,
            quotas.new_title,
            days=configuration.new_days,
            bonus=configuration.new_bonus,
        )
    return proposals


def explained(retrieval: Retrieval, histories: Histories, positions: Integers, source_codes: Integers) -> Integers:
    """How far back in the history the reason of each candidate is: int64 [U, C], -1 for none.

    Args:
        retrieval: what proposed them.
        histories: of U users, whole.
        positions: int64 [U, C] in the catalogue, -1 where there is no candidate.
        source_codes: int64 [U, C], which source each is from.
    """
    recent = Recent.of(histories, retrieval.catalogue, HISTORY_LENGTH)
    found = np.full(positions.shape, -1, np.int64)
    is_there = positions >= 0
    for name, items in (
        ("towers", retrieval.tower_items),
        ("als", retrieval.als_items),
        ("content", retrieval.text_items),
    ):
        reasons.nearest(items, positions, is_there & (source_codes == _CODES[name]), recent, found)
    is_near = is_there & (source_codes == _CODES["item_item"])
    reasons.nearest_neighbours(retrieval.neighbours, positions, is_near, recent, found)
    is_next = is_there & (source_codes == _CODES["next_episode"])
    reasons.previous(retrieval.catalogue.previous_episodes, positions, is_next, recent, found)
    return found
