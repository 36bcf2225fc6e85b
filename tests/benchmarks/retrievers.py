"""Our retrievers and their peers, each fitted on plays and then asked for scores of all items for histories."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import implicit
import numpy as np
import pyarrow as pa
import sasrec
import scipy.sparse
from numpy.typing import NDArray
from plays import Plays
from pyspark.sql import SparkSession
from threadpoolctl import threadpool_limits

from feature_defs.items import ITEMS
from pipelines.arrow_schemas import arrow_schema
from pipelines.catalogue import Catalogue, catalogue_from
from pipelines.histories import Histories
from pipelines.models.als import AlsConfiguration
from pipelines.models.als_training import train_als
from pipelines.models.towers_configuration import TowersConfiguration
from pipelines.models.towers_inputs import PROFILE_COLUMNS, item_inputs, vocabularies, windows
from pipelines.models.towers_training import Progress, train_towers

# Scores [U, I] of items in ascending order of id, for histories of U users; and the ids.
Score = Callable[[Histories], tuple[NDArray, NDArray]]
ALS = AlsConfiguration()
PEER_ALPHA, PEER_REGULARIZATION, EASE_LAMBDA = 10.0, 1.0, 500.0


def most_popular(plays: Plays) -> Score:
    items, counts = np.unique(plays.item, return_counts=True)
    return lambda history: (np.tile(counts.astype(np.float32), (len(history.user_ids), 1)), items)


def als(spark: SparkSession, plays: Plays) -> Score:
    model = train_als(spark.createDataFrame(plays.table()).coalesce(1), ALS)
    return lambda history: (model.encode(history) @ model.item_factors.T, model.item_ids)


def implicit_als(plays: Plays) -> Score:
    """`implicit`'s ALS with our width, its own confidence and regularisation, and its own encoding of a history."""
    items = np.unique(plays.item)
    # Its own advice: threads of BLAS beside its own wait for one another.
    with threadpool_limits(1, user_api="blas"):
        model = implicit.als.AlternatingLeastSquares(
            ALS.factors, regularization=PEER_REGULARIZATION, alpha=1.0, iterations=15, random_state=1, num_threads=2
        )
        model.fit(_matrix(plays.histories(), items, PEER_ALPHA), show_progress=False)

    def score(history: Histories) -> tuple[NDArray, NDArray]:
        users = model.recalculate_user(np.arange(len(history.user_ids)), _matrix(history, items, PEER_ALPHA))
        return np.asarray(users @ model.item_factors.T), items

    return score


def ease(plays: Plays) -> Score:
    """Steck, "Embarrassingly Shallow Autoencoders for Sparse Data" (2019): closed form, items x items."""
    items = np.unique(plays.item)
    rows = _matrix(plays.histories(), items)
    gram = np.asarray((rows.T @ rows).todense(), np.float64)
    gram[np.diag_indices(len(items))] += EASE_LAMBDA
    inverse = np.linalg.inv(gram)
    weights = (inverse / -np.diag(inverse)).astype(np.float32)
    weights[np.diag_indices(len(items))] = 0
    return lambda history: (np.asarray(_matrix(history, items) @ weights), items)


@dataclass(frozen=True)
class Known:
    """What is known of titles and people: `users` are rows of USERS, `text` float32 [I, D]."""

    catalogue: Catalogue
    users: pa.Table
    text: NDArray[np.float32]


def nothing_but_ids(plays: Plays) -> Known:
    """Titles and people that have an id, and nothing else."""
    catalogue = nothing_known(np.unique(plays.item))
    return Known(catalogue, nobody(np.unique(plays.user)), np.zeros((len(catalogue), 1), np.float32))


def two_tower(plays: Plays, configuration: TowersConfiguration, known: Known) -> Score:
    """Our towers, as the job trains them, taste included."""
    catalogue, users, text = known.catalogue, known.users, known.text
    histories = plays.histories()
    creators = configuration.creator_buckets if catalogue.creator_names else 1
    words = vocabularies(catalogue, histories.item_ids, users, text.shape[1], creators, configuration.user_buckets)
    cut = windows(histories, catalogue, users, words, configuration.history_length, configuration.held_out_share)
    towers = train_towers(cut, item_inputs(catalogue, text, words), words, configuration, progress=say_progress())
    towers = towers.with_taste(histories, catalogue, text)
    titles = towers.encode_items(catalogue, text)

    def score(history: Histories) -> tuple[NDArray, NDArray]:
        vectors = towers.encode_users(history, users, catalogue, text)
        return vectors @ titles.T, catalogue.item_ids

    return score


def plain_sasrec(plays: Plays, minutes: float) -> Score:
    """The sequence peer; see `sasrec`."""
    items = np.unique(plays.item)
    model = sasrec.train(plays.histories(), items, minutes)
    return lambda history: (sasrec.scores(model, history, items), items)


def say_progress() -> Callable[[Progress], None]:
    started = time.monotonic()

    def say(found: Progress) -> None:
        print(
            f"  two_tower pass {found.epoch + 1}: loss {found.loss:.4f}, held out {found.held_out_loss}, "
            f"{found.places_a_second:,.0f} places/s, {time.monotonic() - started:,.0f} s",
            flush=True,
        )

    return say


def nothing_known(item_ids: NDArray[np.int64]) -> Catalogue:
    """Titles that have an id, and nothing else."""
    schema = arrow_schema(ITEMS)
    columns = {name: pa.nulls(len(item_ids), schema.field(name).type) for name in schema.names}
    columns["item_id"] = pa.array(item_ids)
    columns["published_at"] = pa.nulls(len(item_ids), pa.timestamp("us", "UTC")).fill_null(0)
    return catalogue_from(pa.table(columns), date(2000, 1, 1))


def nobody(user_ids: NDArray[np.int64]) -> pa.Table:
    """People who have an id, and nothing else."""
    nulls = pa.nulls(len(user_ids), pa.string())
    return pa.table({"user_id": user_ids, **dict.fromkeys(PROFILE_COLUMNS, nulls)})


def _matrix(histories: Histories, items: NDArray, alpha: float = 0.0) -> scipy.sparse.csr_matrix:
    """1 + alpha x share of each play: [U, I]."""
    at = np.searchsorted(items, histories.item_ids).clip(max=len(items) - 1)
    known = items[at] == histories.item_ids
    values = (1 + alpha * histories.shares[known]).astype(np.float32)
    shape = (len(histories.user_ids), len(items))
    return scipy.sparse.csr_matrix((values, (histories.owners()[known], at[known])), shape)
