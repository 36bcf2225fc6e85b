"""What a killed job left beside the lake goes after a day; what is in use stays."""

import os
import time
from pathlib import Path

from pipelines.lake import Lake
from pipelines.staging import remove_stale, staging


def test_a_folder_is_there_while_it_is_used_and_gone_after(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    with staging(lake) as (_, path, _):
        assert Path(path).is_dir()
        assert remove_stale(lake) == 0
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_job_left_is_removed_after_a_day(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    left = tmp_path / ".staging-dead"
    left.mkdir()
    (left / "part.parquet").write_bytes(b"rows")
    (tmp_path / "other").mkdir()
    two_days_ago = time.time() - 2 * 86_400
    for path in (left / "part.parquet", left, tmp_path / "other"):
        os.utime(path, (two_days_ago, two_days_ago))
    assert remove_stale(lake) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
