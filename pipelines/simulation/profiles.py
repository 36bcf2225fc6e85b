"""Who watches: hidden tastes by mood, and what the service is told of each profile.

Shapes: U users, a position each; the user id is the position plus one. K archetypes, M moods, G genres.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.simulation.configuration import WorldConfiguration
from pipelines.simulation.places import CITIES, COUNTRIES
from pipelines.simulation.titles import Titles
from pipelines.simulation.vocabulary import GENRES, THEMES

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MOODS = ("morning", "day", "evening", "night")
# Local hours at which a mood begins and how long it lasts.
MOOD_HOURS = ((5, 5), (10, 7), (17, 6), (23, 6))
ARCHETYPE_COUNT = 20
AGE_BANDS = ("under_18", "18_24", "25_34", "35_44", "45_54", "55_up")
_AGES = ((8, 17), (18, 24), (25, 34), (35, 44), (45, 54), (55, 80))
_AGE_SHARES = (0.06, 0.20, 0.28, 0.20, 0.15, 0.11)
DEVICES = ("tv", "phone", "tablet", "web")
GENDERS = ("female", "male", "other")
LIMITS = (7, 13, 16, 21)  # least age of titles shown; the last: no limit
_NEW_USER_SHARE = 0.12
_OPTED_OUT_SHARE = 0.02
# Activity relative to its mean: quantiles fitted to plays a user of MovieLens 1M.
ACTIVITY_LEVELS = (0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1)
ACTIVITY_QUANTILES = (0.12, 0.14, 0.16, 0.23, 0.31, 0.42, 0.58, 0.76, 1.05, 1.53, 2.42, 3.36, 5.48, 8.1, 12)


@dataclass(frozen=True)
class Profiles:
    """What is true of users.

    [U]: `cities`, `countries`, `utc_offsets` (hours), `languages` (index of `places.PROFILES`), `age_bands`, `ages`,
    `genders`, `devices` (main device), `limits` (index of `LIMITS`), `is_opted_out`, `signup_days` (negative: before
    the log), `activities` (mean about one). [U, M]: `archetypes`, `mood_shares`. [U, G]: `genre_factors`.
    [U, 2]: `creators`, favourites. `onboarding`: bool [U, G]. `affinities`: float64 [K, themes], how much an archetype
    likes a theme. `age_effects`: float64 [bands, G].
    """

    cities: Ints
    countries: Ints
    utc_offsets: Ints
    languages: Ints
    age_bands: Ints
    ages: Ints
    genders: Ints
    devices: Ints
    limits: Ints
    is_opted_out: NDArray[np.bool_]
    signup_days: Ints
    activities: Floats
    archetypes: Ints
    mood_shares: Floats
    genre_factors: NDArray[np.float32]
    creators: Ints
    onboarding: NDArray[np.bool_]
    affinities: Floats
    age_effects: Floats

    def __len__(self) -> int:
        return len(self.cities)


def make_profiles(configuration: WorldConfiguration, titles: Titles) -> Profiles:
    """The users of a world; those who sign up during the log have the highest ids, some every day."""
    generator = np.random.default_rng([configuration.seed, 2])
    count, genre_count = configuration.user_count, len(GENRES)
    affinities = _affinities(generator)
    city = generator.choice(len(CITIES), count, p=np.array([one[3] for one in CITIES]))
    country = np.array([COUNTRIES.index(one[1]) for one in CITIES])[city]
    language = _by_row(generator, np.array([[one[4].get(p, 0.0) for p in range(12)] for one in CITIES])[city])
    band = generator.choice(len(AGE_BANDS), count, p=np.array(_AGE_SHARES))
    low, high = np.array(_AGES).T
    gender = generator.choice(len(GENDERS), count, p=np.array([0.47, 0.5, 0.03]))
    logits = generator.normal(0, 0.4, ARCHETYPE_COUNT)
    by_gender = generator.normal(0, 0.4, (len(GENDERS), ARCHETYPE_COUNT))
    by_band = generator.normal(0, 0.6, (len(AGE_BANDS), ARCHETYPE_COUNT))
    taste = np.exp(logits + by_gender[gender] + by_band[band])
    archetypes = np.stack([_by_row(generator, taste) for _ in MOODS], 1)
    keeps = generator.random((count, len(MOODS))) < 0.35
    archetypes = np.where(keeps, archetypes[:, 2:3], archetypes)
    age_effects = generator.normal(0, 0.25, (len(AGE_BANDS), genre_count))
    age_effects[0, GENRES.index("Family")] = 2.0
    limits = np.where(band == 0, generator.integers(0, 3, count), 3)
    ages = generator.integers(low[band], high[band] + 1)
    ages = np.where(band == 0, np.array([8, 13, 16, 0])[limits] + generator.integers(0, 2, count), ages)
    new = min(
        max(round(_NEW_USER_SHARE * count * min(configuration.day_count / 60, 1)), configuration.day_count), count
    )
    signup = np.concatenate(
        [np.sort(-generator.integers(1, 700, count - new)), np.arange(new) * configuration.day_count // new]
    )
    activity = np.exp(np.interp(generator.random(count), ACTIVITY_LEVELS, np.log(ACTIVITY_QUANTILES)))
    # Two favourites out of those who make the user's genres.
    picked = generator.integers(0, len(titles), (count, 6))
    fit = affinities[archetypes[:, 2:3], titles.themes[picked]] + generator.normal(0, 0.5, picked.shape)
    best = np.argsort(-fit, 1)[:, :2]
    return Profiles(
        cities=city,
        countries=country,
        utc_offsets=np.array([one[2] for one in CITIES])[city],
        languages=language,
        age_bands=band,
        ages=ages,
        genders=gender,
        devices=_by_row(
            generator,
            np.array([[1, 6, 2, 1], [3, 6, 1, 2], [5, 3, 1, 2], [6, 2, 1, 1], [6, 2, 2, 1], [7, 1, 2, 1]])[band],
        ),
        limits=limits,
        is_opted_out=generator.random(count) < _OPTED_OUT_SHARE,
        signup_days=signup.astype(np.int64),
        activities=activity,
        archetypes=archetypes,
        mood_shares=generator.dirichlet(np.array([1.5, 2.5, 6.0, 1.5]), count),
        genre_factors=np.exp(generator.normal(0, 0.45, (count, genre_count)).clip(-1.2, 0.9)).astype(np.float32),
        creators=titles.creators[np.take_along_axis(picked, best, 1)],
        onboarding=_onboarding(generator, affinities, archetypes),
        affinities=affinities,
        age_effects=age_effects,
    )


def _affinities(generator: np.random.Generator) -> Floats:
    """Each archetype loves some themes of a few genres, likes the rest of these genres and avoids the others."""
    genres = np.array([theme.genre for theme in THEMES])
    liked = np.argsort(generator.random((ARCHETYPE_COUNT, len(GENRES))), 1)[:, :4]
    is_liked = np.zeros((ARCHETYPE_COUNT, len(GENRES)), np.bool_)
    np.put_along_axis(is_liked, liked, True, 1)
    in_liked = is_liked[:, genres]
    draw = np.where(in_liked, generator.random(in_liked.shape), 2)
    rank = draw.argsort(1).argsort(1)
    affinities: Floats = np.where(rank < 7, 3.7, np.where(in_liked, 0.8, -1.0)) + generator.normal(0, 0.3, rank.shape)
    return affinities


def _onboarding(generator: np.random.Generator, affinities: Floats, archetypes: Ints) -> NDArray[np.bool_]:
    """Three noisy picks of most users, none of the others: bool [U, G]."""
    genres = np.array([theme.genre for theme in THEMES])
    by_genre = np.zeros((len(affinities), len(GENRES)))
    np.add.at(by_genre.T, genres, np.exp(affinities).T)
    liking = np.log(by_genre[archetypes].mean(1)) + generator.gumbel(0, 0.7, (len(archetypes), len(GENRES)))
    picks = np.zeros(liking.shape, np.bool_)
    np.put_along_axis(picks, np.argsort(-liking, 1)[:, :3], True, 1)
    answers: NDArray[np.bool_] = picks & (generator.random(len(picks)) < 0.85)[:, None]
    return answers


def _by_row(generator: np.random.Generator, weights: NDArray[np.float64] | NDArray[np.int64]) -> Ints:
    """A column drawn for each row in proportion to the weights: int64 [rows]."""
    bounds = np.cumsum(weights, 1)
    drawn: Ints = (bounds < generator.random((len(weights), 1)) * bounds[:, -1:]).sum(1)
    return drawn
