"""Who belongs to which group, and what small groups are pooled with."""

from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pytest
import small_catalogue as small
from hypothesis import given
from hypothesis import strategies as st

from feature_defs.audit_policy import POLICY, AuditedAttribute
from pipelines.audit.groups import coded, groups_of, name_of, pooled
from pipelines.audit.subjects import UNKNOWN

AGES = ("under_18", "18_24", "25_34", "35_44", "45_54", "55_up")
DAY = date(2026, 1, 31)


def users(**columns: list[object]) -> pa.Table:
    return pa.table(
        {
            "user_id": [9, 3, 7],
            "age_band": ["18_24", None, None],
            "country": ["DE", "FR", None],
            "device": ["tv", "phone", "web"],
            "signup_at": [
                datetime(2026, 1, 20, tzinfo=UTC),
                datetime(2025, 6, 1, tzinfo=UTC),
                datetime(2020, 1, 1, tzinfo=UTC),
            ],
            **columns,
        }
    )


def labels(protected: pa.Table | None = None) -> dict[str, list[str]]:
    histories = small.histories([1, 2, 3, 4, 5], [], [2, 4])
    ids = np.array([3, 7, 9])
    histories = type(histories)(ids, histories.offsets, histories.item_ids, histories.shares)
    catalogue = small.catalogue(6, language=["de", "fr", "fr", "fr", "de", None])
    found = groups_of(POLICY, ids, histories, catalogue, users(), protected, DAY)
    return {name: one.tolist() for name, one in found.items()}


def test_users_are_labelled_in_their_own_order() -> None:
    found = labels()
    assert found["activity_tier"] == ["light", "new", "new"]
    assert found["tenure"] == ["under_year", "over_year", "under_month"]
    assert found["age_band"] == [UNKNOWN, UNKNOWN, "18_24"]
    assert found["country"] == ["FR", UNKNOWN, "DE"]
    assert found["device"] == ["phone", "web", "tv"]
    assert found["language"] == ["fr", UNKNOWN, "fr"]
    assert found["gender"] == [UNKNOWN] * 3


def test_protected_attributes_are_read_where_a_service_holds_them() -> None:
    protected = pa.table({"user_id": [3, 7], "gender": ["female", None], "age": pa.array([17, None], pa.int32())})
    found = labels(protected)
    assert found["gender"] == ["female", UNKNOWN, UNKNOWN]
    assert found["age_band"] == ["under_18", UNKNOWN, "18_24"]


def test_labels_as_codes_give_back_the_labels() -> None:
    found = coded(AuditedAttribute("device"), np.array(["tv", "phone", "tv", None], object))
    assert found.names == ("phone", "tv", UNKNOWN)
    assert [found.names[code] for code in found.codes] == ["tv", "phone", "tv", UNKNOWN]
    assert found.members(("tv", UNKNOWN)).tolist() == [True, False, True, True]


def enough(counts: dict[str, int], least: int = 100):
    return lambda names: sum(counts[name] for name in names) >= least


def test_a_small_group_in_an_order_is_pooled_with_the_smaller_of_its_neighbours() -> None:
    counts = {"under_18": 500, "18_24": 30, "25_34": 300, "35_44": 500}
    attribute = AuditedAttribute("age_band", order=AGES)
    assert pooled(attribute, counts, ["18_24"], enough(counts)) == [("18_24", "25_34")]


def test_small_neighbours_are_pooled_with_each_other_first() -> None:
    counts = {"under_18": 60, "18_24": 70, "25_34": 300}
    assert pooled(AuditedAttribute("age_band", order=AGES), counts, ["under_18", "18_24"], enough(counts)) == [
        ("under_18", "18_24")
    ]


def test_small_groups_without_an_order_are_pooled_together_and_then_with_the_next_smallest() -> None:
    counts = {"AT": 10, "BE": 20, "DE": 900, "FR": 200}
    attribute = AuditedAttribute("country")
    assert pooled(attribute, counts, ["AT", "BE"], enough(counts, 25)) == [("AT", "BE")]
    assert pooled(attribute, counts, ["AT", "BE"], enough(counts)) == [("AT", "BE", "FR")]


def test_a_group_alone_is_pooled_with_nobody() -> None:
    assert pooled(AuditedAttribute("country"), {"DE": 5}, ["DE"], enough({"DE": 5})) == []
    assert name_of(("a", "b", "c", "d", "e", "f")) == "a+b+c+d+2 more"


@given(
    st.dictionaries(st.sampled_from(AGES), st.integers(1, 400), min_size=2),
    st.booleans(),
    st.integers(50, 500),
)
def test_every_small_group_is_in_exactly_one_pool_that_is_large_enough_or_holds_all(
    counts: dict[str, int], is_ordered: bool, least: int
) -> None:
    small_ones = [name for name, count in counts.items() if count < least]
    attribute = AuditedAttribute("age_band", order=AGES if is_ordered else ())
    pools = pooled(attribute, counts, small_ones, enough(counts, least))
    members = [name for pool in pools for name in pool]
    assert len(members) == len(set(members))
    assert set(small_ones) <= set(members)
    for pool in pools:
        assert len(pool) > 1
        assert set(pool) & set(small_ones)
        assert sum(counts[name] for name in pool) >= least or set(pool) == set(counts)
        if is_ordered:
            places = [AGES.index(name) for name in pool]
            between = [name for name in AGES[min(places) : max(places) + 1] if name in counts]
            assert list(pool) == between


@pytest.mark.parametrize(
    ("age", "band"), [(0, "under_18"), (17, "under_18"), (18, "18_24"), (54, "45_54"), (55, "55_up"), (None, UNKNOWN)]
)
def test_an_age_is_cut_into_the_bands_of_the_policy(age: int | None, band: str) -> None:
    protected = pa.table({"user_id": [3], "gender": ["female"], "age": pa.array([age], pa.int32())})
    assert labels(protected)["age_band"] == [band, UNKNOWN, "18_24"]


def test_a_policy_of_tiers_has_a_bound_for_each() -> None:
    for attribute in POLICY.attributes:
        assert len(attribute.least) in {0, len(attribute.order)}
        assert list(attribute.least) == sorted(attribute.least)


@pytest.mark.parametrize(("length", "tier"), [(0, "new"), (4, "new"), (5, "light"), (20, "regular"), (500, "heavy")])
def test_tiers_begin_at_their_bounds(length: int, tier: str) -> None:
    histories = small.histories(list(range(1, length + 1)))
    catalogue = small.catalogue(600)
    found = groups_of(POLICY, histories.user_ids, histories, catalogue, users(), None, DAY)
    assert found["activity_tier"].tolist() == [tier]
