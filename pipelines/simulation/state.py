"""What past days did to users and titles: all that a day needs to know of the days before it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.simulation.profiles import Profiles
from pipelines.simulation.titles import Titles
from pipelines.simulation.vocabulary import GENRES
from pipelines.simulation.world import World

Ints = NDArray[np.int64]

# Of what a user watched in a genre, this share still tires a day later.
FATIGUE_KEPT = 0.7
_PLAYS_KEPT = 0.97


@dataclass
class State:
    """Changes while days are simulated in order.

    `seen`: int64, `user * T + title` of every play, ascending. `in_progress`: int64 [U, 2], the last finished episode
    of the series a user follows, most recent first, -1 for none. `fatigue`: float32 [U, G], recent plays by genre.
    `genre_plays`: float32 [U, G], plays ever by genre, as the service sees them. `title_plays`: float64 [T], recent
    plays of a title.
    """

    title_count: int
    seen: Ints
    in_progress: Ints
    fatigue: NDArray[np.float32]
    genre_plays: NDArray[np.float32]
    title_plays: NDArray[np.float64]

    def has_seen(self, users: Ints, titles: Ints) -> NDArray[np.bool_]:
        """Whether each user has played each title, for arrays of equal shape."""
        keys = users * self.title_count + titles
        if not len(self.seen):
            return np.zeros(keys.shape, np.bool_)
        at = np.searchsorted(self.seen, keys).clip(max=len(self.seen) - 1)
        known: NDArray[np.bool_] = self.seen[at] == keys
        return known

    def seen_by(self, users: Ints) -> tuple[Ints, Ints]:
        """What these users have played: position among `users` and title, int64 [N] each."""
        start = np.searchsorted(self.seen, users * self.title_count)
        counts = np.searchsorted(self.seen, (users + 1) * self.title_count) - start
        owners = np.repeat(np.arange(len(users)), counts)
        source = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts) + start[owners]
        return owners, self.seen[source] % self.title_count

    def add_plays(self, titles: Titles, users: Ints, played: Ints, is_complete: NDArray[np.bool_]) -> None:
        """Take in one play of each of these users, who are distinct."""
        keys = np.sort(users * self.title_count + played)
        keys = keys[~self.has_seen(keys // self.title_count, keys % self.title_count)]
        self.seen = np.insert(self.seen, np.searchsorted(self.seen, keys), keys)
        self.fatigue[users, titles.genres[played]] += 1
        self.genre_plays[users, titles.genres[played]] += 0.3 + 0.7 * is_complete
        np.add.at(self.title_plays, played, 1)
        self._follow(titles, users, played, is_complete)

    def _follow(self, titles: Titles, users: Ints, played: Ints, is_complete: NDArray[np.bool_]) -> None:
        is_episode = titles.series[played] >= 0
        users, played, is_complete = users[is_episode], played[is_episode], is_complete[is_episode]
        current = self.in_progress[users]
        is_same = (current >= 0) & (titles.series[current] == titles.series[played][:, None])
        # A series in the first place is renewed there; otherwise what was first becomes second.
        second = np.where(is_same[:, 0], current[:, 1], current[:, 0])
        kept = np.where(is_same, -1, current)
        left = np.where(kept[:, :1] >= 0, kept, kept[:, ::-1])
        self.in_progress[users] = np.where(is_complete[:, None], np.stack([played, second], 1), left)

    def end_day(self) -> None:
        """Let fatigue and popularity fade overnight."""
        self.fatigue *= FATIGUE_KEPT
        self.title_plays *= _PLAYS_KEPT


def first_state(world: World) -> State:
    """How things stand before the first day: nobody has played anything; earlier plays of titles are made up."""
    titles, profiles = world.titles, world.profiles
    generator = np.random.default_rng([world.configuration.seed, 3])
    appeal = np.exp(titles.appeals + generator.normal(0, 0.4, len(titles)))
    is_old = (titles.published_days < 0) & (titles.episodes <= 1)
    plays = np.where(is_old, appeal, 0)
    expected = world.configuration.mean_sessions * len(profiles) * 20
    return State(
        title_count=len(titles),
        seen=np.zeros(0, np.int64),
        in_progress=np.full((len(profiles), 2), -1, np.int64),
        fatigue=np.zeros((len(profiles), len(GENRES)), np.float32),
        genre_plays=_first_genres(profiles),
        title_plays=plays / plays.sum() * expected,
    )


def _first_genres(profiles: Profiles) -> NDArray[np.float32]:
    picks: NDArray[np.float32] = profiles.onboarding.astype(np.float32)
    return picks
