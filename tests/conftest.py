"""One Spark for all tests of a process, in a place where some days have 23 and some 25 hours."""

import sys
from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from pipelines.spark_session import spark_session

# PySpark takes a main module without a file, as that of a pytest-xdist worker, for a doctest, and ends the process.
if not hasattr(sys.modules["__main__"], "__file__"):
    sys.modules["__main__"].__file__ = __file__


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    options = {
        # What is UTC must be so by our own doing: machine and session stand in Berlin.
        "spark.driver.extraJavaOptions": "-Duser.timezone=Europe/Berlin -XX:TieredStopAtLevel=1",
        "spark.sql.session.timeZone": "Europe/Berlin",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.adaptive.enabled": "false",
    }
    with spark_session("tests", "local[2]", "1g", options) as session:
        yield session
