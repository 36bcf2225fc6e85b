"""Random worlds for Spark: many small ones in one frame, each with users, titles and ids of its own."""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession

from feature_defs.declarations import Table
from pipelines.arrow_schemas import arrow_schema

Row = Mapping[str, Any]


class Frames:
    """Between plain rows and Spark frames; instants stay instants, whatever the zone."""

    def __init__(self, spark: SparkSession) -> None:
        self.spark = spark

    def of(self, table: Table, rows: Iterable[Row]) -> DataFrame:
        schema = arrow_schema(table).append(pa.field("day", pa.date32()))
        return self.spark.createDataFrame(pa.Table.from_pylist([dict(row) for row in rows], schema))

    @staticmethod
    def rows(frame: DataFrame) -> list[dict[str, Any]]:
        table = frame.toArrow()
        in_utc = pa.timestamp("us", "UTC")
        types = [in_utc if pa.types.is_timestamp(field.type) else field.type for field in table.schema]
        return table.cast(pa.schema(zip(table.schema.names, types, strict=True))).to_pylist()


@pytest.fixture
def frames(spark: SparkSession) -> Frames:
    return Frames(spark)


@pytest.fixture(params=["Europe/Berlin", "America/New_York"])
def zone(spark: SparkSession, request: pytest.FixtureRequest) -> Iterable[str]:
    before = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", request.param)
    yield request.param
    spark.conf.set("spark.sql.session.timeZone", before)
