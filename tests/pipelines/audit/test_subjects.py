"""What an audit reads of titles, and subjects that do not fit together."""

from dataclasses import replace

import numpy as np
import pytest
import small_catalogue as small
from audit_subjects import audit_subjects
from hypothesis import given
from hypothesis import strategies as st

from pipelines.audit.subjects import TIERS, check_subjects, tiers, titles_of
from pipelines.errors import DataError
from pipelines.histories import Popularity


def test_titles_are_told_apart_by_what_the_catalogue_and_plays_say() -> None:
    catalogue = small.catalogue(4, creator=["Ann", "Ann", "Bob", None], language=["de", None, "fr", "de"])
    popularity = Popularity(np.array([1, 2, 3]), np.array([5, 1, 2]), np.zeros(3, np.int64))
    found = titles_of(catalogue, popularity, {1: "AT"}, new_title_days=10_000_000)
    assert found.play_counts.tolist() == [5, 1, 2, 0]
    assert found.classes["origin"].tolist() == ["AT", "unknown", "unknown", "unknown"]
    assert found.classes["language"].tolist() == ["de", "unknown", "fr", "de"]
    assert found.classes["creator_tier"].tolist() == ["head", "head", "middle", "unknown"]
    assert found.classes["is_new"].tolist() == ["new"] * 4
    assert (
        titles_of(catalogue, popularity, {}, new_title_days=-10_000_000).classes["is_new"].tolist() == ["not_new"] * 4
    )


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=40))
def test_tiers_hold_half_of_the_plays_the_next_three_tenths_and_the_rest(plays: list[int]) -> None:
    counts = np.array(plays)
    found = tiers(counts)
    total = counts.sum()
    head = counts[found == TIERS.index("head")]
    if total:
        # The last title of a tier may reach beyond its share, and no other.
        assert head.sum() >= total / 2
        assert head.sum() - head.min() < total / 2
        assert counts[found <= TIERS.index("middle")].sum() >= 0.8 * total - 1e-9
    assert counts[found == 0].min(initial=10**6) >= counts[found == 2].max(initial=0)


@pytest.mark.parametrize("part", ["rankings", "truth", "histories", "champion_rankings"])
def test_subjects_of_different_users_are_one_sentence(part: str) -> None:
    subjects, other = audit_subjects(30), audit_subjects(40)
    with pytest.raises(DataError, match=r"40 .* for 30 users: they are not the same users$"):
        check_subjects(replace(subjects, **{part: getattr(other, part)}))
