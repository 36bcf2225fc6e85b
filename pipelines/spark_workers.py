"""The process that Spark's Python workers are made of: what they need has been imported before the first is made.

Spark starts it where it first needs a worker, as `python -m pipelines.spark_workers`, and it forks itself for each: a
worker that imports by itself takes a second and more until its first result. What is laid aside here is not gone
through again by the collection of garbage that PySpark asks of a worker after every task, a tenth of a second each.

Whatever starts threads is left to the workers, pyarrow and pandas among it: a fork takes no threads along.
"""

import gc

import numpy as np
import pyspark.worker  # noqa: F401  (what a worker runs)
from pyspark import daemon

from pipelines.models.als_blocks import lay_out, solve_block


def make_ready() -> None:
    """Load the compiled kernel of ALS, and lay aside all that is there."""
    one = np.ones(1, np.float32)
    block = lay_out(np.ones(1, np.int64), np.ones(1, np.int64), one)
    solve_block(block, one[None], one, alpha=1.0, regularization=1.0)
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    make_ready()
    daemon.manager()
