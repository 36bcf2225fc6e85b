"""Spark reads the files of a version, less the rows of erased users."""

from pathlib import Path

from erasable import DAYS, OTHER, RARE, events

from feature_defs.events import EVENTS
from pipelines.erasure import suppress
from pipelines.lake import Lake
from pipelines.spark_tables import read_table, sorted_rows
from pipelines.stores.embedded import EmbeddedStore


def test_an_erased_user_is_read_from_no_version_and_written_by_nobody(spark, tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    version = lake.replace(EVENTS, events(DAYS[0], RARE, OTHER), DAYS[0]).version
    before = read_table(spark, lake, EVENTS)
    assert before.count() == 6
    with EmbeddedStore(tmp_path / "lists.lmdb") as store:
        suppress(lake, store, RARE)
    rows = read_table(spark, lake, EVENTS, version=version).collect()
    assert {row.user_id for row in rows} == {OTHER}
    # A job that had read before the erasure writes after it.
    with sorted_rows(before, EVENTS, lake) as stream:
        assert lake.replace(EVENTS, stream, DAYS[0]).row_count == 3
