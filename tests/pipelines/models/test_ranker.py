"""A ranker survives being written and read, refuses what is not one, and scores by its declared policy."""

import json
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
import safetensors.torch
import torch

from feature_defs.ranking import CATEGORICALS, DENSE_FEATURES, HEADS, POLICY_WEIGHTS
from pipelines.errors import DataError
from pipelines.models.calibration import Calibration
from pipelines.models.ranker import Ranker, RankerFacts, RankerNetwork, declared_weights
from pipelines.models.ranker_configuration import RankerConfiguration
from pipelines.models.ranker_inputs import RankerInputs

SMALL = RankerConfiguration(width=4, bottom_units=8, top_units=(8, 4))


def ranker(masked: tuple[str, ...] = ("report",)) -> Ranker:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = RankerNetwork(SMALL)
        torch.nn.init.normal_(network.heads.weight)
        torch.nn.init.normal_(network.slot_bias.weight)
    facts = RankerFacts(
        SMALL,
        np.full(len(DENSE_FEATURES), 0.5, np.float32),
        np.full(len(DENSE_FEATURES), 2, np.float32),
        np.isin(HEADS, masked),
        np.linspace(-1, 1, len(HEADS), dtype=np.float32),
        Calibration(np.linspace(0.5, 2, len(HEADS)), np.linspace(-1, 0, len(HEADS))),
        declared_weights(),
        date(2026, 1, 1),
        date(2026, 1, 9),
    )
    return Ranker(network, facts, torch.device("cpu"))


def some_inputs(count: int) -> RankerInputs:
    generator = np.random.default_rng(8)
    codes = [generator.integers(0, categorical.bucket_count, count) for categorical in CATEGORICALS]
    dense = generator.standard_normal((count, len(DENSE_FEATURES))).astype(np.float32)
    return RankerInputs(dense, np.stack(codes, 1), generator.integers(-1, 50, count))


def test_heads_and_policy_are_declared_alike() -> None:
    assert len(HEADS) == len(POLICY_WEIGHTS)
    assert dict(zip(HEADS, POLICY_WEIGHTS, strict=True))["not_interested"] == -2.0
    for declared in (DENSE_FEATURES, CATEGORICALS):
        assert len({feature.name for feature in declared}) == len(declared)


def test_a_ranker_comes_back_from_its_files_to_the_last_bit() -> None:
    before = ranker()
    files = before.to_files()
    after = Ranker.from_files(files, torch.device("cpu"))
    np.testing.assert_array_equal(before.predict(some_inputs(100)), after.predict(some_inputs(100)))
    assert after.to_files() == files
    assert set(files) == {"ranker.safetensors", "ranker.json"}


def test_the_score_is_the_weighted_sum_of_predictions_without_masked_heads() -> None:
    predictions, scores = ranker().predict(some_inputs(50)), ranker().score(some_inputs(50))
    assert not predictions[:, HEADS.index("report")].any()
    assert (predictions[:, :-1] > 0).all()
    assert (predictions < 1).all()
    np.testing.assert_allclose(scores, predictions @ np.array(POLICY_WEIGHTS), atol=1e-5)


def test_slots_are_not_read_in_scoring() -> None:
    shown = some_inputs(50)
    elsewhere = replace(shown, slots=np.full(50, 3))
    np.testing.assert_array_equal(ranker().predict(shown), ranker().predict(elsewhere))
    assert not np.array_equal(ranker().logits(shown, with_slots=True), ranker().logits(elsewhere, with_slots=True))


@pytest.mark.parametrize("count", [0, 1, 9000])
def test_any_number_of_pairs_is_scored_each_for_itself(count: int) -> None:
    pairs = some_inputs(count)
    scores = ranker().score(pairs)
    assert scores.shape == (count,)
    assert scores.dtype == np.float32
    if count:
        np.testing.assert_allclose(ranker().score(pairs.rows(slice(count - 1, count))), scores[-1:], rtol=1e-4)


def test_half_precision_is_close_to_full() -> None:
    full, half = ranker().predict(some_inputs(500)), ranker().predict(some_inputs(500), is_bf16=True)
    assert np.abs(full - half).max() < 0.03
    assert not np.array_equal(full, half)


def test_dense_inputs_far_from_all_that_was_learned_stay_finite() -> None:
    pairs = some_inputs(5)
    assert np.isfinite(ranker().predict(replace(pairs, dense=pairs.dense * np.float32(1e30)))).all()


