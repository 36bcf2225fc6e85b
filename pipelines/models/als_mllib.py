"""ALS as Spark MLlib learns it: both halves are shuffled to one another each round, whatever the size of either."""

import numpy as np
from pyspark.ml.recommendation import ALS
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from pipelines.errors import DataError
from pipelines.models.als import AlsConfiguration, AlsModel


def train_with_mllib(rated: DataFrame, configuration: AlsConfiguration) -> AlsModel:
    """Factorise with MLlib; where the session has a checkpoint folder, every tenth round is laid down there.

    Args:
        rated: `user_id`, `item_id`, `watched_share`, each pair once.
        configuration: how to learn.

    Raises:
        DataError: if there is nothing to learn from.
    """
    rated = rated.cache()
    users, items = _numbered(rated, "user_id"), _numbered(rated, "item_id")
    item_ids = items.orderBy("item_index").select("item_id").toArrow().column("item_id").to_numpy().astype(np.int64)
    if not len(item_ids):
        raise DataError("there are no plays to learn from")
    als = ALS(
        userCol="user_index",
        itemCol="item_index",
        ratingCol="watched_share",
        implicitPrefs=True,
        rank=configuration.factors,
        maxIter=configuration.iterations,
        regParam=configuration.regularization,
        alpha=configuration.alpha,
        seed=configuration.seed,
        numUserBlocks=configuration.blocks,
        numItemBlocks=configuration.blocks,
    )
    numbered = rated.join(users, "user_id").join(F.broadcast(items), "item_id")
    parts = numbered.repartition(configuration.blocks, "user_index")
    factors = als.fit(parts.sortWithinPartitions("user_index", "item_index"))
    table = factors.itemFactors.orderBy("id").toArrow()
    vectors = table.column("features").combine_chunks().flatten().to_numpy().astype(np.float32)
    return AlsModel(
        item_ids, vectors.reshape(-1, configuration.factors), configuration.regularization, configuration.alpha
    )


def _numbered(rated: DataFrame, key: str) -> DataFrame:
    """Ids and their numbers in ascending order, from 0: MLlib takes 32-bit integers only, our ids are wider."""
    index = (F.row_number().over(Window.orderBy(key)) - 1).alias(key.replace("_id", "_index"))
    return rated.select(key).distinct().select(key, index)
