"""A policy as a file: what is written is read, and a typo is one sentence."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from feature_defs.audit_policy import DEMO_POLICY, FEW_USERS_POLICY, POLICY, AuditPolicy
from pipelines.audit.policy_file import policy_from_json, policy_to_json, read_policy
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
    ],
)
def test_a_typo_is_one_sentence_that_names_it(text: str, told: str, tmp_path: Path) -> None:
    assert refused(tmp_path, text) == told


def test_a_file_that_is_no_json_or_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    assert refused(tmp_path, "{alpha}").startswith("it is not JSON: ")
    with pytest.raises(UsageError, match=r"cannot be read: No such file or directory$"):
        policy_from_json(tmp_path / "other.json")
