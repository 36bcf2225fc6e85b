"""People who watch the same themes are taken to like what others of their kind like, whatever titles they watched."""

import numpy as np
import pytest
import safetensors.numpy
import small_catalogue as small
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import DataError
from pipelines.models import interests
from pipelines.models.interests import Interests, learn_interests, no_interests, watched_groups

THEMES, TITLES_A_THEME = 6, 14
ITEMS = THEMES * TITLES_A_THEME
THEME_OF = np.arange(ITEMS) % THEMES
# What the two kinds of people watch.
KINDS = ((0, 1, 2), (3, 4, 5))


def text(count=ITEMS):
    """Titles of a theme say nearly the same."""
    generator = np.random.default_rng(2)
    directions = np.eye(THEMES, 16)[np.arange(count) % THEMES]
    vectors = (directions + 0.05 * generator.standard_normal((count, 16))).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def past(user_count=300):
    """User u watches eight titles of the themes of one kind, and two of any."""
    generator = np.random.default_rng(3)
    rows = []
    for user in range(user_count):
        theirs = np.flatnonzero(np.isin(THEME_OF, KINDS[user % 2]))
        titles = np.concatenate([generator.choice(theirs, 8, replace=False), generator.choice(ITEMS, 2)])
        rows.append([int(title) + 1 for title in dict.fromkeys(titles.tolist())])
    return small.histories(*rows)


def learned(histories=None, seed=1):
    return learn_interests(histories or past(), small.catalogue(ITEMS), text(), seed)


def lifts(model, *titles_watched):
    """What is made of people by these titles, by the themes as they are planted: [people, THEMES]."""
    themes = model.themes_of(text())
    rows = [np.bincount(themes[np.array(titles, int)], minlength=len(model.centres)) for titles in titles_watched]
    found = model.lifts(np.array(rows, np.float32))
    return found[:, themes[:THEMES]]


def test_titles_that_say_the_same_are_of_one_theme():
    themes = learned().themes_of(text())
    assert (themes == themes[THEME_OF]).all()
    assert len(set(themes.tolist())) == THEMES


def test_who_watched_one_theme_is_taken_to_like_those_that_go_with_it():
    found = lifts(learned(), [0, 6, 12], [3, 9, 15])
    # Themes 1 and 2 were not watched by the first, nor 4 and 5 by the second.
    assert found[0, [1, 2]].min() > 0.2 > -0.5 > found[0, [3, 4, 5]].max()
    assert found[1, [4, 5]].min() > 0.2 > -0.5 > found[1, [0, 1, 2]].max()


def test_who_watches_both_kinds_of_theme_is_taken_for_both():
    both, first = lifts(learned(), [0, 6, 12, 18, 3, 9, 15, 21], [0, 6, 12, 18])
    assert both[[1, 2, 4, 5]].min() > -0.4
    assert first[[4, 5]].max() < -0.5


def test_a_kind_of_people_is_one_kind_in_every_language(monkeypatch):
    """English has no titles of themes 2 and 5, French none of 0 and 3: only the language can tell whose they are."""
    monkeypatch.setattr(interests, "_INTERESTS", 2)
    generator = np.random.default_rng(4)
    languages = np.where(np.arange(ITEMS) // THEMES % 2, "en", "fr")
    languages[np.isin(THEME_OF, (2, 5))] = "fr"
    languages[np.isin(THEME_OF, (0, 3))] = "en"
    rows = []
    for user in range(400):
        there = languages == ("en", "fr")[user // 2 % 2]
        theirs = np.flatnonzero(there & np.isin(THEME_OF, KINDS[user % 2]))
        picked = np.concatenate(
            [generator.choice(theirs, 6, replace=False), generator.choice(np.flatnonzero(there), 4)]
        )
        rows.append([int(title) + 1 for title in dict.fromkeys(picked.tolist())])
    titles = small.catalogue(ITEMS, language=languages.tolist())
    model = learn_interests(small.histories(*rows), titles, text(), 1)
    found = lifts(model, [0, 6, 12, 18], [2, 8, 14, 20])
    assert found[0, [1, 2]].min() > 0.2 > -0.5 > found[0, [3, 4, 5]].max()
    assert found[1, [0, 1]].min() > 0.2 > -0.5 > found[1, [3, 4, 5]].max()


def test_titles_of_no_known_language_speak_too():
    titles = small.catalogue(ITEMS, language=[None] * ITEMS)
    found = lifts(learn_interests(past(), titles, text(), 1), [0, 6, 12], [3, 9, 15])
    assert found[0, [1, 2]].min() > 0.2 > -0.5 > found[0, [3, 4, 5]].max()


def test_who_watched_nothing_likes_what_everybody_likes():
    np.testing.assert_allclose(lifts(learned(), []), 0, atol=0.1)


def test_a_title_that_came_later_is_of_the_theme_that_its_text_says():
    model = learned()
    np.testing.assert_array_equal(model.themes_of(text(ITEMS + 12))[ITEMS:], model.themes_of(text())[np.arange(12) % 6])
    np.testing.assert_array_equal(model.themes_of(np.zeros((2, 16), np.float32)), [-1, -1])


def test_of_a_series_its_first_title_alone_speaks():
    titles = small.catalogue(4, series_id=[9, 9, 9, None], season=[1, 1, 1, None], episode=[1, 2, 3, None])
    owners, positions = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 1, 2, 1, 3, -1])
    counts = watched_groups(owners, positions, 3, np.array([0, 0, 0, 1]), 2, titles.previous_episodes)
    np.testing.assert_array_equal(counts, [[1, 0], [0, 1], [0, 0]])


