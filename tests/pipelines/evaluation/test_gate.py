"""What the gate lets pass, and what it refuses with which reason."""

import pytest

from pipelines.evaluation.bootstrap import Interval
from pipelines.evaluation.gate import GateConfiguration, Held, metric_gate

CONFIGURATION = GateConfiguration()


def held(mean: float, low: float, high: float, users: int = 100) -> Held:
    return Held("champion", users, Interval(0.2, 0.15, 0.25), Interval(mean, low, high))


@pytest.mark.parametrize("one", [held(0.05, 0.01, 0.09), held(0.0, 0.0, 0.0), held(-0.005, -0.03, 0.02)])
def test_a_challenger_that_is_not_worse_passes(one: Held) -> None:
    verdict = metric_gate([one], CONFIGURATION)
    assert verdict.is_promoted
    assert verdict.reasons[0].startswith("not worse: ndcg_at_20")


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (held(-0.15, -0.2, -0.1), "shown to be worse: ndcg_at_20 -0.1500"),
        (held(-0.004, -0.006, -0.002), "shown to be worse"),
        (held(-0.02, -0.08, 0.04), "looks worse by more than 5%"),
        (held(0.05, 0.01, 0.09, users=19), "19 users with something to find are too few"),
        (held(float("nan"), float("nan"), float("nan"), users=0), "0 users"),
    ],
)
def test_a_challenger_is_refused_with_the_reason(one: Held, words: str) -> None:
    verdict = metric_gate([one], CONFIGURATION)
    assert not verdict.is_promoted
    assert verdict.reasons[0].startswith(words)


def test_one_refusal_among_several_references_refuses_and_all_reasons_are_listed() -> None:
    verdict = metric_gate([held(0.05, 0.01, 0.09), held(-0.15, -0.2, -0.1)], CONFIGURATION)
    assert not verdict.is_promoted
    assert [reason.split(":")[0] for reason in verdict.reasons] == ["shown to be worse", "not worse"]


def test_nothing_to_be_held_against_promotes_nothing() -> None:
    assert not metric_gate([], CONFIGURATION).is_promoted
