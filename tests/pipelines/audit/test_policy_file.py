"""A policy as a file: what is written is read, and a typo is one sentence."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from feature_defs.audit_policy import DEMO_POLICY, FEW_USERS_POLICY, POLICY, AuditPolicy
from pipelines.audit.groups import ATTRIBUTES
from pipelines.audit.metrics import IS_MORE_BETTER
from pipelines.audit.policy_checks import check_policy
from pipelines.audit.policy_file import policy_from_json, policy_to_json, read_policy
from pipelines.audit.subjects import CLASSES
from pipelines.errors import UsageError


@pytest.mark.parametrize("policy", [POLICY, DEMO_POLICY, FEW_USERS_POLICY], ids=lambda policy: policy.name)
def test_a_policy_is_read_as_it_was_written(policy: AuditPolicy, tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_text(policy_to_json(policy))
    assert policy_from_json(path) == policy


def test_without_a_file_it_is_the_labelled_demo_policy(tmp_path: Path) -> None:
    assert read_policy("") == DEMO_POLICY
    assert DEMO_POLICY.is_demo
    assert not POLICY.is_demo
    path = tmp_path / "policy.json"
    path.write_text('{"alpha": 0.01}')
    assert read_policy(str(path)) == replace(POLICY, alpha=0.01)


def refused(tmp_path: Path, text: str) -> str:
    path = tmp_path / "policy.json"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        policy_from_json(path)
    told = str(caught.value)
    assert str(path) in told
    assert "\n" not in told
    return told.replace(f"the audit policy {path}", "it")


def written(**changes: object) -> str:
    return json.dumps({**json.loads(policy_to_json(POLICY)), **changes})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (written(alhpa=0.02), "it has an unknown key, alhpa: is alpha meant?"),
        (written(resamples="many"), 'it: resamples cannot be "many"'),
        (written(is_demo=1), "it: is_demo cannot be 1"),
        (written(version=True), "it: version cannot be true"),
        (written(attributes="all"), 'it: attributes cannot be "all"'),
        (written(attributes=["age"]), 'it: attributes[0]. must be an object, not "age"'),
        (written(metrics=[{"nam": "x"}]), "it has an unknown key, metrics[0].nam: is metrics[0].name meant?"),
        (written(metrics=[{}]), "it lacks metrics[0].name"),
        (written(resamples=999), "it: resamples is 999; it must lie between 1000 and 1e+06"),
        (written(permutations=10), "it: permutations is 10; it must lie between 200 and 100000"),
        (written(attributes=[]), "it names no attributes: it asks nothing"),
        (
            written(attributes=[{"name": "age_band", "floor": 80}]),
            "it: the floor of age_band is 80; a ratio has from 0 to 1",
        ),
        (
            written(attributes=[{"name": "tenure", "order": ["a", "b"], "least": [1]}]),
            "it: tenure has 2 labels and 1 bounds",
        ),
        ("[]", "it: the whole must be an object, not []"),
        (written(metrics=[{"name": "ndcg_at_2"}]), "it names an unknown metric, ndcg_at_2: is ndcg_at_20 meant?"),
        (
            written(metrics=[{"name": "watched_popularity"}]),
            "it names an unknown metric, watched_popularity: is listed_popularity meant?",
        ),
        (written(attributes=[{"name": "gendre"}]), "it names an unknown attribute, gendre: is gender meant?"),
        (
            written(exposures=[{"name": "creator_teir"}]),
            "it names an unknown exposure, creator_teir: is creator_tier meant?",
        ),
        (
            written(exposures=[{"name": "is_new", "least_ratio": 0.2, "classes": ["now"]}]),
            "it names an unknown class of is_new, now: is new meant?",
        ),
        (written(attributes=[{"name": "gender"}, {"name": "gender"}]), "it names the attribute gender twice"),
        (
            written(metrics=[{"name": "recall_at_20", "kept_margin": 5}]),
            "it: the kept_margin of recall_at_20 is 5; it must lie between 0 and 0.95",
        ),
        (
            written(metrics=[{"name": "genre_miscalibration", "is_more_better": False, "kept_margin": 1.5}]),
            "it: the kept_margin of genre_miscalibration is 1.5; it must lie between 0 and 1",
        ),
        (
            written(metrics=[{"name": "recall_at_20", "kept_margin": -0.1}]),
            "it: the kept_margin of recall_at_20 is -0.1; it must lie between 0 and 0.95",
        ),
        (
            written(metrics=[{"name": "genre_miscalibration", "kept_margin": 0.1}]),
            "it: of genre_miscalibration less is better: is_more_better must be false",
        ),
        (
            written(metrics=[{"name": "list_age_days", "is_more_better": False, "has_floor": True}]),
            "it: list_age_days can have no floor, since less of it is better",
        ),
        (
            written(exposures=[{"name": "origin", "least_ratio": 50}]),
            "it: the least_ratio of origin is 50; it must lie between 0 and 1",
        ),
        (
            written(attributes=[{"name": "tenure", "order": ["a", "b", "c"], "least": [0, 40, 30]}]),
            "it: the bounds of tenure do not ascend",
        ),
        (
            written(attributes=[{"name": "activity_tier", "order": ["a", "b"], "least": [5, 5]}]),
            "it: the bounds of activity_tier do not ascend",
        ),
        (
            written(attributes=[{"name": "age_band", "order": ["young", "old"]}]),
            "it: age_band has 2 labels and 0 bounds",
        ),
        (
            written(attributes=[{"name": "activity_tier"}]),
            "it: activity_tier is cut from a number, and has no labels with bounds",
        ),
    ],
)
def test_a_typo_is_one_sentence_that_names_it(text: str, told: str, tmp_path: Path) -> None:
    assert refused(tmp_path, text) == told


@given(
    st.sampled_from([("attributes", ATTRIBUTES), ("metrics", tuple(IS_MORE_BETTER)), ("exposures", tuple(CLASSES))]),
    st.data(),
)
def test_a_name_with_one_letter_changed_is_never_taken(kind: tuple[str, tuple[str, ...]], data: st.DataObject) -> None:
    key, known = kind
    name = data.draw(st.sampled_from(known))
    at = data.draw(st.integers(0, len(name) - 1))
    changed = name[:at] + data.draw(st.characters(categories=["Ll"])) + name[at + 1 :]
    assume(changed not in known)
    policy = replace(POLICY, **{key: (replace(getattr(POLICY, key)[0], name=changed), *getattr(POLICY, key)[1:])})
    with pytest.raises(UsageError, match=f"it names an unknown {key[:-1]}, {changed}: is "):
        check_policy(policy, "it")


def test_what_is_known_by_name_is_what_is_computed() -> None:
    assert {one.name for one in POLICY.attributes} == set(ATTRIBUTES)
    assert {one.name for one in POLICY.metrics} == set(IS_MORE_BETTER)
    assert {one.name for one in POLICY.exposures} == set(CLASSES) - {"creator"}


def test_a_file_that_is_no_json_or_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    assert refused(tmp_path, "{alpha}").startswith("it is not JSON: ")
    with pytest.raises(UsageError, match=r"cannot be read: No such file or directory$"):
        policy_from_json(tmp_path / "other.json")
