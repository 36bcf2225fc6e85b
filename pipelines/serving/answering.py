"""A question in, an answer out: which list is there for this user, and what of it may be shown.

The lists of a user in the order in which they are tried, each named in the answer's source: the user's own, that of
the cohort of what they said at sign-up, what trends in the live run. Where no store ever answered, the newest snapshot
is all there is. Whoever opted out, or asks for it, gets the newest titles first: of them the flag and the maturity
limit are read, and nothing else.

All of an answer is of one run: a list of the snapshot counts only while it is of the run that is live, and a page goes
on in the run of the page before it.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple

import msgspec

from pipelines.errors import UnavailableError
from pipelines.lists.codec import CorruptListError, UserList, unpack
from pipelines.serving.answers import Recommendations
from pipelines.serving.compiled import arrange
from pipelines.serving.feeds import chronological, similar, trending
from pipelines.serving.lookup import LiveLists
from pipelines.serving.metrics import Metrics
from pipelines.serving.page_tokens import Page, PageTokens
from pipelines.serving.placed import Arranged, Asked
from pipelines.serving.problems import ProblemError, unavailable
from pipelines.serving.questions import Query
from pipelines.serving.snapshots import Snapshot, Snapshots
from pipelines.stores.interface import Live
from pipelines.stores.lookup import Found
from pipelines.stores.user_state import UserState

RETRY_SECONDS = 5
SNAPSHOT = "snapshot"
# Who nobody can say anything about may be a child.
_LIMIT_OF_UNKNOWN = 12
_UNKNOWN = UserState(maturity_limit=_LIMIT_OF_UNKNOWN)
_NOTHING = Arranged([], (), {})
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_NOT_SERVED: frozenset[int] = frozenset()


class Given(NamedTuple):
    """An answer, and how it came about.

    `is_remembered`: not that of a user who opted out. `user_list`: the user's own, where there was one to be read.
    """

    answer: Recommendations
    arranged: Arranged
    answered_at: datetime
    is_remembered: bool
    user_list: UserList | None = None
    state: UserState | None = None


class Answering:
    """Answers questions from the stores and the snapshot."""

    def __init__(self, lists: LiveLists, snapshots: Snapshots | None, tokens: PageTokens, metrics: Metrics) -> None:
        self._lists = lists
        self._snapshots = snapshots
        self._tokens = tokens
        self._metrics = metrics

    @property
    def snapshot(self) -> Snapshot | None:
        """The one that answers are made with; none before the first could be read."""
        return self._snapshots.current if self._snapshots is not None else None

    async def of_user(self, user_id: int, query: Query) -> Given:
        """The titles for a user.

        Raises:
            ProblemError: 400, if the page token is none of ours; 410, if its run is no longer kept; 503, if nothing was
                ever published or no store can be read and there is no snapshot.
        """
        request_id = os.urandom(16).hex()
        if query.page_token is None:
            page, seed = None, int(request_id[:15], 16)
            asked = _asked(user_id, query, _NOT_SERVED, 0, seed)
        else:
            page = self._tokens.read(query.page_token, (user_id, query.surface, query.mode))
            asked = _asked(user_id, query, page.served, page.number, page.seed)
        if query.mode == "chronological":
            return await self._newest_for(request_id, asked, query, page)
        try:
            found = await self._lists.find(user_id, query.surface, _at(page))
        except UnavailableError:
            return self._from_snapshot(request_id, asked, query, page)
        if found is None:
            raise (
                _gone()
                if page is not None and page.attempt
                else unavailable("No list has been published yet.", RETRY_SECONDS)
            )
        if page is not None and page.run_id != found.live.run_id:
            raise _gone()
        if found.state.opts_out:
            if self.snapshot is not None:
                return self._newest(request_id, asked, query, page, found.state.limit, is_remembered=False)
            found = found._replace(user_list=None)
        return self._from_lists(request_id, asked, query, page, found)

    def similar_to(self, item_id: int, query: Query) -> Recommendations:
        """Titles near one, for nobody in particular.

        Raises:
            ProblemError: 404, if the catalogue does not know the title; 503, if there is no snapshot.
        """
        snapshot = self._needed_snapshot()
        if snapshot.titles.get(item_id) is None:
            raise ProblemError(HTTPStatus.NOT_FOUND, "The catalogue does not know this title.")
        request_id = os.urandom(16).hex()
        asked = _asked(0, query, _NOT_SERVED, 0, int(request_id[:15], 16))
        return _of_snapshot(request_id, snapshot, "similar", similar(snapshot, item_id, asked, query.maturity_limit))

    def trending(self, query: Query) -> Recommendations:
        """What trends, for nobody in particular.

        Raises:
            ProblemError: 503, if there is no snapshot.
        """
        snapshot, request_id = self._needed_snapshot(), os.urandom(16).hex()
        asked = _asked(0, query, _NOT_SERVED, 0, int(request_id[:15], 16))
        listed = self._shared(snapshot.trending)
        if listed is None:
            return _of_snapshot(request_id, snapshot, "none", _NOTHING)
        return _of_snapshot(request_id, snapshot, "trending", trending(snapshot, listed, asked, query.maturity_limit))

    def _from_lists(self, request_id: str, asked: Asked, query: Query, page: Page | None, found: Found) -> Given:
        live, snapshot, state = found.live, self.snapshot, found.state
        is_of_run = snapshot is not None and snapshot.run_id == live.run_id
        if snapshot is not None and not is_of_run:
            # Its titles and rules hold; its models are of other lists.
            snapshot = snapshot.without_draws
        arranged, source, own, generated_at = _NOTHING, "none", None, None
        for kind, user_list in self._lists_of(found, snapshot if is_of_run else None):
            generated_at = generated_at or user_list.generated_at
            is_limited = kind == "personal" or found.is_state_known or snapshot is None
            limited = state if is_limited else _UNKNOWN
            tried = arrange(user_list, _limited(limited, query), snapshot, asked)
            if kind == "personal":
                own = user_list
            if tried.items:
                arranged, source, generated_at = tried, kind, user_list.generated_at
                break
        known = snapshot if is_of_run else None
        answer = Recommendations(
            request_id,
            live.run_id,
            known.model_set if known is not None else None,
            known.audit_id if known is not None else None,
            generated_at or live.moved_at.astimezone(UTC),
            source,
            found.store,
            arranged.items,
            arranged.relaxed,
            self._next(page or Page(live.run_id, live.attempt, asked.seed, 0, _NOT_SERVED), arranged, asked, query),
        )
        return Given(answer, arranged, asked.now, not state.opts_out, own, state)

    def _lists_of(self, found: Found, snapshot: Snapshot | None) -> Iterator[tuple[str, UserList]]:
        """The lists that there are for a user, in the order in which they are tried."""
        own = self._readable(found.user_list)
        if own is not None and len(own):
            yield "personal", own
        if snapshot is not None and not found.state.opts_out:
            cohort = self._shared(_cohort_of(snapshot, found.state))
            if cohort is not None:
                yield "cohort", cohort
        trends = self._shared(found.trending)
        if trends is not None:
            yield "trending", trends

    def _from_snapshot(self, request_id: str, asked: Asked, query: Query, page: Page | None) -> Given:
        """No store has ever said what is live, nor who the user is."""
        snapshot = self.snapshot
        if snapshot is None:
            raise unavailable("The lists cannot be read at the moment.", RETRY_SECONDS)
        page = _page_of(snapshot, page, asked)
        arranged, source = _NOTHING, "none"
        trends = self._shared(snapshot.trending)
        if trends is not None:
            arranged = arrange(trends, _limited(_UNKNOWN, query), snapshot, asked)
            source = "trending" if arranged.items else "none"
        following = self._next(page, arranged, asked, query)
        answer = _of_snapshot(request_id, snapshot, source, arranged, following)
        return Given(answer, arranged, asked.now, is_remembered=True)

    async def _newest_for(self, request_id: str, asked: Asked, query: Query, page: Page | None) -> Given:
        """The newest titles, for whoever asks for them: of the user the flag and the limit are read."""
        self._needed_snapshot()
        try:
            state = await self._lists.state(asked.user_id)
        except UnavailableError:
            state = _UNKNOWN
        is_remembered = not state.opts_out
        return self._newest(request_id, asked, query, page, state.limit, is_remembered=is_remembered)

    def _newest(
        self, request_id: str, asked: Asked, query: Query, page: Page | None, limit: int | None, *, is_remembered: bool
    ) -> Given:
        snapshot = self._needed_snapshot()
        page = _page_of(snapshot, page, asked)
        arranged = chronological(snapshot, _stricter(limit, query.maturity_limit), asked)
        source = "chronological" if arranged.items else "none"
        following = self._next(page, arranged, asked, query)
        answer = _of_snapshot(request_id, snapshot, source, arranged, following)
        return Given(answer, arranged, asked.now, is_remembered)

    def _needed_snapshot(self) -> Snapshot:
        snapshot = self.snapshot
        if snapshot is None:
            raise unavailable("The catalogue cannot be read at the moment.", RETRY_SECONDS)
        return snapshot

    def _next(self, page: Page, arranged: Arranged, asked: Asked, query: Query) -> str | None:
        if len(arranged.items) < asked.k:
            return None
        shown = [one.item_id for one in arranged.items]
        return self._tokens.make(page, shown, (asked.user_id, query.surface, query.mode))

    def _readable(self, data: bytes | None) -> UserList | None:
        try:
            return unpack(data) if data is not None else None
        except CorruptListError:
            self._metrics.counts["corrupt_lists"] += 1
            return None

    def _shared(self, data: bytes | None) -> UserList | None:
        """A list that many get, unpacked once."""
        try:
            return _unpacked(data) if data is not None else None
        except CorruptListError:
            self._metrics.counts["corrupt_lists"] += 1
            return None


_unpacked = lru_cache(256)(unpack)


def _asked(user_id: int, query: Query, served: frozenset[int], number: int, seed: int) -> Asked:
    return Asked(
        user_id,
        query.k,
        query.surface,
        query.device,
        query.country,
        query.exclude,
        served,
        number,
        seed,
        datetime.now(UTC),
    )


def _limited(state: UserState, query: Query) -> UserState:
    """What is kept about the user, with the stricter of two limits."""
    if query.maturity_limit is None:
        return state
    limit = _stricter(state.limit, query.maturity_limit)
    return msgspec.structs.replace(state, maturity_limit=limit)


def _stricter(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)


def _at(page: Page | None) -> Live | None:
    """The attempt that a page goes on in; of a page of the snapshot there is none."""
    return Live(page.run_id, page.attempt, 0, _LONG_AGO) if page is not None and page.attempt else None


def _page_of(snapshot: Snapshot, page: Page | None, asked: Asked) -> Page:
    if page is None:
        return Page(snapshot.run_id, 0, asked.seed, 0, _NOT_SERVED)
    if page.run_id != snapshot.run_id:
        raise _gone()
    return page


def _gone() -> ProblemError:
    return ProblemError(HTTPStatus.GONE, "The run of this page token is no longer kept; ask without it.")


def _of_snapshot(
    request_id: str, snapshot: Snapshot, source: str, arranged: Arranged, following: str | None = None
) -> Recommendations:
    return Recommendations(
        request_id,
        snapshot.run_id,
        snapshot.model_set,
        snapshot.audit_id,
        snapshot.generated_at,
        source,
        SNAPSHOT,
        arranged.items,
        arranged.relaxed,
        following,
    )


def _cohort_of(snapshot: Snapshot, state: UserState) -> bytes | None:
    """The list of those who said the same at sign-up, or nearly. `None`: nothing was said."""
    genre = state.onboarding_genres[0] if state.onboarding_genres else None
    if genre is None and state.age_band is None and state.city is None:
        return None
    for key in (
        (state.age_band, state.city, genre),
        (state.age_band, None, genre),
        (None, state.city, genre),
        (None, None, genre),
        (state.age_band, state.city, None),
        (None, state.city, None),
        (state.age_band, None, None),
        (None, None, None),
    ):
        if (data := snapshot.cohorts.get(key)) is not None:
            return data
    return None