def test_read_only_and_half_wide_inputs_are_scored_too() -> None:
    pairs = some_inputs(20)
    pairs.dense.setflags(write=False)
    halved = replace(pairs, dense=pairs.dense.astype(np.float16), codes=pairs.codes.astype(np.int32))
    np.testing.assert_allclose(ranker().predict(pairs), ranker().predict(halved), atol=5e-3)


def test_weights_that_are_not_finite_or_do_not_fit_are_refused() -> None:
    files = ranker().to_files()
    weights = safetensors.torch.load(files["ranker.safetensors"])
    broken = weights | {"heads.bias": torch.full((len(HEADS),), float("nan"))}
    with pytest.raises(DataError, match=r"heads\.bias of a ranker are not all finite"):
        Ranker.from_files(files | {"ranker.safetensors": safetensors.torch.save(broken)})
    narrow = weights | {"heads.bias": torch.zeros(2)}
    with pytest.raises(DataError, match="dimensions"):
        Ranker.from_files(files | {"ranker.safetensors": safetensors.torch.save(narrow)})
    with pytest.raises(DataError, match="cannot be read"):
        Ranker.from_files(files | {"ranker.safetensors": b"no tensors"})
    with pytest.raises(DataError, match="lacks its file"):
        Ranker.from_files({"ranker.json": files["ranker.json"]})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format 2"),
        ({"heads": ["watch"]}, "other heads"),
        ({"dense_features": []}, "other dense_features"),
        ({"categoricals": {}}, "other categoricals"),
        ({"scales": [1.0]}, r"scales of shape \(1,\)"),
        ({"means": [float("nan")] * len(DENSE_FEATURES)}, "means of a ranker are not all finite"),
        ({"scales": [0.0] * len(DENSE_FEATURES)}, "not all positive"),
        ({"policy_weights": [1.0] * 3}, "policy weights of shape"),
        ({"slopes": [-1.0] * len(HEADS)}, "positive"),
        ({"configuration": {"depth": 3}}, "not as it is written"),
        ({"last_day": None}, "not as it is written"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(changes: dict[str, object], message: str) -> None:
    files = ranker().to_files()
    described = json.loads(files["ranker.json"]) | changes
    with pytest.raises(DataError, match=message):
        Ranker.from_files(files | {"ranker.json": json.dumps(described).encode()})


def test_a_ranker_from_before_a_feature_was_declared_predicts_as_it_did() -> None:
    files = ranker().to_files()
    described, weights = json.loads(files["ranker.json"]), safetensors.torch.load(files["ranker.safetensors"])
    # Two features, one of them the last, of which it knew nothing.
    lacking = [3, len(DENSE_FEATURES) - 1]
    kept = [at for at in range(len(DENSE_FEATURES)) if at not in lacking]
    hidden = weights["heads.weight"].shape[1] - len(DENSE_FEATURES)
    blind = {name: tensor.clone() for name, tensor in weights.items()}
    blind["bottom.0.weight"][:, lacking] = 0
    blind["heads.weight"][:, [hidden + at for at in lacking]] = 0
    before = blind | {
        "bottom.0.weight": blind["bottom.0.weight"][:, kept].contiguous(),
        "heads.weight": blind["heads.weight"][:, [*range(hidden), *(hidden + at for at in kept)]].contiguous(),
    }
    names = {name: [described[name][at] for at in kept] for name in ("dense_features", "means", "scales")}
    old = {"ranker.json": json.dumps(described | names).encode(), "ranker.safetensors": safetensors.torch.save(before)}
    told = files | {"ranker.safetensors": safetensors.torch.save(blind)}
    pairs = some_inputs(200)
    np.testing.assert_array_equal(Ranker.from_files(old).predict(pairs), Ranker.from_files(told).predict(pairs))
    for name, message in (("scales", "other dense_features"), ("means", "other dense_features")):
        short = described | names | {name: names[name][1:]}
        with pytest.raises(DataError, match=message):
            Ranker.from_files(old | {"ranker.json": json.dumps(short).encode()})
    with pytest.raises(DataError, match="other dense_features"):
        Ranker.from_files(old | {"ranker.json": json.dumps(described | {"dense_features": ["mood"]}).encode()})
    with pytest.raises(DataError, match="dimensions"):
        Ranker.from_files(old | {"ranker.safetensors": told["ranker.safetensors"]})


@pytest.mark.parametrize("text", [b"", b"[]", b"\xff"])
def test_a_description_that_is_none_is_refused(text: bytes) -> None:
    with pytest.raises(DataError):
        Ranker.from_files(ranker().to_files() | {"ranker.json": text})
