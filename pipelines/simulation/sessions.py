"""A day of the simulated service: who comes, what is shown, clicked, played and said of it.

Sessions of a day are taken in waves, a user's first sessions before anybody's second, so that all arrays of a wave hold
distinct users and each session sees what the one before did.

Shapes: S sessions of a wave, E events.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_defs.events import KINDS
from pipelines.simulation import choices
from pipelines.simulation.choices import AUDIO_FACTORS, GroupTables
from pipelines.simulation.profiles import MOOD_HOURS
from pipelines.simulation.slates import SLATE_LENGTH, Policy, draw_slates, policy_of
from pipelines.simulation.state import State
from pipelines.simulation.world import World

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

DAY_SECONDS = 86_400
SURFACES = ("home", "search", "detail")
# A session's chances to play something that was not on the slate, with their shares.
CHANCE_SHARES = (0.15, 0.35, 0.26, 0.15, 0.09)
CONTINUE_SHARE = 0.7  # of these chances, when a series can be continued
FIRST_SERIES_SHARE = 0.75  # the series watched last, where two can be continued
BINGE_SHARE = 0.6  # goes on with the next episode after finishing one
PLAY_SHARE = 0.85  # of clicks
HOME_SHARE = 0.6  # of sessions; the others begin with a search or a series
MOST_PLAYS = 8
_WEEKDAY = (0.9, 0.88, 0.88, 0.92, 1.05, 1.2, 1.17)
_MOST_SESSIONS = 8
_IMPRESSION, _CLICK, _PLAY, _SKIP, _DISLIKE, _LIKE, _SHARE, _FOLLOW, _REPORT = range(len(KINDS))


@dataclass(frozen=True)
class DayLog:
    """What happened on a day, a row an event: all [E].

    `sessions`: number of the session in the day. `users`, `titles`: positions. `kinds`: index of `KINDS`. `seconds`:
    since midnight. `shares`: watched share, NaN but for plays. `surfaces`, `devices`: indices. `slots`: -1 where it was
    not on a slate. `propensities`: NaN there.
    """

    sessions: Ints
    users: Ints
    titles: Ints
    kinds: Ints
    seconds: Floats
    shares: NDArray[np.float32]
    surfaces: Ints
    devices: Ints
    slots: Ints
    propensities: NDArray[np.float32]


def session_rates(world: World, day: int) -> Floats:
    """Expected sessions of each user on a day: float64 [U], zero before sign-up."""
    configuration, profiles = world.configuration, world.profiles
    weekday = (configuration.first_day.weekday() + day) % 7
    relative = profiles.activities / profiles.activities.mean()
    rates: Floats = configuration.mean_sessions * _WEEKDAY[weekday] * relative * (profiles.signup_days <= day)
    return rates


def signup_seconds(users: Ints) -> Ints:
    """Second of the day at which a profile was made, in the first six hours: int64."""
    return users * 7919 % 21_600


def simulate_day(world: World, state: State, day: int) -> DayLog:
    """Everything that happens on a day; `state` moves on to the end of the day."""
    generator = np.random.default_rng([world.configuration.seed, 4, day])
    counts = np.minimum(generator.poisson(session_rates(world, day)), _MOST_SESSIONS)
    users = np.repeat(np.arange(len(counts)), counts)
    moods = _drawn(generator, world.profiles.mood_shares[users])
    devices = _drawn(generator, choices.device_shares(world, users, moods))
    begin, hours = np.array(MOOD_HOURS, np.float64)[moods].T
    local = begin + hours * generator.random(len(users))
    start = (local - world.profiles.utc_offsets[users]) % 24 * 3600
    earliest = signup_seconds(users) + 60 + 3600 * generator.random(len(users))
    earliest = np.where(world.profiles.signup_days[users] == day, earliest, 0.0)
    start = np.clip(start, earliest, DAY_SECONDS - 900)
    order = np.lexsort((start, users))
    users, moods, devices, start = users[order], moods[order], devices[order], start[order]
    wave = np.arange(len(users)) - np.repeat(np.cumsum(counts) - counts, counts)
    tables = choices.tables_of(day, choices.group_weights(world, day))
    policy = policy_of(world, state, day)
    writer = _Writer()
    for number in range(int(wave.max(initial=-1)) + 1):
        rows = np.flatnonzero(wave == number)
        sessions = _Sessions(world, state, tables, generator, writer, rows, users[rows], moods[rows], devices[rows])
        sessions.look_at_slates(policy)
        sessions.play_others()
    state.end_day()
    return writer.log(users, devices, start, earliest[order], wave)


class _Writer:
    """Events as they come about, in pieces."""

    def __init__(self) -> None:
        self._pieces: list[tuple[NDArray[np.generic], ...]] = []

    def add(
        self,
        sessions: Ints,
        titles: Ints,
        kind: int,
        offsets: Floats,
        *,
        surface: Ints | int = 0,
        shares: NDArray[np.float32] | float = np.nan,
        slots: Ints | int = -1,
        propensities: NDArray[np.float32] | float = np.nan,
    ) -> None:
        """One event a session of `sessions` and title of `titles`, `offsets` seconds into the session."""
        count = len(sessions)
        self._pieces.append(
            (
                sessions,
                titles,
                np.full(count, kind, np.int64),
                offsets,
                np.broadcast_to(np.asarray(surface, np.int64), count),
                np.broadcast_to(np.asarray(shares, np.float32), count),
                np.broadcast_to(np.asarray(slots, np.int64), count),
                np.broadcast_to(np.asarray(propensities, np.float32), count),
            )
        )

    def log(self, users: Ints, devices: Ints, start: Floats, earliest: Floats, wave: Ints) -> DayLog:
        """All events in order of session and time.

        A session that would run past midnight, or into the user's next one, begins earlier; where that is not enough
        it is squeezed. Midnight is put up to an hour and a half early, so that events do not heap up before it.
        """
        if not self._pieces:
            self.add(np.zeros(0, np.int64), np.zeros(0, np.int64), 0, np.zeros(0))
        sessions, titles, kinds, offsets, surfaces, shares, slots, propensities = (
            np.concatenate(pieces) for pieces in zip(*self._pieces, strict=True)
        )
        longest = np.full(len(users), 1.0)
        np.maximum.at(longest, sessions, offsets)
        until = DAY_SECONDS - 1.0 - np.arange(len(users)) * 2_654_435_761 % 5400
        begin = start.copy()
        for number in range(int(wave.max(initial=-1)), -1, -1):
            rows = np.flatnonzero(wave == number)
            begin[rows] = np.maximum(np.minimum(start[rows], until[rows] - longest[rows]), earliest[rows])
            before = rows[wave[rows] > 0] - 1
            until[before] = begin[before + 1] - 1
        begin = np.minimum(begin, np.maximum(until - 60, earliest))
        seconds = begin[sessions] + offsets * (np.maximum(until - begin, 1) / longest).clip(max=1)[sessions]
        seconds = np.minimum(seconds, DAY_SECONDS - 1)
        order = np.lexsort((kinds, seconds, sessions))
        return DayLog(
            sessions[order],
            users[sessions][order],
            titles[order],
            kinds[order],
            seconds[order],
            shares[order],
            surfaces[order],
            devices[sessions][order],
            slots[order],
            propensities[order],
        )


class _Sessions:
    """The sessions of a wave: one a user."""

    def __init__(
        self,
        world: World,
        state: State,
        tables: GroupTables,
        generator: np.random.Generator,
        writer: _Writer,
        numbers: Ints,
        users: Ints,
        moods: Ints,
        devices: Ints,
    ) -> None:
        self._world, self._state, self._tables, self._generator = world, state, tables, generator
        self._writer, self._numbers, self._users, self._moods, self._devices = writer, numbers, users, moods, devices
        self._clock = np.full(len(users), 1.0)
        self._played = np.zeros(len(users), np.int64)

    def look_at_slates(self, policy: Policy) -> None:
        """Show a slate to most; what is examined may be clicked, and what is clicked played."""
        world, state, generator = self._world, self._state, self._generator
        slates, propensities = draw_slates(world, state, policy, self._users, generator)
        slates[generator.random(len(slates)) >= HOME_SHARE] = -1
        shown = slates >= 0
        titles = np.maximum(slates, 0)
        rows, slots = np.nonzero(shown)
        self._writer.add(
            self._numbers[rows], slates[shown], _IMPRESSION, self._clock[rows] + 0.1 * slots,
            slots=slots, propensities=propensities[shown],
        )  # fmt: skip
        z = self._pulls(np.arange(len(slates)), titles)
        examined = shown & (generator.random(slates.shape) < choices.examination(np.arange(SLATE_LENGTH)))
        clicked = examined & (generator.random(slates.shape) < choices.click_probabilities(z))
        other = generator.random(slates.shape)
        for kind, low, high in ((_SKIP, 0.0, 0.04), (_DISLIKE, 0.04, 0.048)):
            put_off = examined & ~clicked & (low <= other) & (other < low + (high - low) / (1 + np.exp(z)))
            rows, slots = np.nonzero(put_off)
            self._writer.add(
                self._numbers[rows], titles[put_off], kind, self._clock[rows] + 5.0 + 2.0 * slots,
                slots=slots, propensities=propensities[put_off],
            )  # fmt: skip
        self._clock += 10
        is_played = clicked & (generator.random(slates.shape) < PLAY_SHARE)
        for slot in range(SLATE_LENGTH):
            rows = np.flatnonzero(clicked[:, slot])
            self._clock[rows] += 5 + 20 * generator.random(len(rows))
            self._writer.add(
                self._numbers[rows], titles[rows, slot], _CLICK, self._clock[rows],
                slots=slot, propensities=propensities[rows, slot],
            )  # fmt: skip
            rows = np.flatnonzero(is_played[:, slot])
            self._play(rows, titles[rows, slot], np.zeros(len(rows), np.int64), slot, propensities[rows, slot])

    def play_others(self) -> None:
        """Play what is searched for, browsed to, or next in a series."""
        world, state, generator = self._world, self._state, self._generator
        count = len(self._users)
        left = generator.choice(len(CHANCE_SHARES), count, p=np.array(CHANCE_SHARES))
        on_binge = np.zeros(count, np.bool_)
        while True:
            rows = np.flatnonzero(((left > 0) | on_binge) & (self._played < MOST_PLAYS))
            if not len(rows):
                return
            following = choices.next_episodes(world, state, self._users[rows], self._tables.day)
            has = following >= 0
            second = ~has[:, 0] | (has[:, 1] & (generator.random(len(rows)) >= FIRST_SERIES_SHARE))
            second &= ~(on_binge[rows] & has[:, 0])
            episode = np.where(second, following[:, 1], following[:, 0])
            goes_on = has.any(1) & (on_binge[rows] | (generator.random(len(rows)) < CONTINUE_SHARE))
            chosen = np.where(goes_on, episode, -1)
            free = np.flatnonzero(~goes_on)
            picked = rows[free]
            chosen[free] = choices.choose(
                world, state, self._tables, self._users[picked], self._moods[picked], self._devices[picked], generator
            )
            left[rows] -= ~on_binge[rows]
            self._clock[rows] += 20 + 60 * generator.random(len(rows))
            surface = np.where(goes_on | (generator.random(len(rows)) < 0.4), 2, 1)
            done = chosen >= 0
            complete = np.zeros(len(rows), np.bool_)
            complete[done] = self._play(rows[done], chosen[done], surface[done])
            on_binge[rows] = complete & (generator.random(len(rows)) < BINGE_SHARE)
            follows = choices.next_episodes(world, state, self._users[rows], self._tables.day)[:, 0]
            on_binge[rows] &= (follows >= 0) & (world.titles.previous_episodes[follows] == chosen)

    def _pulls(self, rows: Ints, titles: Ints) -> Floats:
        users, moods = self._users[rows], self._moods[rows]
        by_genre = choices.genre_factors(self._world, self._state, users)
        audio = AUDIO_FACTORS[moods, self._devices[rows]]
        factors = choices.personal_factors(self._world, by_genre, users, audio, titles)
        following = choices.next_episodes(self._world, self._state, users, self._tables.day)
        continues = (titles == following[:, :1]) | (titles == following[:, 1:])
        return choices.pulls(self._world, users, moods, factors, titles, continues)

    def _play(
        self,
        rows: Ints,
        titles: Ints,
        surface: Ints,
        slot: int = -1,
        propensities: NDArray[np.float32] | float = np.nan,
    ) -> NDArray[np.bool_]:
        """Play one title in each session of `rows`; whether it was finished."""
        if not len(rows):
            return np.zeros(0, np.bool_)
        generator, catalogue = self._generator, self._world.titles
        z = self._pulls(rows, titles[:, None])[:, 0]
        finish = choices.complete_probabilities(z, catalogue.qualities[titles])
        is_complete = generator.random(len(rows)) < finish
        shares = choices.watched_shares(is_complete, generator)
        users = self._users[rows]
        self._clock[rows] += shares * catalogue.durations[titles]
        self._played[rows] += 1
        self._writer.add(
            self._numbers[rows], titles, _PLAY, self._clock[rows],
            surface=surface, shares=shares, slots=slot, propensities=propensities,
        )  # fmt: skip
        self._state.add_plays(catalogue, users, titles, is_complete)
        is_favourite = (self._world.profiles.creators[users] == catalogue.creators[titles][:, None]).any(1)
        said = generator.random((4, len(rows)))
        chances = (
            (_LIKE, 0.12 * is_complete),
            (_SHARE, 0.015 * is_complete),
            (_FOLLOW, is_complete * (0.01 + 0.04 * is_favourite + 0.02 * (catalogue.series[titles] >= 0))),
            (_REPORT, 0.0003 + 0.002 * (z < -2)),
        )
        for (kind, chance), draw in zip(chances, said, strict=True):
            chosen = np.flatnonzero(draw < chance)
            values = propensities if isinstance(propensities, float) else propensities[chosen]
            self._writer.add(
                self._numbers[rows[chosen]], titles[chosen], kind, self._clock[rows[chosen]] + 2.0,
                surface=surface[chosen], slots=slot, propensities=values,
            )  # fmt: skip
        return is_complete


def _drawn(generator: np.random.Generator, weights: Floats) -> Ints:
    bounds = np.cumsum(weights, 1)
    drawn: Ints = (bounds < generator.random((len(weights), 1)) * bounds[:, -1:]).sum(1)
    return drawn
