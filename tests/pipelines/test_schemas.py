"""Arrow and Spark schemas follow the declarations."""

import pyarrow as pa
import pytest
from pyspark.sql.pandas.types import to_arrow_schema

from feature_defs.declarations import Table
from feature_defs.tables import ALL_TABLES
from pipelines.arrow_schemas import arrow_schema
from pipelines.spark_schemas import spark_schema


@pytest.mark.parametrize("table", ALL_TABLES, ids=lambda table: table.name)
def test_spark_and_arrow_agree_on_every_column(table: Table) -> None:
    from_spark = to_arrow_schema(spark_schema(table), timezone="UTC")
    expected = arrow_schema(table).append(pa.field("day", pa.date32()))
    assert from_spark.names == expected.names
    for one, other in zip(from_spark, expected, strict=True):
        same = one.type.value_type == other.type.value_type if pa.types.is_list(one.type) else one.type == other.type
        assert same, one.name


def test_a_timestamp_is_utc_to_the_microsecond() -> None:
    types = {field.type for table in ALL_TABLES for field in arrow_schema(table) if pa.types.is_timestamp(field.type)}
    assert types == {pa.timestamp("us", tz="UTC")}
