"""What is true of a simulated day, for holding models against: who would watch what, and the best possible list.

A `State` at the beginning of the day is an argument throughout: `state_before` replays the log for it.

Shapes: U users, I titles asked about, T titles of the world, k places of a list, M moods.
"""

from datetime import date

import numpy as np
from numpy.typing import NDArray

from pipelines.histories import Histories
from pipelines.simulation import choices, slates
from pipelines.simulation.choices import AUDIO_FACTORS
from pipelines.simulation.profiles import MOODS
from pipelines.simulation.sessions import (
    BINGE_SHARE,
    CHANCE_SHARES,
    CONTINUE_SHARE,
    FIRST_SERIES_SHARE,
    HOME_SHARE,
    PLAY_SHARE,
    session_rates,
    simulate_day,
)
from pipelines.simulation.state import State, first_state
from pipelines.simulation.world import World

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_USERS_AT_ONCE = 256
_EPISODES_AHEAD = 4


def day_number(world: World, day: date) -> int:
    """A date as days from the first day of the log."""
    return (day - world.configuration.first_day).days


def state_before(world: World, day: date) -> State:
    """How things stand when a day begins: the days before it are simulated again."""
    state = first_state(world)
    for number in range(day_number(world, day)):
        simulate_day(world, state, number)
    return state


def expected_watch(world: World, state: State, day: date, user_ids: Ints) -> NDArray[np.float32]:
    """How often each title of the world is expected to be watched to at least 80 % on a day, by each user.

    Summed over moods: sessions expected x (organic choice + next episode + slate, examined, clicked and played) x
    completion, then binged episodes after it. First order in two places: states do not move within the day, and the
    slate's slots are taken as draws of the mixture.

    Returns:
        float32 [U, T], in the order of item ids, which are 1 to T.
    """
    number = day_number(world, day)
    weights = choices.group_weights(world, number)
    policy = slates.policy_of(world, state, number)
    rates = session_rates(world, number)
    parts = [
        _expected(world, state, number, weights, policy, users, rates[users])
        for users in np.split(user_ids - 1, range(_USERS_AT_ONCE, len(user_ids), _USERS_AT_ONCE))
    ]
    return np.concatenate(parts)


def oracle_ranking(world: World, state: State, day: date, histories: Histories, eligible: Ints, length: int) -> Ints:
    """The best list for "watched to at least 80 % on this day and new to the user", for the users of `histories`.

    Args:
        world: the world.
        state: how it stands when the day begins.
        day: the day to be predicted.
        histories: what users played before the day as the service knows it; none of it is ranked.
        eligible: ids of the titles that may be listed.
        length: places of a list.

    Returns:
        int64 [U, length], item ids, best first; -1 padded.
    """
    rankings = []
    may_be_listed = np.isin(np.arange(1, len(world.titles) + 1), eligible)
    count = len(histories.user_ids)
    for start in range(0, count, _USERS_AT_ONCE * 8):
        users = histories.user_ids[start : start + _USERS_AT_ONCE * 8]
        known = histories.of(users)
        values = expected_watch(world, state, day, users)
        values[:, ~may_be_listed] = 0
        inside = (known.item_ids >= 1) & (known.item_ids <= len(world.titles))
        values[known.owners()[inside], known.item_ids[inside] - 1] = 0
        best = np.argsort(-values, 1, kind="stable")[:, :length]
        ranking = np.where(np.take_along_axis(values, best, 1) > 0, best + 1, -1)
        rankings.append(np.pad(ranking, ((0, 0), (0, length - ranking.shape[1])), constant_values=-1))
    return np.concatenate(rankings) if rankings else np.zeros((0, length), np.int64)


def would_watch(world: World, state: State, day: date, user_ids: Ints, lists: Ints, seed: int) -> NDArray[np.float32]:
    """What each user would watch of a list that is put before them once on a day: a draw of the truth.

    Each place is examined by its position, clicked by the user's true liking in the mood of the moment, played and
    watched to the share that is returned. Titles that may not be shown or were played before are not played.

    Args:
        world: the world.
        state: how it stands when the day begins.
        day: the day.
        user_ids: int64 [U].
        lists: int64 [U, k] of item ids, -1 padded.
        seed: of the draw; the same seed gives a user the same mood and device whatever the list.

    Returns:
        Watched share, float32 [U, k]; NaN where a title is not played.
    """
    number, users = day_number(world, day), user_ids - 1
    generator = np.random.default_rng([world.configuration.seed, 6, number, seed])
    moods = _drawn(generator, world.profiles.mood_shares[users])
    devices = _drawn(generator, choices.device_shares(world, users, moods))
    chosen = np.maximum(lists - 1, 0)
    z, factors = _pulls(world, state, number, users, moods, AUDIO_FACTORS[moods, devices], chosen)
    looked = choices.examination(np.arange(lists.shape[1]))
    chance = looked * choices.click_probabilities(z) * PLAY_SHARE
    seen = state.has_seen(np.repeat(users[:, None], lists.shape[1], 1), chosen)
    open_to = (lists > 0) & world.titles.may_be_shown(number)[chosen] & (factors > 0) & ~seen
    is_played = open_to & (generator.random(lists.shape) < chance)
    finish = choices.complete_probabilities(z, world.titles.qualities[chosen])
    shares = choices.watched_shares(generator.random(lists.shape) < finish, generator)
    watched: NDArray[np.float32] = np.where(is_played, shares, np.float32(np.nan))
    return watched


