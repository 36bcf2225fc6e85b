"""The lists that an evaluation keeps are those that the audit of its run reads."""

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from feature_defs.judged_lists import JUDGED_LISTS
from pipelines.configuration import RunConfiguration
from pipelines.errors import DataError
from pipelines.evaluation.judged_lists import judged_rows, judged_sets, read_judged, role_of
from pipelines.lake import Lake
from pipelines.runs import Run

DAY = date(2026, 1, 31)
USERS = np.array([3, 5, 9])
RANKING = np.array([[7, 8, 9], [4, -1, -1], [-1, -1, -1]])


def test_lists_come_back_in_the_order_asked_for_and_nobodys_is_empty(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    run = Run("20260131-0123456789ab", DAY, "daily", 1, RunConfiguration(), {})
    rows = [
        judged_rows(run.run_id, "challenger", "a" * 32, USERS, RANKING),
        judged_rows(run.run_id, "champion", "b" * 32, USERS, RANKING[:, ::-1] + 10 * (RANKING[:, ::-1] >= 0)),
        judged_rows("20260131-another00000", "challenger", "c" * 32, USERS, RANKING + 20),
    ]
    lake.replace(JUDGED_LISTS, pa.concat_tables(rows), DAY)
    found = read_judged(lake, run, "challenger", np.array([9, 3, 4]), 4)
    assert found.tolist() == [[-1, -1, -1, -1], [7, 8, 9, -1], [-1, -1, -1, -1]]
    champion = read_judged(lake, run, "champion", USERS, 3)
    assert champion[0].tolist() == [19, 18, 17]


def test_a_role_that_was_not_judged_has_no_lists(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    run = Run("20260131-0123456789ab", DAY, "daily", 1, RunConfiguration(), {})
    assert judged_sets(lake, run) == {}
    assert (read_judged(lake, run, "challenger", USERS, 3) == -1).all()
    lake.replace(JUDGED_LISTS, judged_rows(run.run_id, "challenger", "a" * 32, USERS, RANKING), DAY)
    assert judged_sets(lake, run) == {"challenger": "a" * 32}
    assert (read_judged(lake, run, "champion", USERS, 3) == -1).all()


def test_a_set_is_found_in_the_role_it_was_judged_in_and_one_that_was_not_is_a_sentence(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    run = Run("20260131-0123456789ab", DAY, "daily", 1, RunConfiguration(), {})
    rows = [
        judged_rows(run.run_id, "champion", "b" * 32, USERS, RANKING),
        judged_rows(run.run_id, "challenger", "a" * 32, USERS, RANKING),
        judged_rows("20260131-another00000", "challenger", "c" * 32, USERS, RANKING),
    ]
    lake.replace(JUDGED_LISTS, pa.concat_tables(rows), DAY)
    assert [role_of(lake, run, letter * 32) for letter in "ab"] == ["challenger", "champion"]
    with pytest.raises(DataError, match=f"kept no lists of model set {'c' * 32}, as no user had something to find or"):
        role_of(lake, run, "c" * 32)


def test_a_champion_that_challenges_again_is_the_challenger(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    run = Run("20260131-0123456789ab", DAY, "daily", 1, RunConfiguration(), {})
    rows = [judged_rows(run.run_id, role, "a" * 32, USERS, RANKING) for role in ("champion", "challenger")]
    lake.replace(JUDGED_LISTS, pa.concat_tables(rows), DAY)
    assert role_of(lake, run, "a" * 32) == "challenger"
