"""What kinds of stories people like: titles grouped by what their texts say, people by which groups they watch.

Few watched any one title, and many watched something of its theme. Themes are groups of text vectors (spherical
k-means: Dhillon, Modha, "Concept Decompositions for Large Sparse Text Data Using Clustering", 2001). Interests are
learned as classes of whole histories, each a distribution over themes, by expectation maximisation (a mixture of
multinomials: Nigam et al., "Text Classification from Labeled and Unlabeled Documents Using EM", 2000). A person is then
taken for a mixture of them (folding in: Hofmann, "Latent Semantic Models for Collaborative Filtering", 2004), since one
watches other things on a Sunday morning than at night.

What there is to be watched differs by language, and nearly everybody keeps to one. So a class says by how much its
people prefer a theme to others, of what a language has: otherwise classes would tell languages apart, and not people.

Of a series one title speaks, its first: that the others follow says nothing of what they are about.

Shapes: U users, I titles, D width of a text vector, C themes, K interests, L languages.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from pipelines.blas_threads import one_blas_thread
from pipelines.catalogue import Catalogue
from pipelines.errors import DataError
from pipelines.histories import Histories
from pipelines.models.nearest import centres_of

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

FILE = "interests.safetensors"
# Titles a theme has on average, and how many themes there are at most.
_TITLES_A_THEME, _MOST_THEMES = 13, 200
_INTERESTS = 40
# Histories learned from, at most, drawn evenly.
_HISTORIES = 50_000
_ROUNDS = 100
# Begins with what histories say weighed little, so that classes are not fixed before they mean something (deterministic
# annealing: Ueda, Nakano, 1998).
_FIRST_WEIGHT, _FULL_WEIGHT_FROM = 0.2, 0.4
# Plays by which a class is drawn to what everybody watches of a theme, a person to how common each interest is, and a
# language to what is watched in all of them.
_PRIOR_OF_THEMES, _PRIOR_OF_PEOPLE, _PRIOR_OF_LANGUAGES = 3.0, 0.5, 5.0
_FOLDING_ROUNDS = 20


@dataclass(frozen=True)
class Interests:
    """Themes of titles and interests of people.

    `centres`: float32 [C, D], unit rows. `shares`: float32 [K, C], what those of an interest watch, by theme; rows add
    up to 1. `commonness`: float32 [K], adding up to 1. `usual`: float32 [C], what everybody watches. Without themes
    (C = 0) nothing is known of anybody.
    """

    centres: Floats
    shares: Floats
    commonness: Floats
    usual: Floats

    def __post_init__(self) -> None:
        themes, interests = len(self.centres), len(self.commonness)
        if self.centres.ndim != 2 or self.shares.shape != (interests, themes) or self.usual.shape != (themes,):
            raise DataError(
                f"interests have {themes} themes, shares of {self.shares.shape} and usual shares of {self.usual.shape}"
            )
        for name, values in self._arrays().items():
            if values.dtype != np.float32 or not np.isfinite(values).all():
                raise DataError(f"the {name} of interests are not all finite 32-bit floats")
        if not ((self.shares > 0).all() and (self.usual > 0).all()):
            raise DataError("the shares of interests are not all positive")

    def themes_of(self, text_items: Floats) -> Integers:
        """The theme of each title: int64 [I], -1 where it has no text.

        Args:
            text_items: float32 [I, D], unit rows, zero where a title has no text.
        """
        return _nearest(text_items, self.centres)

    def lifts(self, watched: Floats) -> Floats:
        """How much more of each theme a person watches than everybody does, as a logarithm: float32 [U, C].

        Args:
            watched: float32 [U, C], as `watched_groups` of themes makes it; who watched nothing likes what everybody
                likes.
        """
        mixtures = np.tile(self.commonness, (len(watched), 1))
        prior = np.float32(_PRIOR_OF_PEOPLE) * self.commonness
        with one_blas_thread():
            for _ in range(_FOLDING_ROUNDS):
                mixtures *= (watched / (mixtures @ self.shares)) @ self.shares.T
                mixtures += prior
                mixtures /= mixtures.sum(1, keepdims=True)
            found: Floats = np.log(mixtures @ self.shares / self.usual)
        return found

    def to_files(self) -> dict[str, bytes]:
        """The arrays as a file."""
        return {FILE: safetensors.numpy.save(self._arrays())}

    @staticmethod
    def from_files(files: Mapping[str, bytes]) -> "Interests":
        """The interests that `to_files` wrote.

        Raises:
            DataError: if the file is missing, cannot be read, or its arrays do not fit together.
        """
        try:
            arrays = safetensors.numpy.load(files[FILE])
            return Interests(**arrays)
        except KeyError:
            raise DataError(f"interests lack their file {FILE}") from None
        except (TypeError, ValueError, safetensors.SafetensorError) as error:
            raise DataError(f"the file {FILE} cannot be read: {error}") from None

    def _arrays(self) -> dict[str, Floats]:
        return {name: getattr(self, name) for name in ("centres", "shares", "commonness", "usual")}


def watched_groups(
    owners: Integers, positions: Integers, users: int, groups: Integers, group_count: int, previous_episodes: Integers
) -> Floats:
    """How many titles of each group users watched, of a series its first alone: float32 [U, group_count].

    Args:
        owners: of plays, rows of users.
        positions: of the titles played in the catalogue, -1 for titles that are not there.
        users: U.
        groups: to which each title of the catalogue belongs, such as its theme, -1 for none: int64 [I].
        group_count: how many groups there are.
        previous_episodes: of the catalogue: int64 [I].
    """
    known = positions >= 0
    owners, positions = owners[known], positions[known]
    speaks = (groups[positions] >= 0) & (previous_episodes[positions] < 0)
    cells = owners[speaks] * group_count + groups[positions[speaks]]
    counts = np.bincount(cells, minlength=users * group_count).astype(np.float32)
    return counts.reshape(users, group_count)


def learn_interests(histories: Histories, catalogue: Catalogue, text_items: Floats, seed: int) -> Interests:
    """Group titles by text and people by what they watched.

    Args:
        histories: to learn from.
        catalogue: of I titles.
        text_items: float32 [I, D], unit rows, zero where a title has no text.
        seed: of the first groups, and of which users are drawn where there are many.

    Returns:
        Interests without themes where there is next to nothing to learn from.
    """
    texts = text_items[text_items.any(1)]
    theme_count = min(len(texts) // _TITLES_A_THEME, _MOST_THEMES)
    if theme_count < 2:
        return no_interests()
    centres = centres_of(texts, theme_count, seed)
    themes = _nearest(text_items, centres)
    generator = np.random.default_rng(seed)
    if len(histories.user_ids) > _HISTORIES:
        histories = histories.of(np.sort(generator.choice(histories.user_ids, _HISTORIES, replace=False)))
    owners, positions = histories.owners(), catalogue.positions(histories.item_ids)
    users, previous = len(histories.user_ids), catalogue.previous_episodes
    watched = watched_groups(owners, positions, users, themes, theme_count, previous)
    # Titles of no known language, -1, are taken for one more: the last.
    language_count = len(catalogue.language_names) + 1
    languages = np.where(themes >= 0, catalogue.languages % language_count, -1)
    in_language = watched_groups(owners, positions, users, languages, language_count, previous)
    cells = np.where(themes >= 0, languages * theme_count + themes, -1)
    there = watched_groups(np.zeros_like(owners), positions, 1, cells, language_count * theme_count, previous)
    speaking = watched.any(1)
    if not speaking.any():
        return no_interests()
    with one_blas_thread():
        shares, commonness, usual = _mixture(
            watched[speaking].astype(np.float64),
            in_language[speaking].astype(np.float64),
            there.reshape(language_count, theme_count).astype(np.float64),
            generator,
        )
    return Interests(centres, shares.astype(np.float32), commonness.astype(np.float32), usual.astype(np.float32))


def no_interests() -> Interests:
    """Nothing known of anybody."""
    return Interests(*(np.zeros(shape, np.float32) for shape in ((0, 0), (0, 0), 0, 0)))


def _nearest(text_items: Floats, centres: Floats) -> Integers:
    themes = np.full(len(text_items), -1, np.int64)
    has_text = text_items.any(1)
    if len(centres) and has_text.any():
        themes[has_text] = (text_items[has_text] @ centres.T).argmax(1)
    return themes


def _mixture(
    watched: NDArray[np.float64],
    in_language: NDArray[np.float64],
    there: NDArray[np.float64],
    generator: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Shares of themes by class [K, C], how common classes are [K], and shares of themes over all [C].

    Args:
        watched: plays of each theme [U, C].
        in_language: plays in each language [U, L].
        there: plays of each theme in each language, of everybody [L, C].
        generator: of the first classes.
    """
    usual = there.sum(0) + 0.5
    usual /= usual.sum()
    offered = there + _PRIOR_OF_LANGUAGES * usual
    offered /= offered.sum(1, keepdims=True)
    liking = generator.normal(0, 0.5, (_INTERESTS, len(usual)))
    commonness = np.full(_INTERESTS, 1 / _INTERESTS)
    for number in range(_ROUNDS):
        weight = min(1.0, _FIRST_WEIGHT + (1 - _FIRST_WEIGHT) * number / (_FULL_WEIGHT_FROM * _ROUNDS))
        norms = np.exp(liking) @ offered.T
        likely = (watched @ liking.T - in_language @ np.log(norms).T) * weight + np.log(commonness)
        members = np.exp(likely - likely.max(1, keepdims=True))
        members /= members.sum(1, keepdims=True)
        commonness = members.sum(0) + 1e-3 * len(members)
        commonness /= commonness.sum()
        expected = ((members.T @ in_language) / norms) @ offered
        liking = np.log((members.T @ watched + _PRIOR_OF_THEMES) / (expected + _PRIOR_OF_THEMES))
    shares = np.exp(liking) * usual
    return shares / shares.sum(1, keepdims=True), commonness, usual