def test_the_same_seed_gives_the_same_bytes_and_another_others():
    assert learned().to_files() == learned().to_files()
    assert learned().to_files() != learned(seed=2).to_files()


def test_of_many_histories_some_are_learned_from(monkeypatch):
    seen = []
    mixture = interests._mixture
    monkeypatch.setattr(
        interests, "_mixture", lambda watched, *rest: seen.append(len(watched)) or mixture(watched, *rest)
    )
    monkeypatch.setattr(interests, "_HISTORIES", 200)
    found = lifts(learned(past(1000)), [0, 6, 12])
    assert seen == [200]
    assert found[0, [1, 2]].min() > 0.2 > -0.5 > found[0, [3, 4, 5]].max()


@pytest.mark.parametrize(
    ("titles", "texts", "rows"),
    [
        (ITEMS, np.zeros((ITEMS, 16), np.float32), past()),
        (ITEMS, np.zeros((ITEMS, 0), np.float32), past()),
        (20, text(20), small.histories([1, 2], [3])),
        (ITEMS, text(), small.histories([], [])),
        (ITEMS, text(), small.histories([ITEMS + 5])),
    ],
    ids=["no texts", "no encoder", "few titles", "no plays", "unknown titles"],
)
def test_where_there_is_nothing_to_learn_from_nothing_is_known_of_anybody(titles, texts, rows):
    model = learn_interests(rows, small.catalogue(titles), texts, 1)
    assert (model.themes_of(texts) == -1).all()
    assert model.lifts(np.zeros((3, 0), np.float32)).shape == (3, 0)
    assert Interests.from_files(model.to_files()).to_files() == no_interests().to_files()


MODEL = learned()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 10_000), min_size=THEMES, max_size=THEMES), min_size=1, max_size=5))
def test_whatever_was_watched_lifts_are_of_a_distribution_and_of_each_person_alone(rows):
    watched = np.array(rows, np.float32)
    found = MODEL.lifts(watched)
    np.testing.assert_allclose((np.exp(found) * MODEL.usual).sum(1), 1, rtol=1e-3)
    np.testing.assert_allclose(MODEL.lifts(watched[:1]), found[:1], rtol=1e-3, atol=1e-4)


def test_interests_come_back_from_their_file_and_broken_ones_are_refused():
    files = MODEL.to_files()
    assert Interests.from_files(files).to_files() == files
    arrays = safetensors.numpy.load(files["interests.safetensors"])
    for changes, message in (
        ({"usual": arrays["usual"][1:]}, "have 6 themes"),
        ({"centres": arrays["centres"] * np.float32(np.nan)}, "not all finite"),
        ({"usual": arrays["usual"].astype(np.float64)}, "32-bit"),
        ({"shares": arrays["shares"] * 0}, "not all positive"),
        ({"more": arrays["usual"]}, "cannot be read"),
    ):
        broken = {"interests.safetensors": safetensors.numpy.save(arrays | changes)}
        with pytest.raises(DataError, match=message):
            Interests.from_files(broken)
    with pytest.raises(DataError, match="cannot be read"):
        Interests.from_files({"interests.safetensors": b"no tensors"})
    with pytest.raises(DataError, match="lack their file"):
        Interests.from_files({})
