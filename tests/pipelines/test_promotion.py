"""The record of decisions names the champion, and cannot be written twice under one number."""

from datetime import date
from pathlib import Path

import pytest

from pipelines.errors import RefusedError
from pipelines.evaluation.gate import Verdict
from pipelines.lake import Lake
from pipelines.promotion import champion, decide, decisions, with_day_in_order

DAY = date(2026, 1, 31)
YES, NO = Verdict(is_promoted=True, reasons=("better",)), Verdict(is_promoted=False, reasons=("worse",))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path))


def test_without_a_promotion_there_is_no_champion(lake: Lake) -> None:
    assert champion(lake) is None
    decide(lake, "r1", DAY, "a", NO)
    assert champion(lake) is None


def test_the_last_promotion_names_the_champion_and_refusals_change_nothing(lake: Lake) -> None:
    decide(lake, "r1", DAY, "a", YES)
    decide(lake, "r2", DAY, "b", YES)
    decide(lake, "r3", DAY, "c", NO)
    now = champion(lake)
    assert now is not None
    assert (now.challenger, now.champion_before) == ("b", "a")
    assert [(one.epoch, one.challenger, one.is_promoted, one.reasons) for one in decisions(lake)] == [
        (1, "a", True, ("better",)),
        (2, "b", True, ("better",)),
        (3, "c", False, ("worse",)),
    ]


def test_the_same_decision_again_is_recorded_once(lake: Lake) -> None:
    first = decide(lake, "r1", DAY, "a", YES)
    assert decide(lake, "r1", DAY, "a", YES) == first
    assert len(decisions(lake)) == 1


def test_two_who_decide_at_once_do_not_both_succeed(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    decide(lake, "r1", DAY, "a", YES)
    stale = decisions(lake)
    decide(lake, "r2", DAY, "b", YES)
    monkeypatch.setattr("pipelines.promotion.decisions", lambda _lake: stale)
    with pytest.raises(RefusedError, match="already holds record 2"):
        decide(lake, "r3", DAY, "c", YES)


def test_a_day_older_than_the_champions_is_refused_unless_told_to(lake: Lake) -> None:
    before = decide(lake, "r1", DAY, "a", YES)
    older = date(2026, 1, 30)
    refused = with_day_in_order(YES, older, before, allow_older=False)
    assert not refused.is_promoted
    assert refused.reasons[0].startswith("the champion is of 2026-01-31, a newer day than 2026-01-30")
    assert refused.reasons[1:] == YES.reasons
    assert with_day_in_order(YES, older, before, allow_older=True) == YES
    assert with_day_in_order(YES, DAY, before, allow_older=False) == YES
    assert with_day_in_order(YES, older, None, allow_older=False) == YES
