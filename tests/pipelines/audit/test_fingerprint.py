"""Another night's work has the same fingerprint, another kind of model another one."""

from dataclasses import asdict, replace

import pytest

from feature_defs import features, ranking
from pipelines.audit import fingerprint
from pipelines.audit.fingerprint import fingerprint_of
from pipelines.configuration import RunConfiguration, configuration_from_json, configuration_to_json

ONE = RunConfiguration()


def test_it_survives_being_written_and_read() -> None:
    assert fingerprint_of(configuration_from_json(configuration_to_json(ONE))) == fingerprint_of(ONE)
    assert len(fingerprint_of(ONE)) == 64


@pytest.mark.parametrize(
    "other",
    [
        replace(ONE, truth_days=7, shard_count=16),
        replace(ONE, gate=replace(ONE.gate, margin_share=0.01)),
        replace(ONE, als=replace(ONE.als, seed=2, iterations=3)),
        replace(ONE, towers=replace(ONE.towers, seed=2, epochs=3, learning_rate=0.1)),
        replace(ONE, ranker=replace(ONE.ranker, seed=2, epochs=3)),
    ],
)
def test_seeds_days_and_how_hard_models_learn_do_not_matter(other: RunConfiguration) -> None:
    assert fingerprint_of(other) == fingerprint_of(ONE)


@pytest.mark.parametrize(
    "other",
    [
        replace(ONE, als=replace(ONE.als, factors=32)),
        replace(ONE, towers=replace(ONE.towers, blocks=5)),
        replace(ONE, towers=replace(ONE.towers, user_buckets=16)),
        replace(ONE, ranker=replace(ONE.ranker, top_units=(256, 64))),
        replace(ONE, funnel=replace(ONE.funnel, diversity=replace(ONE.funnel.diversity, genre_limit=3))),
        replace(ONE, text_encoder="another"),
    ],
)
def test_another_architecture_or_another_way_to_make_lists_matters(other: RunConfiguration) -> None:
    assert fingerprint_of(other) != fingerprint_of(ONE)


def test_another_set_of_features_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint_of(ONE)
    monkeypatch.setattr(fingerprint, "DENSE_FEATURES", ranking.DENSE_FEATURES[:-1])
    fewer = fingerprint_of(ONE)
    assert fewer != before
    monkeypatch.setattr(fingerprint, "USER_FEATURES", features.ITEM_FEATURES)
    assert fingerprint_of(ONE) not in {before, fewer}


def test_every_name_that_does_not_matter_is_one_of_the_configuration() -> None:
    def names(values: dict[str, object], prefix: str = "") -> set[str]:
        found = set()
        for name, value in values.items():
            found |= {prefix + name} | (names(value, f"{prefix}{name}.") if isinstance(value, dict) else set())
        return found

    assert names(asdict(ONE)) >= fingerprint._NIGHTLY | fingerprint._LEARNING
