"""ALS on Spark: a planted structure is given back, the user half follows from the item half, the seed decides."""

from dataclasses import replace

import numpy as np
import pytest
from pyspark.sql import SparkSession

from pipelines.errors import DataError, UsageError
from pipelines.histories import Histories
from pipelines.models.als import AlsConfiguration, AlsModel
from pipelines.models.als_training import ratings, train_als

CONFIGURATION = AlsConfiguration(factors=8, iterations=8, regularization=0.05, alpha=10.0, seed=7)
USERS, ITEMS = 60, 30
# Ids far apart and wider than 32 bits: what a warehouse gives out.
FAR = 5_000_000_000


def checkerboard() -> list[tuple[int, int, float]]:
    """User u watches item i when both are odd or both even; the diagonal is withheld."""
    return [
        (FAR + user * 1000, item + 1, 1.0)
        for user in range(USERS)
        for item in range(ITEMS)
        if user % 2 == item % 2 and item != user % ITEMS
    ]


def trained(spark: SparkSession, rows: list[tuple[int, int, float]]) -> AlsModel:
    frame = spark.createDataFrame(rows, "user_id long, item_id long, watched_share float")
    return train_als(ratings(frame), CONFIGURATION)


@pytest.fixture(scope="module")
def model(spark: SparkSession) -> AlsModel:
    return trained(spark, checkerboard())


def past(rows: list[tuple[int, int, float]]) -> Histories:
    users, items, shares = (np.array(column) for column in zip(*sorted(rows), strict=True))
    ids, starts = np.unique(users, return_index=True)
    return Histories(ids, np.append(starts, len(users)), items, shares.astype(np.float32))


def test_the_withheld_diagonal_of_a_checkerboard_is_what_each_user_is_given(model: AlsModel) -> None:
    known = past(checkerboard())
    scores = model.encode(known) @ model.item_factors.T
    scores[known.owners(), model.positions(known.item_ids)] = -np.inf
    best = model.item_ids[scores.argmax(1)]
    assert (best == np.arange(USERS) % ITEMS + 1).all()


def test_the_same_seed_gives_the_same_factors(spark: SparkSession, model: AlsModel) -> None:
    again = trained(spark, list(reversed(checkerboard())))
    np.testing.assert_array_equal(again.item_ids, model.item_ids)
    np.testing.assert_allclose(again.item_factors, model.item_factors, atol=1e-5)


def test_a_user_encoded_from_the_items_is_the_user_that_training_ended_with(
    spark: SparkSession, model: AlsModel
) -> None:
    from pyspark.ml.recommendation import ALS

    rows = [((user - FAR) // 1000, item - 1, share) for user, item, share in checkerboard()]
    frame = spark.createDataFrame(rows, "user int, item int, rating float").repartition(4, "user")
    fitted = ALS(
        userCol="user", itemCol="item", ratingCol="rating", implicitPrefs=True, rank=8, maxIter=8,
        regParam=0.05, alpha=10.0, seed=7, numUserBlocks=4, numItemBlocks=4,
    ).fit(frame)  # fmt: skip
    items = {row.id: row.features for row in fitted.itemFactors.collect()}
    users = {row.id: row.features for row in fitted.userFactors.collect()}
    ours = AlsModel(
        np.array(sorted(items)) + 1, np.array([items[item] for item in sorted(items)], np.float32), 0.05, 10.0
    )
    encoded = ours.encode(past(checkerboard()))
    np.testing.assert_allclose(encoded, np.array([users[user] for user in sorted(users)]), atol=2e-3)


def test_plays_of_one_title_count_once_with_the_largest_share(spark: SparkSession) -> None:
    rows = [(1, 2, 0.3), (1, 2, 0.9), (1, 3, None)]
    frame = spark.createDataFrame(rows, "user_id long, item_id long, watched_share float")
    assert [(row.user_id, row.item_id, round(row.watched_share, 3)) for row in ratings(frame).collect()] == [
        (1, 2, 0.9)
    ]


def test_nothing_to_learn_from_is_said(spark: SparkSession) -> None:
    with pytest.raises(DataError, match="no plays to learn from"):
        trained(spark, [])


def long_tail() -> list[tuple[int, int, float]]:
    generator = np.random.default_rng(4)
    tastes = generator.standard_normal((150, 3)) @ generator.standard_normal((3, 40))
    watched = generator.random((150, 40)) < 1 / (1 + np.exp(1 + np.arange(40) / 15 - tastes))
    users, items = (found.tolist() for found in np.nonzero(watched))
    shares = generator.uniform(0.1, 1, len(users)).tolist()
    return [(FAR + user * 7, item + 1, share) for user, item, share in zip(users, items, shares, strict=True)]


def objective(model: AlsModel, rows: list[tuple[int, int, float]]) -> float:
    """Over all pairs, with the users that follow from the items."""
    known = past(rows)
    users, items = model.encode(known).astype(float), model.item_factors.astype(float)
    owners, positions = known.owners(), model.positions(known.item_ids)
    scores = users @ items.T
    error = (scores**2).sum() - (scores[owners, positions] ** 2).sum()
    error += ((1 + model.alpha * known.shares) * (1 - scores[owners, positions]) ** 2).sum()
    ridge = sum((np.bincount(at) * (of**2).sum(1)).sum() for at, of in ((owners, users), (positions, items)))
    return error + model.regularization * ridge


@pytest.mark.slow
def test_our_rounds_reach_the_objective_that_mllib_reaches(spark: SparkSession) -> None:
    rows = long_tail()
    frame = spark.createDataFrame(rows, "user_id long, item_id long, watched_share float").cache()
    ours, theirs = (train_als(frame, replace(CONFIGURATION, solver=solver)) for solver in ("broadcast", "mllib"))
    np.testing.assert_array_equal(ours.item_ids, theirs.item_ids)
    assert objective(ours, rows) == pytest.approx(objective(theirs, rows), rel=0.01)


def test_rows_in_any_order_and_partition_give_the_same_bytes(spark: SparkSession) -> None:
    rows = long_tail()
    lower = [(user, item, share / 2) for user, item, share in rows[::3]]
    short = replace(CONFIGURATION, iterations=2)
    schema = "user_id long, item_id long, watched_share float"
    one = train_als(spark.createDataFrame(rows, schema).coalesce(1), short)
    many = train_als(spark.createDataFrame([*lower, *reversed(rows)], schema).repartition(3, "item_id"), short)
    assert one.to_files() == many.to_files()


def test_a_catalogue_whose_sums_spark_would_not_bring_back_is_refused(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.models.als_training._LARGEST_RESULT", 4096)
    with pytest.raises(UsageError, match="take fewer blocks or"):
        trained(spark, checkerboard())
