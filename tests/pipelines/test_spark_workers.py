"""The process that Spark's Python workers are made of."""

import gc
import os
import sys
from pathlib import Path

import pyarrow as pa


def of_parent(_=None):
    """The process that this worker was made of, how many threads it has, and what was laid aside before the fork."""
    parent = os.getppid()
    command = Path(f"/proc/{parent}/cmdline").read_text()
    return parent, command, len(list(Path(f"/proc/{parent}/task").iterdir())), gc.get_freeze_count()


def by_table(batches):
    for _ in batches:
        parent, *_ = of_parent()
        yield pa.record_batch([pa.array([parent])], ["parent"])


def test_workers_are_made_of_a_process_of_one_thread_that_has_laid_its_modules_aside(spark):
    found = spark.sparkContext.parallelize(range(2), 2).map(of_parent).collect()
    assert len({parent for parent, *_ in found}) == 1
    for _, command, threads, laid_aside in found:
        assert "pipelines.spark_workers" in command
        # What another thread held when a worker was made, the worker would wait for.
        assert threads == 1
        assert laid_aside > 10_000


def test_workers_of_tables_and_of_rdds_are_made_of_the_same_process(spark):
    ((parent, *_),) = spark.sparkContext.parallelize([0], 1).map(of_parent).collect()
    (row,) = spark.range(1).mapInArrow(by_table, "parent long").collect()
    assert row.parent == parent


def test_a_worker_does_not_import_what_only_the_driver_needs(spark):
    names = spark.sparkContext.parallelize([0], 1).map(lambda _: sorted(sys.modules)).collect()[0]
    assert "numba" in names
    assert not {"duckdb", "mlflow", "torch"} & set(names)