def _expected(
    world: World, state: State, day: int, weights: Floats, policy: slates.Policy, users: Ints, rates: Floats
) -> NDArray[np.float32]:
    titles, count = world.titles, len(world.titles)
    everything = np.broadcast_to(np.arange(count), (len(users), count))
    owners, played = state.seen_by(users)
    following = choices.next_episodes(world, state, users, day)
    continuing = _continuing_shares(following)
    mixture = slates.mixed(policy, policy.rows(world, state, users), slates.mixtures(world, users), everything)
    shown = mixture / slates.unseen_mass(world, state, policy, users)[:, None]
    shown[owners, played] = 0
    shown *= HOME_SHARE * choices.examination(np.arange(slates.SLATE_LENGTH)).sum()
    chances = float(np.dot(CHANCE_SHARES, np.arange(len(CHANCE_SHARES))))
    stays: Floats = np.where((following >= 0).any(1), 1 - CONTINUE_SHARE, 1.0)
    total = np.zeros((len(users), count))
    for mood in range(len(MOODS)):
        moods = np.full(len(users), mood)
        by_device = choices.device_shares(world, users, moods)
        audio = by_device @ AUDIO_FACTORS[mood]
        z, factors = _pulls(world, state, day, users, moods, audio, everything)
        group = weights[choices.groups_of(world, users, moods)] * factors
        group[owners, played] *= choices.SEEN_FACTOR
        organic = group / np.maximum(group.sum(1, keepdims=True), 1e-12)
        reach = chances * stays[:, None] * organic
        for place in range(2):
            rows = np.flatnonzero(following[:, place] >= 0)
            reach[rows, following[rows, place]] += chances * CONTINUE_SHARE * continuing[rows, place]
        reach += np.minimum(shown, 1) * choices.click_probabilities(z) * PLAY_SHARE * (factors > 0)
        finish = choices.complete_probabilities(z, titles.qualities[None])
        watched = reach * finish
        total += world.profiles.mood_shares[users, mood, None] * (watched + _binged(world, day, watched, finish))
    total *= rates[:, None]
    total[owners, played] = np.minimum(total[owners, played], 1e-6)
    return total.astype(np.float32)


def _binged(world: World, day: int, watched: Floats, finish: Floats) -> Floats:
    """Episodes watched because the one before was finished: float64 [U, T]."""
    following = world.titles.next_episodes
    goes = np.flatnonzero((following >= 0) & world.titles.may_be_shown(day)[following])
    total, latest = np.zeros_like(watched), watched
    for _ in range(_EPISODES_AHEAD):
        coming = np.zeros_like(watched)
        # A chance that is left may also continue the series.
        coming[:, following[goes]] = latest[:, goes] * (BINGE_SHARE + 0.2) * finish[:, following[goes]]
        total += coming
        latest = coming
    return total


def _continuing_shares(following: Ints) -> Floats:
    has = following >= 0
    both = has.all(1)
    first = np.where(both, FIRST_SERIES_SHARE, has[:, 0])
    return np.stack([first, np.where(both, 1 - FIRST_SERIES_SHARE, has[:, 1])], 1).astype(np.float64)


def _pulls(
    world: World, state: State, day: int, users: Ints, moods: Ints, audio: Floats, chosen: Ints
) -> tuple[Floats, Floats]:
    by_genre = choices.genre_factors(world, state, users)
    factors = choices.personal_factors(world, by_genre, users, audio, chosen)
    following = choices.next_episodes(world, state, users, day)
    continues = (chosen == following[:, :1]) | (chosen == following[:, 1:])
    return choices.pulls(world, users, moods, factors, chosen, continues), factors


def _drawn(generator: np.random.Generator, weights: Floats) -> Ints:
    bounds = np.cumsum(weights, 1)
    drawn: Ints = (bounds < generator.random((len(weights), 1)) * bounds[:, -1:]).sum(1)
    return drawn
