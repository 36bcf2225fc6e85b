"""Spark schemas derived from the declarations."""

from pyspark.sql import types as spark

from feature_defs.declarations import Array, Dtype, Table

_SPARK_TYPES: dict[Dtype, spark.DataType] = {
    Dtype.BOOL: spark.BooleanType(),
    Dtype.INT16: spark.ShortType(),
    Dtype.INT32: spark.IntegerType(),
    Dtype.INT64: spark.LongType(),
    Dtype.FLOAT32: spark.FloatType(),
    Dtype.FLOAT64: spark.DoubleType(),
    Dtype.STRING: spark.StringType(),
    Dtype.TIMESTAMP: spark.TimestampType(),
    Dtype.DATE: spark.DateType(),
}


def spark_type(dtype: Dtype | Array) -> spark.DataType:
    """The Spark type of a declared one."""
    if isinstance(dtype, Array):
        return spark.ArrayType(_SPARK_TYPES[dtype.element])
    return _SPARK_TYPES[dtype]


def spark_schema(table: Table) -> spark.StructType:
    """The Spark schema of a lake table: its columns in declared order, then `day`."""
    fields = [spark.StructField(field.name, spark_type(field.dtype)) for field in table]
    return spark.StructType([*fields, spark.StructField("day", spark.DateType())])
