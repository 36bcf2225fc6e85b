"""Titles that may become a user's list: what each source proposes, merged by quota, with the reason of each.

Sources are fused by weighted reciprocal ranks: Cormack, Clarke, Buettcher, "Reciprocal Rank Fusion outperforms
Condorcet and individual Rank Learning Methods" (2009). So their scores need no common scale.

Shapes: U users, B users of a block, N candidates of all users together, I titles of the catalogue, K factors of ALS,
W width of a tower vector, D width of a text vector, C candidates of a user.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from feature_defs.recommendations import HISTORY_LENGTH, SOURCES
from pipelines.blas_threads import one_blas_thread
from pipelines.catalogue import Catalogue
from pipelines.errors import DataError
from pipelines.histories import Histories
from pipelines.largest import largest
from pipelines.lists import reasons, sources
from pipelines.lists.candidate_configuration import CandidateConfiguration
from pipelines.lists.forbidden import forbidden
from pipelines.models.item_item import Neighbours
from pipelines.models.nearest import NearestIndex
from pipelines.models.recent import Recent

# Cells of user x title held at once: 8 MiB of float32 for each source.
_CELLS = 2 * 1024 * 1024
# Users whose candidates are explained at once: some 60 MB of gathered vectors.
_USERS_AT_ONCE = 512
_CODES = {name: code for code, name in enumerate(SOURCES)}

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
    def previous_episodes(self) -> Integers:
        """Which episode goes before each title: int64 [I], -1 for none."""
        previous = np.full(len(self.catalogue), -1, np.int64)
        following = self.catalogue.next_episodes
        previous[following[following >= 0]] = np.flatnonzero(following >= 0)
        return previous


def candidates(
    retrieval: Retrieval,
    histories: Histories,
    als_users: Floats,
    tower_users: Floats,
    configuration: CandidateConfiguration,
    maturity_limits: Integers | None = None,
    cohort_users: Floats | None = None,
) -> Candidates:
    """The titles of each user that may become a list, fused from all sources, best first.

    Never a title of the user's history, one that may not be shown, or one above the user's maturity limit. Places that
    the quotas leave free are filled with the next best of the towers, then with the most popular. The reason of a
    title is among the newest 40 of the history, which a list carries: for most sources the nearest title there, for an
    episode the one before it; none for what trends, is new or popular, or has nothing near.

    Args:
        retrieval: what is proposed from.
        histories: of the users, U, whole.
        als_users: float32 [U, K]; a user with a zero row gets nothing from ALS.
        tower_users: float32 [U, W]; a user with a zero row gets nothing from the towers.
        configuration: how many, and from where.
        maturity_limits: int64 [U], the largest age each may see; None: no user has one.
        cohort_users: float32 [U, K], ALS vectors of the users' cohorts, zero rows for those who need none; None: nobody
            does.

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
    return Candidates(
        user_ids=histories.user_ids,
        offsets=np.cumsum(np.concatenate([[0], *(np.diff(part.offsets) for part in parts)]), dtype=np.int64),
        positions=np.concatenate([part.positions for part in parts]),
        sources=np.concatenate([part.sources for part in parts]),
        reasons=np.concatenate([part.reasons for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
    )


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
    fused, contributors = _fused(proposals, blocked.shape, configuration)
    _fill(fused, contributors, proposals, retrieval.by_plays, blocked, configuration)
    positions = largest(np.where(fused > 0, fused, np.float32(-np.inf)), configuration.count)
    at = np.maximum(positions, 0)
    codes = np.take_along_axis(contributors, at, 1)
    scores = np.take_along_axis(fused, at, 1)
    return compressed(
        histories.user_ids, positions, codes.astype(np.int64), _explained(retrieval, positions, codes, recent), scores
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
        proposals["next_episode"] = sources.next_episodes(catalogue, histories, blocked, quotas.next_episode)
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


def _fused(
    proposals: dict[str, Integers], shape: tuple[int, ...], configuration: CandidateConfiguration
) -> tuple[Floats, NDArray[np.int8]]:
    """Sums of weighted reciprocal ranks, float32 [B, I], and the source of the largest part of each, int8 [B, I]."""
    fused = np.zeros(shape, np.float32)
    most = np.zeros(shape, np.float32)
    contributors = np.full(shape, _CODES["most_popular"], np.int8)
    for name, proposed in proposals.items():
        rows, ranks = np.nonzero(proposed[:, : getattr(configuration.quotas, name)] >= 0)
        at = rows * shape[1] + proposed[rows, ranks]
        worth = _worth(name, ranks, configuration)
        fused.reshape(-1)[at] += worth
        is_most = worth > most.reshape(-1)[at]
        most.reshape(-1)[at[is_most]] = worth[is_most]
        contributors.reshape(-1)[at[is_most]] = _CODES[name]
    return fused, contributors


def _worth(name: str, ranks: Integers, configuration: CandidateConfiguration) -> Floats:
    weight = float(getattr(configuration.weights, name))
    worth: Floats = (weight / (configuration.rank_constant + 1 + ranks)).astype(np.float32)
    return worth


def _fill(
    fused: Floats,
    contributors: NDArray[np.int8],
    proposals: dict[str, Integers],
    by_plays: Integers,
    blocked: NDArray[np.bool_],
    configuration: CandidateConfiguration,
) -> None:
    """Give titles that nobody proposed a score below all that were: the towers' next best, then the most popular."""
    lengths = {name: getattr(configuration.quotas, name) for name in proposals}
    last = [float(_worth(name, np.array([length]), configuration)[0]) for name, length in lengths.items() if length]
    floor = min(last, default=1.0) / 2
    short = np.flatnonzero((fused > 0).sum(1) < configuration.count)
    if "towers" in proposals and len(short):
        following = proposals["towers"][short]
        rows, ranks = np.nonzero(following >= 0)
        _write_free(fused, short[rows], following[rows, ranks], floor * (1 - ranks / (2 * following.shape[1])))
        is_new = contributors[short[rows], following[rows, ranks]] == _CODES["most_popular"]
        contributors[short[rows][is_new], following[rows, ranks][is_new]] = _CODES["towers"]
        short = short[(fused[short] > 0).sum(1) < configuration.count]
    if len(short):
        popular = sources.first_open(by_plays, blocked[short] | (fused[short] > 0), configuration.count)
        rows, ranks = np.nonzero(popular >= 0)
        _write_free(fused, short[rows], popular[rows, ranks], floor * (1 - ranks / configuration.count) / 2)


def _write_free(fused: Floats, rows: Integers, positions: Integers, values: NDArray[np.float64]) -> None:
    free = fused[rows, positions] == 0
    fused[rows[free], positions[free]] = values[free]


def _explained(retrieval: Retrieval, positions: Integers, codes: NDArray[np.int8], recent: Recent) -> Integers:
    """How far back in the history the reason of each candidate is: int64 [B, C], -1 for none."""
    explained = np.full(positions.shape, -1, np.int64)
    vectors = {"towers": retrieval.tower_items, "als": retrieval.als_items, "content": retrieval.text_items}
    for name in ("towers", "als", "content", "item_item", "next_episode"):
        rows, columns, packed = reasons.packed(positions, (codes == _CODES[name]) & (positions >= 0))
        if not len(rows):
            continue
        if name == "item_item":
            back = reasons.nearest_neighbours(retrieval.neighbours, packed, recent, len(retrieval.catalogue))
        elif name == "next_episode":
            back = reasons.previous(retrieval.previous_episodes, packed, recent)
        else:
            back = reasons.nearest(vectors[name], packed, recent)
        explained[rows, columns] = back[packed >= 0]
    return explained
