"""A Spark session for one job: on this machine by default, on a cluster by settings."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress

from py4j.protocol import Py4JError
from pyspark import SparkContext
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from pipelines.errors import UnavailableError
from pipelines.spark_classes import folder_of_environment, kept_classes

_JVM_OPTIONS = "spark.driver.extraJavaOptions"
# Laying classes down takes a JVM some seconds at its end.
_END_SECONDS = 120


@contextmanager
def spark_session(
    name: str, master: str, memory: str, options: Mapping[str, str] | None = None
) -> Iterator[SparkSession]:
    """A session named after its job, stopped when the job ends.

    Args:
        name: the job; shown as the Spark application.
        master: `local[*]`, or the address of a cluster.
        memory: memory of the driver, which is all there is when the master is local: `2g`.
        options: further Spark settings, which win over ours; flags of the JVM that lead to its kept classes are added.

    Raises:
        UnavailableError: if Java or the master cannot be reached.
    """
    logging.getLogger("py4j").setLevel(logging.ERROR)
    builder = SparkSession.builder.appName(name).master(master)
    settings = {
        "spark.driver.memory": memory,
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
        # Days are UTC days, wherever the machine stands.
        "spark.sql.session.timeZone": "UTC",
        # The plan of an iterative job is deep, and is walked by recursion.
        _JVM_OPTIONS: "-Duser.timezone=UTC -Xss4m",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        # 200 partitions cost seconds where the data has megabytes; adaptive execution joins what is too small.
        "spark.sql.shuffle.partitions": "8" if master.startswith("local") else "200",
        "spark.sql.adaptive.enabled": "true",
        "spark.pyspark.python": sys.executable,
        "spark.python.daemon.module": "pipelines.spark_workers",
        # Workers of tables and of RDDs would have different environments, and none could be used for the other.
        "spark.sql.execution.pyspark.udf.simplifiedTraceback.enabled": "false",
    }
    if not master.startswith("local"):
        for name_of_local in ("spark.driver.bindAddress", "spark.driver.host"):
            del settings[name_of_local]
    settings |= options or {}
    # Before the JVM starts nobody has told it how loud to be.
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    with ExitStack() as stack:
        # A JVM that runs already, as tests have one, takes no flags.
        if master.startswith("local") and SparkContext._gateway is None:  # noqa: SLF001
            flags = stack.enter_context(kept_classes(folder_of_environment(), _end_jvm))
            settings[_JVM_OPTIONS] = f"{settings[_JVM_OPTIONS]} {flags}"
        for key, value in settings.items():
            builder = builder.config(key, value)
        try:
            spark = builder.getOrCreate()
        except Exception as error:
            raise UnavailableError(
                f"Spark at {master} cannot be started: {str(error).splitlines()[0][:200]}"
            ) from error
        # Of its own settings PySpark reads only the variable, and would take the first Python on the path.
        spark.sparkContext.pythonExec = settings["spark.pyspark.python"]
        try:
            yield spark
        except (Py4JError, PySparkException, ConnectionError) as error:
            raise UnavailableError(f"Spark failed in {name}: {_cause(error)}") from error
        finally:
            # Where its JVM has died there is nothing left to stop.
            with suppress(Py4JError, ConnectionError):
                spark.stop()


def _end_jvm() -> None:
    """End the JVM of this process and wait for it; the next session starts one of its own."""
    gateway = SparkContext._gateway  # noqa: SLF001
    if gateway is None:
        return
    SparkContext._gateway, SparkContext._jvm = None, None  # noqa: SLF001
    process = gateway.proc
    gateway.shutdown()
    if process is not None:
        # It lives as long as this pipe is open.
        process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)


def _cause(error: Exception) -> str:
    """The line of a Java stack trace that says what happened."""
    lines = [line.strip().removeprefix(": ") for line in str(error).splitlines() if line.strip()]
    said = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    return (said or lines[1:2] or lines or ["its process ended"])[-1][:300]
