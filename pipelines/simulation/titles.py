"""Which titles there are: hidden theme, quality and appeal, and the text that the theme writes.

Shapes: T titles, a position each; the item id is the position plus one, and later titles stand later.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.simulation import vocabulary
from pipelines.simulation.configuration import WorldConfiguration
from pipelines.simulation.places import COUNTRIES, LANGUAGE_SHARES, LANGUAGES, ORIGINS
from pipelines.simulation.vocabulary import ADJECTIVES, FIRST_NAMES, GENRES, LAST_NAMES, THEMES, TONES

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

NEVER = 1_000_000
_EPISODE_SHARE = 0.32
# Share of single titles that are published during 60 days.
_NEW_SHARE = 0.22
_AUDIO_SHARE = {"Documentary": 0.3, "Comedy": 0.2, "Crime": 0.2, "Music": 0.3, "History": 0.2, "Sports": 0.15}
_MATURITIES = {"Family": (0, 7), "Horror": (16, 18), "Crime": (13, 16, 18), "Action": (13, 16), "Fantasy": (7, 13)}
# Spread of the logarithm of a title's appeal with 800 titles: fitted to the shares of plays by title of MovieLens 1M.
_APPEAL_SIGMA = 1.1
# A large catalogue has a head that nobody has used up, and would have it played out of proportion.
_SIGMA_POWER = -0.09


@dataclass(frozen=True)
class Titles:
    """What is true of titles; days count from the first day of the log, and the back catalogue's are negative.

    All [T]. `second_genres`, `series`, `next_episodes`, `previous_episodes`: -1 where there is none.
    `withdrawn_days`: first day on which the title is gone, whatever the reason; `NEVER`. `home_countries`: the only
    country where it may be shown, or -1. `appeals`: logarithm of how readily it is chosen. `qualities`: standard
    normal, what makes people stay.
    """

    themes: Ints
    genres: Ints
    second_genres: Ints
    qualities: Floats
    appeals: Floats
    languages: Ints
    kinds: Ints
    creators: Ints
    series: Ints
    seasons: Ints
    episodes: Ints
    next_episodes: Ints
    previous_episodes: Ints
    maturities: Ints
    published_days: Ints
    withdrawn_days: Ints
    is_licence: NDArray[np.bool_]
    home_countries: Ints
    origins: Ints
    release_years: Ints
    durations: Ints
    names: tuple[str, ...]
    synopses: tuple[str, ...]
    casts: tuple[tuple[str, ...], ...]
    creator_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.themes)

    def may_be_shown(self, day: int) -> NDArray[np.bool_]:
        """Which titles are in the catalogue on a day: bool [T]."""
        return (self.published_days <= day) & (day < self.withdrawn_days)


def make_titles(configuration: WorldConfiguration) -> Titles:
    """The catalogue of a world, in order of publication."""
    generator = np.random.default_rng([configuration.seed, 1])
    work, season, episode, published = _plan(configuration, generator)
    count = int(work.max()) + 1
    is_series_work = np.bincount(work, minlength=count) > 1
    theme = generator.choice(len(THEMES), count, p=_shares(generator, len(THEMES), 0.4))
    genre = np.array([one.genre for one in THEMES])[theme]
    second = generator.integers(0, len(GENRES), count)
    second = np.where((generator.random(count) < 0.5) & (second != genre), second, -1)
    quality = generator.normal(size=count)
    # Skewed to the left, as popularity is: few titles stand far out, many are hardly ever chosen.
    spread = np.where(quality * 0.5 + generator.normal(size=count) > 0, 0.85, 1.5)
    base = 0.5 * quality + np.sqrt(0.75) * np.where(spread < 1, 1, -1) * np.abs(generator.normal(size=count))
    sigma = _APPEAL_SIGMA * (configuration.title_count / 800) ** _SIGMA_POWER
    appeal = sigma * spread * base + 1.3 * is_series_work
    language = generator.choice(len(LANGUAGES), count, p=np.array(LANGUAGE_SHARES))
    audio = generator.random(count) < np.array([_AUDIO_SHARE.get(name, 0.04) for name in GENRES])[genre]
    creator_count = max(count // 4, 10)
    # A creator keeps to a genre.
    creator = generator.integers(0, creator_count, count) // len(GENRES) * len(GENRES) + genre
    maturity = np.array([generator.choice(_MATURITIES.get(GENRES[one], (0, 7, 13, 13, 16))) for one in genre])
    origin = np.array([COUNTRIES.index(generator.choice(ORIGINS[one])) for one in language])
    length = np.where(audio, generator.normal(2700, 700, count), generator.normal(6300, 1100, count))
    length = np.where(is_series_work & ~audio, generator.normal(2700, 500, count), length).clip(600)
    names, synopses, casts, people = _texts(generator, theme, genre, creator, is_series_work)

    rows = np.lexsort((episode, season, work, published))
    work, season, episode, published = work[rows], season[rows], episode[rows], published[rows]
    is_episode = is_series_work[work]
    following, previous = _links(work, season, episode, is_episode)
    horizon = configuration.day_count
    leaves = generator.random(count) < 0.05
    gone = np.where(leaves, generator.integers(1, 2 * horizon, count), NEVER)
    last = np.full(count, -NEVER)
    np.maximum.at(last, work, published)
    gone = np.where(gone > last + 20, gone, NEVER)
    home = np.where(generator.random(count) < 0.03, origin, -1)
    age = np.where(is_series_work, 0, generator.gamma(1.2, 6.0, count).astype(np.int64))
    year = configuration.first_day.year + published // 365 - age[work]
    full_names = tuple(
        f"{names[w]}, S{s} E{e}" if is_one else names[w]
        for w, s, e, is_one in zip(work.tolist(), season.tolist(), episode.tolist(), is_episode.tolist(), strict=True)
    )
    leads, plots = [one.leads for one in THEMES], [one.plots for one in THEMES]
    full_synopses = tuple(
        f"{synopses[w]} In this episode, {leads[theme[w]][e % 2]} {plots[theme[w]][(e + s) % 3]}."
        if is_one
        else synopses[w]
        for w, s, e, is_one in zip(work.tolist(), season.tolist(), episode.tolist(), is_episode.tolist(), strict=True)
    )
    jitter = generator.normal(0, 0.1, len(work))
    return Titles(
        themes=theme[work],
        genres=genre[work],
        second_genres=second[work],
        qualities=quality[work] + jitter,
        appeals=appeal[work],
        languages=language[work],
        kinds=audio[work].astype(np.int64),
        creators=creator[work],
        series=np.where(is_episode, work + 1, -1),
        seasons=season,
        episodes=episode,
        next_episodes=following,
        previous_episodes=previous,
        maturities=maturity[work],
        published_days=published,
        withdrawn_days=gone[work],
        is_licence=(generator.random(count) < 0.6)[work],
        home_countries=home[work],
        origins=origin[work],
        release_years=year,
        durations=(length[work] * generator.uniform(0.95, 1.05, len(work))).astype(np.int64),
        names=full_names,
        synopses=full_synopses,
        casts=tuple(casts[w] for w in work.tolist()),
        creator_names=people,
    )


def _plan(configuration: WorldConfiguration, generator: np.random.Generator) -> tuple[Ints, Ints, Ints, Ints]:
    """For each title its work (a series is one work), season, episode and day of publication: int64 [T]."""
    total, horizon = configuration.title_count, configuration.day_count
    rows: list[tuple[int, int, int, int]] = []
    work = 0
    while len(rows) < _EPISODE_SHARE * total:
        season_count, episode_count = int(generator.choice([1, 1, 2, 3])), int(generator.integers(5, 10))
        # A third of the series put out an episode a week during the log, the others are there as a whole.
        is_weekly = generator.random() < 0.35
        start = int(generator.integers(-20, max(horizon - 7, 1))) if is_weekly else -int(generator.integers(1, 1200))
        for season in range(1, season_count + 1):
            if is_weekly and season < season_count:
                first, step = start - 300 * (season_count - season), 0
            else:
                first, step = start + 90 * (season - season_count) * (not is_weekly), 7 * is_weekly
            for episode in range(1, episode_count + 1):
                day = first + step * (episode - 1)
                if day < horizon:
                    rows.append((work, season, episode, day))
        work += 1
    rows = rows[: int(_EPISODE_SHARE * total) + 1]
    single = total - len(rows)
    new = min(max(round(single * _NEW_SHARE * horizon / 60), horizon), single // 2)
    days = np.concatenate([-generator.integers(1, 1500, single - new), np.arange(new) * horizon // max(new, 1)])
    if new:
        days[-1] = horizon - 1
    singles = np.stack([work + np.arange(single), np.zeros(single), np.zeros(single), days], 1)
    plan = np.concatenate([np.array(rows), singles]).astype(np.int64)
    return plan[:, 0], plan[:, 1], plan[:, 2], plan[:, 3]


def _links(work: Ints, season: Ints, episode: Ints, is_episode: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    order = np.lexsort((episode, season, work))
    is_same = (work[order][1:] == work[order][:-1]) & is_episode[order][1:]
    following, previous = np.full(len(work), -1, np.int64), np.full(len(work), -1, np.int64)
    following[order[:-1][is_same]] = order[1:][is_same]
    previous[order[1:][is_same]] = order[:-1][is_same]
    return following, previous


def _shares(generator: np.random.Generator, count: int, sigma: float) -> Floats:
    weights = np.exp(generator.normal(0, sigma, count))
    shares: Floats = weights / weights.sum()
    return shares


def _texts(
    generator: np.random.Generator, theme: Ints, genre: Ints, creator: Ints, is_series: NDArray[np.bool_]
) -> tuple[list[str], list[str], list[tuple[str, ...]], tuple[str, ...]]:
    names: list[str] = []
    synopses: list[str] = []
    casts: list[tuple[str, ...]] = []
    used: set[str] = set()

    def one_of(words: tuple[str, ...]) -> str:
        return words[int(generator.integers(len(words)))]

    def person() -> str:
        return f"{one_of(FIRST_NAMES)} {one_of(LAST_NAMES)}"

    # Actors keep to a genre too: a few dozen of each.
    actors = [tuple(person() for _ in range(40)) for _ in vocabulary.GENRES]
    for number, (code, field) in enumerate(zip(theme.tolist(), genre.tolist(), strict=True)):
        told = THEMES[code]
        form = "series" if is_series[number] else "story"
        lead, other = told.leads if generator.random() < 0.5 else told.leads[::-1]
        first, second = generator.permutation(len(told.plots))[:2].tolist()
        place = one_of(told.places)
        synopses.append(
            f"In {place}, {lead} {told.plots[first]}, while {other} {told.plots[second]}. "
            f"A {one_of(TONES)} {GENRES[field].lower()} {form} about {told.name}."
        )
        casts.append(tuple(dict.fromkeys(one_of(actors[field]) for _ in range(3))))
        noun, adjective = one_of(told.nouns), one_of(ADJECTIVES)
        patterns = (f"The {adjective} {noun}", f"{adjective} {noun}", f"{noun} of {one_of(LAST_NAMES)}", f"The {noun}")
        name = one_of(patterns)
        copy = 2
        while name in used:
            name, copy = f"{adjective} {noun} {copy}", copy + 1
        used.add(name)
        names.append(name)
    return names, synopses, casts, tuple(person() for _ in range(int(creator.max()) + 1))
