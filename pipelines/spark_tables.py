"""Between the lake and Spark: a pinned version's files as a frame, and a frame as the sorted stream the lake takes.

Spark reads the files that a version names, and never the folder: what a later commit adds or takes away is not seen.
It writes to a staging folder beside the lake, which the lake then reads back, checks and commits: nothing that was not
checked is ever in a table, and neither side holds all rows in memory.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs
from pyspark.sql import DataFrame, SparkSession

from feature_defs.declarations import Table
from pipelines.arrow_schemas import arrow_schema
from pipelines.lake import Lake
from pipelines.spark_schemas import spark_schema
from pipelines.staging import staging
from pipelines.suppressed_rows import is_of_users

_BATCH_ROWS = 256 * 1024


def read_table(
    spark: SparkSession,
    lake: Lake,
    table: Table,
    first_day: date | None = None,
    last_day: date | None = None,
    *,
    version: int | None = None,
) -> DataFrame:
    """The rows of a range of days, of a pinned version or the newest: the declared columns and `day`.

    A table that was never written, or not on those days, has no rows. Users whose erasure was asked for have none.
    """
    files = lake.files(table, first_day, last_day, version=version)
    schema = spark_schema(table)
    if not files:
        return spark.createDataFrame([], schema)
    root = _for_spark(lake.uri(table))
    rows = spark.read.schema(schema).option("basePath", root).parquet(*map(_for_spark, files))
    erased = lake.erased_users() if is_of_users(table) else ()
    if not len(erased):
        return rows
    # As text: a literal each would be a call each into the JVM, and rows that come from Python a job of their own.
    return rows.where(f"user_id NOT IN ({', '.join(map(str, erased))})")


@contextmanager
def sorted_rows(frame: DataFrame, table: Table, lake: Lake) -> Iterator[pa.RecordBatchReader]:
    """The rows of a frame as a stream sorted by `day` and the table's key, for `Lake.replace`.

    Spark lays the rows down as they come and DuckDB sorts them, on disk where they are many: to sort a whole frame
    Spark would first have to compute it once more, to learn where to cut.

    Args:
        frame: rows with the declared columns and `day`.
        table: what is declared of them.
        lake: beside which the rows are staged; the staging folder is gone when the context is left.

    Raises:
        UnavailableError: if the staging folder cannot be written.
    """
    columns = [*table.names, "day"]
    order = ", ".join(f'"{name}" ASC NULLS LAST' for name in ("day", *table.key))
    with staging(lake) as (system, path, uri), duckdb.connect() as engine:
        frame.select(*columns).write.mode("overwrite").parquet(_for_spark(uri))
        engine.execute("SET TimeZone = 'UTC'")
        engine.execute("SET memory_limit = '1GB'")
        engine.register("rows", _parts(system, path, table))
        yield engine.sql(f"SELECT * FROM rows ORDER BY {order}").to_arrow_reader(_BATCH_ROWS)  # noqa: S608


def _parts(system: pafs.FileSystem, path: str, table: Table) -> ds.Dataset:
    # Spark lays instants down as INT96, which Arrow would read as nanoseconds.
    parquet = ds.ParquetFileFormat(coerce_int96_timestamp_unit="us")
    files = [found.path for found in system.get_file_info(pafs.FileSelector(path)) if found.extension == "parquet"]
    schema = pa.schema(
        [
            pa.field(field.name, pa.timestamp("us") if pa.types.is_timestamp(field.type) else field.type)
            for field in arrow_schema(table).append(pa.field("day", pa.date32()))
        ]
    )
    return ds.dataset(files, schema=schema, filesystem=system, format=parquet)


def _for_spark(uri: str) -> str:
    """The name by which Hadoop's file systems know a place; local ones by their absolute path."""
    if "://" not in uri:
        return str(Path(uri).absolute())
    return uri.replace("s3://", "s3a://", 1)
