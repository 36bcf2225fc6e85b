"""What users would choose and finish: the hidden utilities, as weights, probabilities and fast exact draws.

The weight of a title for a user in a mood is `group weight x personal factor`. The group weight depends on archetype,
languages, age band and day alone, so that a draw is one search in a table; the personal factor (genre, fatigue,
creator, kind, maturity, already seen) is applied by acceptance and rejection, which keeps the draw exact.

Shapes: K archetypes, L language profiles, B age bands, T titles, N draws.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.simulation.places import PROFILES
from pipelines.simulation.profiles import AGE_BANDS, LIMITS
from pipelines.simulation.state import State
from pipelines.simulation.world import World

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

LANGUAGE_FACTORS = (1.0, 0.5, 0.01)  # main language, second one, any other
CREATOR_FACTOR = 2.5
FATIGUE_RATE = 0.4
_FATIGUE_FLOOR = 0.15
SEEN_FACTOR = 0.002
_LATER_EPISODE = -4.0
_FRESHNESS, _FRESH_DAYS = 1.0, 10.0
# By mood and device (tv, phone, tablet, web): how much readier people are to listen than to watch.
AUDIO_FACTORS = np.array([[0.8, 4.0, 1.2, 1.2], [0.4, 1.5, 0.6, 0.8], [0.2, 0.5, 0.3, 0.3], [0.2, 0.7, 0.4, 0.3]])
# Share of sessions by mood and device, times what the user has: a phone in the morning, the screen in the evening.
DEVICE_FACTORS = np.array([[0.5, 3.0, 1.0, 0.7], [0.6, 1.5, 1.0, 2.0], [2.0, 0.7, 1.0, 0.7], [1.2, 1.3, 1.0, 0.7]])
_MAIN_DEVICE = 5.0
_ATTEMPTS, _ROUNDS = 6, 40


def device_shares(world: World, users: Ints, moods: Ints) -> Floats:
    """On what a session takes place, given its mood: float64 [N, devices]."""
    weights = DEVICE_FACTORS[moods].copy()
    weights[np.arange(len(users)), world.profiles.devices[users]] *= _MAIN_DEVICE
    shares: Floats = weights / weights.sum(1, keepdims=True)
    return shares


def title_terms(world: World, day: int) -> Floats:
    """What draws everybody to a title on a day, as a logarithm: appeal and freshness; float64 [T]."""
    titles = world.titles
    age = np.maximum(day - titles.published_days, 0)
    later = np.where(titles.previous_episodes >= 0, _LATER_EPISODE, 0.0)
    terms: Floats = titles.appeals + _FRESHNESS * np.exp(-age / _FRESH_DAYS) + later
    return terms


def language_factors(world: World) -> Floats:
    """How ready a language profile is for each title: float64 [L, T]."""
    main, second = np.array(PROFILES).T
    languages = world.titles.languages
    factors: Floats = np.where(
        languages == main[:, None],
        LANGUAGE_FACTORS[0],
        np.where(languages == second[:, None], LANGUAGE_FACTORS[1], LANGUAGE_FACTORS[2]),
    )
    return factors


@dataclass(frozen=True)
class GroupTables:
    """Weights of titles on one day by group. `weights`: float64 [K x L x B, T]; `bounds`: float64 [K x L x B x T],
    rising by one a group, for a search among all groups at once.
    """

    day: int
    weights: Floats
    bounds: Floats

    def draw(self, groups: Ints, uniform: Floats) -> Ints:
        """A title for each draw: int64 of the shape of both arguments."""
        title_count = self.weights.shape[1]
        at = np.searchsorted(self.bounds, groups + uniform, side="right")
        drawn: Ints = np.clip(at - groups * title_count, 0, title_count - 1)
        return drawn


def tables_of(day: int, weights: Floats) -> GroupTables:
    """Tables for drawing from rows of weights."""
    bounds = np.cumsum(weights, 1)
    bounds /= bounds[:, -1:]
    bounds += np.arange(len(weights))[:, None]
    return GroupTables(day, weights, bounds.ravel())


def group_weights(world: World, day: int) -> Floats:
    """Weights of titles by group on a day, zero for what is not in the catalogue: float64 [K x L x B, T]."""
    titles, profiles = world.titles, world.profiles
    taste = np.exp(profiles.affinities)[:, titles.themes]
    band = np.exp(profiles.age_effects)[:, titles.genres]
    band[0] *= titles.maturities <= LIMITS[2]
    base = np.exp(title_terms(world, day)) * titles.may_be_shown(day)
    tasted = (taste * base)[:, None, None]
    weights: Floats = (tasted * language_factors(world)[None, :, None] * band[None, None]).reshape(-1, len(titles))
    return weights


def groups_of(world: World, users: Ints, moods: Ints) -> Ints:
    """The group of a user in a mood, a row of the tables: int64 [N]."""
    profiles = world.profiles
    archetype = profiles.archetypes[users, moods]
    rows: Ints = (archetype * len(PROFILES) + profiles.languages[users]) * len(AGE_BANDS) + profiles.age_bands[users]
    return rows


def genre_factors(world: World, state: State, users: Ints) -> NDArray[np.float32]:
    """Personal liking of each genre, lowered by what was watched of it of late: float32 [N, G]."""
    tired = np.maximum(np.exp(-FATIGUE_RATE * state.fatigue[users]), _FATIGUE_FLOOR)
    factors: NDArray[np.float32] = world.profiles.genre_factors[users] * tired
    return factors


def is_allowed(world: World, users: Ints, chosen: Ints) -> NDArray[np.bool_]:
    """Whether age and country let a user watch a title: bool, of the shape to which the arguments broadcast."""
    titles, profiles = world.titles, world.profiles
    home = titles.home_countries[chosen]
    fits = titles.maturities[chosen] <= np.array(LIMITS)[profiles.limits[users]]
    allowed: NDArray[np.bool_] = fits & ((home < 0) | (home == profiles.countries[users]))
    return allowed


def personal_factors(
    world: World, by_genre: NDArray[np.float32], users: Ints, audio: Floats, chosen: Ints
) -> NDArray[np.float64]:
    """The personal factor of titles: float64 [N, C] for `chosen` [N, C] of `users` [N].

    Args:
        world: the world.
        by_genre: float32 [N, G], from `genre_factors`.
        users: int64 [N].
        audio: float64 [N], from `AUDIO_FACTORS`.
        chosen: int64 [N, C], titles.
    """
    titles, profiles = world.titles, world.profiles
    rows = np.arange(len(users))[:, None]
    factors = by_genre[rows, titles.genres[chosen]].astype(np.float64)
    favourites = profiles.creators[users]
    creator = titles.creators[chosen]
    is_favourite = (creator == favourites[:, :1]) | (creator == favourites[:, 1:])
    factors *= np.where(is_favourite, CREATOR_FACTOR, 1.0)
    factors *= np.where(titles.kinds[chosen] == 1, audio[:, None], 1.0)
    factors *= is_allowed(world, users[:, None], chosen)
    return factors


def choose(
    world: World,
    state: State,
    tables: GroupTables,
    users: Ints,
    moods: Ints,
    devices: Ints,
    generator: np.random.Generator,
) -> Ints:
    """A title each user picks out of the whole catalogue, exactly by weight: int64 [N], -1 where nothing was found.

    Rejection sampling (von Neumann 1951): proposals come from the group's distribution and are kept in proportion to
    the personal factor. A user whose catalogue is all but used up gives up after a few hundred proposals.
    """
    chosen = np.full(len(users), -1, np.int64)
    groups = groups_of(world, users, moods)
    by_genre = genre_factors(world, state, users)
    audio = AUDIO_FACTORS[moods, devices]
    bound = by_genre.max(1, initial=0) * CREATOR_FACTOR * np.maximum(audio, 1)
    open_rows = np.arange(len(users))
    for _ in range(_ROUNDS):
        if not len(open_rows):
            break
        uniform = generator.random((2, len(open_rows), _ATTEMPTS))
        proposed = tables.draw(np.repeat(groups[open_rows, None], _ATTEMPTS, 1), uniform[0])
        factors = personal_factors(world, by_genre[open_rows], users[open_rows], audio[open_rows], proposed)
        seen = state.has_seen(np.repeat(users[open_rows, None], _ATTEMPTS, 1), proposed)
        factors *= np.where(seen, SEEN_FACTOR, 1.0)
        is_kept = uniform[1] * bound[open_rows, None] < factors
        first = is_kept.argmax(1)
        found = is_kept.any(1)
        chosen[open_rows[found]] = proposed[found, first[found]]
        open_rows = open_rows[~found]
    return chosen


def next_episodes(world: World, state: State, users: Ints, day: int) -> Ints:
    """The episodes that continue what a user follows: int64 [N, 2], -1 where there is none to be had."""
    titles = world.titles
    current = state.in_progress[users]
    following = np.where(current >= 0, titles.next_episodes[current], -1)
    open_to = titles.may_be_shown(day)[following] & is_allowed(world, users[:, None], following)
    seen = state.has_seen(np.repeat(users[:, None], 2, 1), following)
    found: Ints = np.where((following >= 0) & open_to & ~seen, following, -1)
    return found


def pulls(
    world: World, users: Ints, moods: Ints, factors: Floats, chosen: Ints, continues: NDArray[np.bool_]
) -> Floats:
    """How strongly a shown title pulls, as a logarithm: float64 [N, C].

    Args:
        world: the world.
        users: int64 [N].
        moods: int64 [N].
        factors: float64 [N, C], personal factors.
        chosen: int64 [N, C], titles.
        continues: bool [N, C], whether it is the next episode of a series that is followed.
    """
    titles, profiles = world.titles, world.profiles
    archetype = profiles.archetypes[users, moods][:, None]
    language = language_factors(world)[profiles.languages[users][:, None], chosen]
    z: Floats = (
        profiles.affinities[archetype, titles.themes[chosen]] + np.log(np.maximum(factors, 1e-9)) + np.log(language)
    )
    z += profiles.age_effects[profiles.age_bands[users][:, None], titles.genres[chosen]]
    z = z + 0.35 * titles.appeals[chosen] + 0.3 * titles.qualities[chosen]
    later = (titles.previous_episodes[chosen] >= 0) & ~continues
    result: Floats = z - 2.5 * later + 2.0 * continues
    return result


def click_probabilities(z: Floats) -> Floats:
    """Probability that an examined title is clicked, from its pull."""
    result: Floats = 0.6 / (1 + np.exp(-(z - 1.0)))
    return result


def complete_probabilities(z: Floats, qualities: Floats) -> Floats:
    """Probability that a title that was started is watched to at least 80 %, from its pull and quality."""
    result: Floats = 0.05 + 0.9 / (1 + np.exp(-(0.7 * (z - 1.2) + 0.6 * qualities)))
    return result


def watched_shares(completes: NDArray[np.bool_], generator: np.random.Generator) -> NDArray[np.float32]:
    """How much is watched by those who finish and by those who leave, most of them early: float32 of the same shape."""
    finished: Floats = 0.8 + 0.2 * generator.beta(3.0, 0.7, completes.shape)
    left = 0.79 * generator.beta(0.7, 2.2, completes.shape)
    shares: NDArray[np.float32] = np.where(completes, np.minimum(finished, 1.0), left).astype(np.float32)
    return shares


def examination(slots: Ints) -> Floats:
    """Probability that a slot, from 0, is looked at: the position-based model (Craswell et al. 2008; Joachims et al.
    2017), falling as a power of the place.
    """
    looked: Floats = np.power(1.0 + slots, -0.65)
    return looked
