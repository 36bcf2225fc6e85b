"""What the service shows: the logging policy, whose propensities are known exactly.

A slate is drawn slot by slot without replacement from a mixture of four distributions over the titles that the user
may watch and has not played: popular titles of the two genres the user plays most in the language of the country,
popular titles, new titles, all titles alike. Users who opted out get no personal part.

Shapes: S sessions, R rows of tables, T titles.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.simulation.choices import GroupTables, tables_of
from pipelines.simulation.places import COUNTRIES, COUNTRY_LANGUAGES
from pipelines.simulation.profiles import LIMITS
from pipelines.simulation.state import State
from pipelines.simulation.vocabulary import GENRES
from pipelines.simulation.world import World

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

SLATE_LENGTH = 10
# First genre, second genre, popular, new, all alike.
MIXTURE = np.array([0.30, 0.20, 0.20, 0.15, 0.15])
MIXTURE_OPTED_OUT = np.array([0.0, 0.0, 0.45, 0.35, 0.2])
_NEW_DAYS = 14
_OTHER_LANGUAGE, _OTHER_GENRE, _LATER_EPISODE = 0.1, 0.03, 0.1
_DRAWS, _ROUNDS = 24, 12


@dataclass(frozen=True)
class Policy:
    """The distributions of a day. `tables`: rows of probabilities, by country and limit, then by genre as well."""

    tables: GroupTables

    def rows(self, world: World, state: State, users: Ints) -> Ints:
        """The rows that are mixed for each user: int64 [S, 5]."""
        profiles = world.profiles
        audience = profiles.countries[users] * len(LIMITS) + profiles.limits[users]
        audiences = len(COUNTRIES) * len(LIMITS)
        genres = np.argsort(-state.genre_plays[users], 1, kind="stable")[:, :2]
        personal = 3 * audiences + audience[:, None] * len(GENRES) + genres
        common = audience[:, None] + audiences * np.arange(3)
        rows: Ints = np.concatenate([personal, common], 1)
        return rows


def policy_of(world: World, state: State, day: int) -> Policy:
    """The logging policy of a day, from what the service saw before."""
    titles = world.titles
    allowed = titles.may_be_shown(day)[None, None] & (titles.maturities <= np.array(LIMITS)[:, None])[None]
    home, country = titles.home_countries, np.arange(len(COUNTRIES))[:, None, None]
    allowed = allowed & ((home < 0) | (home == country))
    first = np.where(titles.previous_episodes >= 0, _LATER_EPISODE, 1.0)
    plays = (state.title_plays + 0.2) ** 0.8 * first
    is_new = (titles.published_days <= day) & (titles.published_days > day - _NEW_DAYS)
    language = np.where(titles.languages == np.array(COUNTRY_LANGUAGES)[:, None], 1.0, _OTHER_LANGUAGE)
    genre = np.where(
        (titles.genres == np.arange(len(GENRES))[:, None]) | (titles.second_genres == np.arange(len(GENRES))[:, None]),
        1.0,
        _OTHER_GENRE,
    )
    common = [allowed * plays, allowed * (is_new * first + 1e-3), allowed * 1.0]
    personal = (allowed * plays * language[:, None])[:, :, None] * genre
    weights = np.concatenate([one.reshape(-1, len(titles)) for one in (*common, personal)])
    weights /= weights.sum(1, keepdims=True)
    return Policy(tables_of(day, weights))


def mixtures(world: World, users: Ints) -> Floats:
    """Weights of the five distributions for each user: float64 [S, 5]."""
    weights: Floats = np.where(world.profiles.is_opted_out[users][:, None], MIXTURE_OPTED_OUT, MIXTURE)
    return weights


def mixed(policy: Policy, rows: Ints, weights: Floats, titles: Ints) -> Floats:
    """Probability of titles in the mixture of each session: float64 [S, C] for titles [S, C]."""
    total: Floats = np.zeros(titles.shape)
    for part in range(rows.shape[1]):
        total += weights[:, part, None] * policy.tables.weights[rows[:, part, None], titles]
    return total


def unseen_mass(world: World, state: State, policy: Policy, users: Ints) -> Floats:
    """Probability in the mixture of all that a user has not played: float64 [S]."""
    rows, weights = policy.rows(world, state, users), mixtures(world, users)
    owners, seen = state.seen_by(users)
    lost = mixed(policy, rows[owners], weights[owners], seen[:, None])[:, 0]
    mass: Floats = np.maximum(1 - np.bincount(owners, lost, minlength=len(users)), 1e-9)
    return mass


def draw_slates(
    world: World, state: State, policy: Policy, users: Ints, generator: np.random.Generator
) -> tuple[Ints, NDArray[np.float32]]:
    """A slate for each session and the probability of each title in its slot given those above it.

    Drawing with replacement and leaving out repeats and what was played is drawing without replacement. A slate is
    shorter where a user has all but used up the catalogue.

    Returns:
        Titles, int64 [S, SLATE_LENGTH], -1 padded, and propensities, float32 of the same shape.
    """
    rows, weights = policy.rows(world, state, users), mixtures(world, users)
    slates = np.full((len(users), SLATE_LENGTH), -1, np.int64)
    open_rows = np.arange(len(users))
    for _ in range(_ROUNDS):
        if not len(open_rows):
            break
        shape = (len(open_rows), _DRAWS)
        edges = np.cumsum(weights[open_rows], 1)
        part = (generator.random(shape)[:, :, None] > edges[:, None, :-1]).sum(2)
        drawn = policy.tables.draw(np.take_along_axis(rows[open_rows], part, 1), generator.random(shape))
        seen = state.has_seen(np.repeat(users[open_rows, None], _DRAWS, 1), drawn)
        slates[open_rows] = _first_distinct(slates[open_rows], np.where(seen, -1, drawn))
        open_rows = open_rows[slates[open_rows, -1] < 0]
    p = np.where(slates >= 0, mixed(policy, rows, weights, np.maximum(slates, 0)), 0.0)
    p /= unseen_mass(world, state, policy, users)[:, None]
    above = np.cumsum(p, 1) - p
    propensities = (p / np.maximum(1 - above, 1e-9)).clip(0, 1)
    return slates, propensities.astype(np.float32)


def _first_distinct(before: Ints, drawn: Ints) -> Ints:
    """The first `SLATE_LENGTH` distinct titles of each row, those of `before` first; -1 padded."""
    titles = np.concatenate([before, drawn], 1)
    order = np.argsort(titles, 1, kind="stable")
    ordered = np.take_along_axis(titles, order, 1)
    repeats = np.zeros(titles.shape, np.bool_)
    repeats[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    is_repeat = np.empty_like(repeats)
    np.put_along_axis(is_repeat, order, repeats, 1)
    drop = is_repeat | (titles < 0)
    places = np.argsort(drop, 1, kind="stable")[:, :SLATE_LENGTH]
    kept = np.where(np.take_along_axis(drop, places, 1), -1, np.take_along_axis(titles, places, 1))
    result: Ints = kept
    return result
