"""The ranker finds planted preferences, forgets where a title was shown, and learns nothing from labels not there."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from feature_defs.ranking import CATEGORICALS, DENSE_FEATURES, HEADS
from pipelines.errors import DataError
from pipelines.models.calibration import reliabilities
from pipelines.models.ranker import Ranker
from pipelines.models.ranker_configuration import RankerConfiguration
from pipelines.models.ranker_inputs import RankerInputs
from pipelines.models.ranker_training import TrainedRanker, masked_loss, recalibrated, train

CPU = torch.device("cpu")
# What is planted is known by its codes alone, so few of them are hidden.
QUICK = RankerConfiguration(
    width=8,
    bottom_units=32,
    top_units=(32, 16),
    batch_size=512,
    epochs=8,
    learning_rate=6e-3,
    code_dropout=0.05,
    least_code_count=20,
)
LEARNED_UNTIL = date(2026, 1, 19)
# The column of the dense features by which titles are given their slots.
FAVOUR = 5
RATES = np.array([0.0, -0.5, -2.5, -3.0, -1.0, -3.0, -3.0])


@dataclass(frozen=True)
class World:
    """Impressions of ten days, with the logit by which each label was drawn."""

    inputs: RankerInputs
    labels: Any
    days: Any
    logits: Any

    def rows(self, which: Any) -> "World":
        return World(self.inputs.rows(which), self.labels[which], self.days[which], self.logits[which])


def planted(count: int, seed: int = 0, slot_effect: float = 0.0) -> World:
    """A taste of age bands in genres that no sum of both could tell, and some dense features.

    Where a title is shown hangs on a feature that has nothing to do with its quality: an editor's favourite, say.
    """
    generator = np.random.default_rng(seed)
    dense = generator.standard_normal((count, len(DENSE_FEATURES))).astype(np.float32)
    codes = np.stack([generator.integers(1, 13, count) for _ in CATEGORICALS], axis=1)
    taste = np.sign(np.random.default_rng(99).standard_normal((13, 13))) * 1.5
    quality = dense[:, 0] + taste[codes[:, 0], codes[:, 3]]
    slots = np.clip(10 - 4 * dense[:, FAVOUR] + 3 * generator.standard_normal(count), 0, 19).astype(np.int64)
    logits = quality[:, None] * np.where(np.array(HEADS) == "skip", -1, 1) + RATES
    seen = logits - slot_effect * slots[:, None]
    labels = (generator.random(logits.shape) < 1 / (1 + np.exp(-seen))).astype(np.float32)
    # The expected share is no event.
    labels[:, 0] = 1 / (1 + np.exp(-seen[:, 0]))
    days = np.datetime64("2026-01-20") + np.arange(count) * 10 // count
    return World(RankerInputs(dense, codes, slots), labels, days, logits)


def learned(world: World, configuration: RankerConfiguration = QUICK, **options: Any) -> TrainedRanker:
    return train(world.inputs, world.labels, world.days, LEARNED_UNTIL, configuration, device=CPU, **options)


def auc(labels: Any, scores: Any) -> float:
    ranks = np.empty(len(scores))
    ranks[np.argsort(scores, kind="stable")] = np.arange(len(scores))
    is_positive = labels > 0.5
    below = ranks[is_positive].mean() - (is_positive.sum() - 1) / 2
    return float(below / (~is_positive).sum())


def linear_baseline(learn: World, judge: World, head: int) -> Any:
    """Scores by least squares on dense features and one-hot codes."""

    def design(world: World) -> Any:
        hot = [np.eye(13)[world.inputs.codes[:, column]] for column in range(len(CATEGORICALS))]
        return np.hstack([world.inputs.dense, *hot, np.ones((len(world.inputs), 1))])

    line = np.linalg.lstsq(design(learn), learn.labels[:, head], rcond=None)[0]
    return design(judge) @ line


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Such small steps gain nothing from a second thread, and wait for it for seconds where others use the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def world() -> World:
    return planted(30_000)


@pytest.fixture(scope="module")
def trained(world: World) -> TrainedRanker:
    return learned(world)


def test_planted_preferences_come_back_where_no_line_finds_them(world: World, trained: TrainedRanker) -> None:
    judge = planted(5000, seed=1)
    predictions = trained.ranker.predict(judge.inputs)
    head = HEADS.index("complete")
    reached = auc(judge.labels[:, head], predictions[:, head])
    assert reached > auc(judge.labels[:, head], linear_baseline(world, judge, head)) + 0.05
    assert reached > auc(judge.labels[:, head], judge.logits[:, head]) - 0.02
    for column, name in enumerate(HEADS):
        assert auc(judge.labels[:, column], predictions[:, column]) > 0.7, name
    np.testing.assert_allclose(
        predictions[:, 0].mean(), judge.labels[:, 0].mean(), atol=0.02
    )  # the share is a mean, not a class
    assert trained.losses[-1] < trained.losses[0]


def test_the_score_ranks_by_what_was_planted(trained: TrainedRanker) -> None:
    judge = planted(5000, seed=1)
    scores = trained.ranker.score(judge.inputs)
    assert np.corrcoef(scores, judge.logits[:, 0])[0, 1] > 0.9


def test_rare_and_frequent_heads_are_calibrated(trained: TrainedRanker) -> None:
    judge = planted(20_000, seed=2)
    predictions = trained.ranker.predict(judge.inputs)
    for column, reliability in enumerate(trained.reliabilities):
        assert reliability.head == HEADS[column]
        assert reliability.expected_calibration_error < 0.03
        assert predictions[:, column].mean() == pytest.approx(judge.labels[:, column].mean(), abs=0.02)


def test_quality_comes_back_from_clicks_that_hang_on_the_slot() -> None:
    biased, judge = planted(30_000, slot_effect=0.25), planted(5000, seed=1)
    head = HEADS.index("complete")
    with_slots = learned(biased).ranker
    blind = learned(replace(biased, inputs=replace(biased.inputs, slots=np.full(30_000, -1)))).ranker
    found = with_slots.logits(judge.inputs, with_slots=False)[:, head]
    misled = blind.logits(judge.inputs, with_slots=False)[:, head]
    true, favour = judge.logits[:, head], judge.inputs.dense[:, FAVOUR]
    assert np.corrcoef(found, true)[0, 1] > 0.9
    assert abs(np.corrcoef(found, favour)[0, 1]) < 0.15
    # Without slots, what was shown high is taken for what is good.
    assert np.corrcoef(misled, true)[0, 1] < 0.87
    assert np.corrcoef(misled, favour)[0, 1] > 0.35
    # The planted effect itself: a quarter of a logit a slot.
    effect = with_slots.network.slot_bias.weight.detach().numpy()[1:21, head]
    assert np.polyfit(np.arange(20), effect, 1)[0] == pytest.approx(-0.25, abs=0.08)


def test_a_head_without_labels_is_never_trained_and_never_counted(world: World) -> None:
    masked = world.labels.copy()
    masked[:, HEADS.index("report")] = np.nan
    ranker = learned(replace(world, labels=masked), replace(QUICK, epochs=1)).ranker
    report = HEADS.index("report")
    assert ranker.is_masked.tolist() == [head == "report" for head in HEADS]
    assert not ranker.network.heads.weight[report].any()
    assert not ranker.network.heads.bias[report].any()
    assert not ranker.network.slot_bias.weight[:, report].any()
    assert not ranker.predict(world.inputs)[:, report].any()
    again = Ranker.from_files(ranker.to_files(), CPU)
    assert again.is_masked[report]


def test_labels_that_are_not_there_give_no_gradient() -> None:
    logits = torch.zeros((4, len(HEADS)), requires_grad=True)
    labels = torch.full((4, len(HEADS)), float("nan"))
    labels[1, 2] = 1
    masked_loss(logits, labels, torch.ones(len(HEADS))).backward()
    expected = torch.zeros_like(labels)
    expected[1, 2] = -0.5 / 4
    torch.testing.assert_close(logits.grad, expected)


def test_labels_missing_here_and_there_do_not_spoil_the_others(world: World) -> None:
    sparse = world.labels.copy()
    sparse[np.random.default_rng(3).random(sparse.shape) < 0.5] = np.nan
    found = learned(replace(world, labels=sparse)).ranker
    judge = planted(5000, seed=1)
    head = HEADS.index("complete")
    predictions = found.predict(judge.inputs)
    assert np.isfinite(predictions).all()
    assert auc(judge.labels[:, head], predictions[:, head]) > auc(judge.labels[:, head], judge.logits[:, head]) - 0.04


def test_the_same_seed_makes_the_same_bytes_and_another_does_not() -> None:
    small, short = planted(4000), replace(QUICK, epochs=1)
    first, second = (learned(small, short).ranker.to_files() for _ in range(2))
    assert first == second
    assert learned(small, replace(short, seed=2)).ranker.to_files() != first


def test_learning_is_deterministic_by_torchs_own_rules() -> None:
    # Torch raises where a step has no deterministic way; and the way it then takes is the one taken anyway.
    torch.use_deterministic_algorithms(True)
    try:
        strict = learned(planted(2000), replace(QUICK, epochs=1))
    finally:
        torch.use_deterministic_algorithms(False)
    assert strict.ranker.to_files() == learned(planted(2000), replace(QUICK, epochs=1)).ranker.to_files()


def test_learning_in_half_precision_reaches_nearly_the_same(world: World, trained: TrainedRanker) -> None:
    judge = planted(5000, seed=1)
    half = learned(world, is_bf16=True)
    assert half.losses[-1] == pytest.approx(trained.losses[-1], rel=0.02)
    assert np.corrcoef(half.ranker.score(judge.inputs), trained.ranker.score(judge.inputs))[0, 1] > 0.99


def test_learning_leaves_the_random_state_of_others_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    learned(planted(1000), replace(QUICK, epochs=1))
    torch.testing.assert_close(torch.rand(3), expected)


def test_inputs_may_be_memory_mapped_and_half_wide(tmp_path: Path) -> None:
    small, short = planted(4000), replace(QUICK, epochs=1)
    np.save(tmp_path / "dense.npy", small.inputs.dense.astype(np.float16))
    np.save(tmp_path / "codes.npy", small.inputs.codes.astype(np.int32))
    np.save(tmp_path / "labels.npy", small.labels.astype(np.float16))
    dense, codes, labels = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("dense", "codes", "labels"))
    mapped = learned(World(RankerInputs(dense, codes, small.inputs.slots), labels, small.days, None), short).ranker
    plain = learned(small, short).ranker
    assert np.abs(mapped.predict(small.inputs) - plain.predict(small.inputs)).max() < 0.02


def test_a_code_seldom_seen_has_the_vector_of_the_unknown() -> None:
    small = planted(4000)
    codes = small.inputs.codes.copy()
    codes[:5, 0] = 77
    ranker = learned(replace(small, inputs=replace(small.inputs, codes=codes)), replace(QUICK, epochs=1)).ranker
    weight = ranker.network.embedding.weight
    torch.testing.assert_close(weight[77], weight[0])
    assert not torch.equal(weight[5], weight[0])


def test_the_newest_days_are_held_out() -> None:
    small = planted(4000)
    labels = small.labels.copy()
    # Only the newest day knows of reports: none is learned from, so the head is masked.
    labels[:, HEADS.index("report")] = np.where(small.days == small.days.max(), labels[:, -1], np.nan)
    ranker = learned(replace(small, labels=labels), replace(QUICK, epochs=1)).ranker
    assert ranker.is_masked[HEADS.index("report")]
    assert (ranker.facts.first_day, ranker.facts.last_day) == (date(2026, 1, 20), date(2026, 1, 29))


def test_a_ranker_is_recalibrated_to_a_world_that_changed(trained: TrainedRanker) -> None:
    later = planted(20_000, seed=4)
    fewer = (np.random.default_rng(1).random(later.labels.shape) < 0.5) * later.labels
    labels = fewer.astype(np.float32)
    labels[:, HEADS.index("report")] = np.nan
    is_held_out = np.arange(20_000) % 3 == 0
    again, found = recalibrated(trained.ranker, later.inputs, labels, is_held_out)
    predicted, used = again.predict(later.inputs)[is_held_out], np.where(trained.ranker.is_masked, np.nan, labels)
    judged = reliabilities(HEADS, predicted, used[is_held_out])
    for head in ("complete", "share", "follow"):
        column = HEADS.index(head)
        before = trained.ranker.predict(later.inputs)[:, column].mean()
        after = again.predict(later.inputs)[:, column].mean()
        assert abs(after - fewer[:, column].mean()) < 0.02 < abs(before - fewer[:, column].mean())
        # Halved probabilities are no line of logits, so something is left over.
        assert judged[column].expected_calibration_error < 0.05
        assert found.is_kept[column]
        assert found.losses_after[column] < found.losses_before[column]
    report = HEADS.index("report")
    assert again.facts.calibration.slopes[report] == trained.ranker.facts.calibration.slopes[report]
    assert again.network is trained.ranker.network


@pytest.mark.parametrize("count", [1, 2, 30])
def test_few_impressions_of_a_single_day_are_learned_from_too(count: int) -> None:
    small = planted(30).rows(slice(0, count))
    days = np.full(count, np.datetime64("2026-01-20"))
    found = learned(replace(small, days=days))
    assert np.isfinite(found.ranker.score(small.inputs)).all()


def test_impressions_not_later_than_the_scores_they_read_are_refused() -> None:
    small = planted(100)
    with pytest.raises(DataError, match="impressions of 2026-01-20 are not later than 2026-01-20"):
        train(small.inputs, small.labels, small.days, date(2026, 1, 20), QUICK, device=CPU)
    before = small.days - 1
    before[-1] += 1
    with pytest.raises(DataError, match="impressions of 2026-01-29 are not later than 2026-01-29"):
        train(small.inputs, small.labels, small.days, before, QUICK, device=CPU)


def test_impressions_that_cannot_be_learned_from_are_refused() -> None:
    small = planted(100)
    beyond, unknown = small.labels.copy(), small.inputs.dense.copy()
    beyond[7, 1] = 1.5
    unknown[3, 3] = np.nan
    for broken, message in (
        (replace(small, labels=beyond), "outside 0 to 1"),
        (replace(small, labels=small.labels[:, :3]), "labels are"),
        (replace(small, days=small.days[:3]), "days are"),
        (replace(small, inputs=replace(small.inputs, dense=unknown)), "not all finite"),
        (replace(small, inputs=replace(small.inputs, codes=small.inputs.codes + 9000)), "outside the declared"),
        (replace(small, labels=np.full_like(small.labels, np.nan)), "no head"),
        (small.rows(slice(0, 0)), "no impressions"),
    ):
        with pytest.raises(DataError, match=message):
            learned(broken)
