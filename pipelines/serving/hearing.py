"""What users do and decide: on disk, and in force in the very next answer, before it is acknowledged.

Of a user who opted out of personalisation only plays and reports are taken: a play counts in the totals of its title,
and says neither which answer it came from nor where it was played; nothing is written to what is kept about the user.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

import msgspec

from feature_defs.interactions import COMPLETE_SHARE
from pipelines.errors import RefusedError, UnavailableError
from pipelines.serving.bodies import decoded
from pipelines.serving.heard import MOST_EVENTS, Event, Onboarding, Preferences, Taken
from pipelines.serving.lookup import LiveLists
from pipelines.serving.metrics import Metrics
from pipelines.serving.problems import ProblemError, Refused, unavailable, wrong
from pipelines.serving.remembering import Remembering
from pipelines.spool import EventRecord, Preference, Record
from pipelines.stores.user_state import NOBODY, UserState

_RETRY_SECONDS = 2
# As `feature_defs.events.EVENTS` declares: a clock wrong by more is refused here, where its owner hears of it.
_EARLIEST, _LATEST = timedelta(days=366), timedelta(days=1)
# What is read with each answer is bounded: the oldest go first, and are in the next night's history by then.
_MOST_WATCHED = 500
_MOST_NOT_INTERESTED = 1000
_USERS_AT_ONCE = 16
_RAW = msgspec.json.Decoder(list[msgspec.Raw])
_EVENT = msgspec.json.Decoder(Event)


class _WithId(msgspec.Struct, frozen=True):
    event_id: str | None = None


_WITH_ID = msgspec.json.Decoder(_WithId)


class Hearing:
    """Takes events and decisions."""

    def __init__(self, lists: LiveLists, remembering: Remembering, metrics: Metrics) -> None:
        self._lists = lists
        self._remembering = remembering
        self._metrics = metrics

    async def take(self, body: bytes) -> Taken:
        """Take a batch of events; the same batch again changes nothing.

        Raises:
            ProblemError: 400, if the body is no batch or nothing of it could be taken; 503, if a store or the disk does
                not take it: then all of it is to be sent again.
        """
        now = datetime.now(UTC)
        raw = decoded(_RAW, body)
        if not 1 <= len(raw) <= MOST_EVENTS:
            raise wrong(f"A batch has 1 to {MOST_EVENTS} events.")
        events, refused = _read(raw, now)
        states = await self._states({event.user_id for _, event in events.values()})
        records: list[Record] = []
        accepted: Counter[str] = Counter()
        changes: dict[int, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
        for index, event in events.values():
            state = states.get(event.user_id, NOBODY.state)
            if state.is_forgotten:
                refused.append(Refused(index, event.event_id, "Nothing is kept about this user any more."))
                continue
            accepted[event.kind] += 1
            if state.opts_out:
                record = _for_totals(event, now)
                self._metrics.counts["unkept_events"] += record is None
                records += [record] if record is not None else []
                continue
            records.append(_record(event, now))
            if event.kind == "not_interested":
                changes[event.user_id][0].append(event.item_id)
            elif event.kind == "play" and (event.watched_share or 0.0) >= COMPLETE_SHARE:
                changes[event.user_id][1].append(event.item_id)
        await self._into_force(changes)
        await self._on_disk(records)
        self._metrics.events.update(accepted)
        self._metrics.counts["refused_events"] += len(refused)
        refused.sort(key=lambda one: one.index)
        if not accepted:
            raise ProblemError(
                HTTPStatus.BAD_REQUEST,
                "None of the events can be taken.",
                refused=tuple(refused),
            )
        return Taken(accepted.total(), len(raw) - accepted.total() - len(refused), refused)

    async def onboard(self, user_id: int, said: Onboarding) -> None:
        """Take what a user said at sign-up.

        Raises:
            ProblemError: 409, if the user opted out; 410, if the user was erased; 503, as `take`.
        """

        def change(state: UserState) -> UserState:
            if state.opts_out:
                raise ProblemError(HTTPStatus.CONFLICT, "The user opted out of personalisation: nothing is kept.")
            return msgspec.structs.replace(
                state, onboarding_genres=tuple(said.genres), age_band=said.age_band, city=said.city
            )

        await self._change(user_id, change)
        preference = Preference(
            user_id, datetime.now(UTC), onboarding_genres=tuple(said.genres), age_band=said.age_band, city=said.city
        )
        await self._on_disk([preference])

    async def prefer(self, user_id: int, said: Preferences) -> None:
        """Take what a user decided.

        Raises:
            ProblemError: 410, if the user was erased; 503, as `take`.
        """

        def change(state: UserState) -> UserState:
            if said.is_opted_out:
                return UserState(
                    is_opted_out=True,
                    maturity_limit=said.maturity_limit,
                    account_opts_out=state.account_opts_out,
                    account_limit=state.account_limit,
                )
            return msgspec.structs.replace(state, is_opted_out=False, maturity_limit=said.maturity_limit)

        await self._change(user_id, change)
        preference = Preference(
            user_id, datetime.now(UTC), is_opted_out=said.is_opted_out, maturity_limit=said.maturity_limit
        )
        await self._on_disk([preference])

    async def _states(self, user_ids: Iterable[int]) -> dict[int, UserState]:
        """What is known of these users; of whom no store answers, nothing: the night looks again who opted out."""
        known: dict[int, UserState] = {}

        async def ask(user_id: int) -> None:
            try:
                known[user_id] = await self._lists.state(user_id)
            except UnavailableError:
                return

        await _few_at_once([ask(user_id) for user_id in user_ids])
        return known

    async def _into_force(self, changes: Mapping[int, tuple[list[int], list[int]]]) -> None:
        async def change(user_id: int, turned_down: list[int], finished: list[int]) -> None:
            try:
                await self._change(user_id, lambda state: _with_events(state, turned_down, finished))
            except ProblemError as problem:
                if problem.status is not HTTPStatus.GONE:  # forgotten this moment: there is nothing to respect
                    raise

        await _few_at_once([change(user_id, *items) for user_id, items in changes.items()])

    async def _change(self, user_id: int, change: Callable[[UserState], UserState]) -> None:
        try:
            await self._lists.change_state(user_id, change)
        except UnavailableError:
            raise unavailable("What was said could not be kept; say it again.", _RETRY_SECONDS) from None
        except RefusedError:
            raise ProblemError(HTTPStatus.GONE, "Nothing is kept about this user any more.") from None

    async def _on_disk(self, records: list[Record]) -> None:
        try:
            await self._remembering.keep(records)
        except UnavailableError:
            raise unavailable("What was said could not be kept; say it again.", _RETRY_SECONDS) from None


def _read(raw: list[msgspec.Raw], now: datetime) -> tuple[dict[str, tuple[int, Event]], list[Refused]]:
    """The events by id, each with its place in the batch, and those that are none."""
    events: dict[str, tuple[int, Event]] = {}
    refused = []
    for index, one in enumerate(raw):
        try:
            event = decoded(_EVENT, one)
            _check(event, now)
        except ProblemError as problem:
            refused.append(Refused(index, _id_in(one), problem.detail))
        else:
            events.setdefault(event.event_id, (index, event))
    return events, refused


def _check(event: Event, now: datetime) -> None:
    if not -_EARLIEST <= event.happened_at - now <= _LATEST:
        raise wrong("happened_at lies more than 366 days back or a day ahead.")
    if event.kind != "play" and (event.watched_share is not None or event.position is not None):
        raise wrong("watched_share and position are of plays only.")


def _id_in(raw: msgspec.Raw) -> str | None:
    try:
        event_id = _WITH_ID.decode(raw).event_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return event_id[:128] if event_id is not None else None


def _record(event: Event, now: datetime) -> EventRecord:
    return EventRecord(
        event.event_id,
        event.request_id,
        event.user_id,
        event.item_id,
        event.kind,
        event.happened_at.astimezone(UTC),
        now,
        event.watched_share,
        event.position,
        event.surface,
        event.device,
    )


def _for_totals(event: Event, now: datetime) -> EventRecord | None:
    """What is kept of an event of a user who opted out."""
    if event.kind not in ("play", "report"):
        return None
    happened_at = event.happened_at.astimezone(UTC)
    return EventRecord(
        event.event_id, None, event.user_id, event.item_id, event.kind, happened_at, now, event.watched_share
    )


def _with_events(state: UserState, turned_down: list[int], finished: list[int]) -> UserState:
    """What is kept about a user, and what they turned down and finished now, the newest last."""
    if state.opts_out:  # since we asked
        return state
    return msgspec.structs.replace(
        state,
        not_interested=_and(state.not_interested, turned_down, _MOST_NOT_INTERESTED),
        watched=_and(state.watched, finished, _MOST_WATCHED),
    )


def _and(known: tuple[int, ...], more: list[int], most: int) -> tuple[int, ...]:
    new = [item_id for item_id in dict.fromkeys(more) if item_id not in known]
    return (*known, *new)[-most:] if new else known


async def _few_at_once(tasks: list[Coroutine[Any, Any, None]]) -> None:
    """Await them all, a few at a time; the first error is raised when all have ended."""
    permits = asyncio.Semaphore(_USERS_AT_ONCE)

    async def run(task: Coroutine[Any, Any, None]) -> None:
        async with permits:
            await task

    ended = await asyncio.gather(*map(run, tasks), return_exceptions=True)
    for one in ended:
        if isinstance(one, BaseException):
            raise one
