"""A day's examples of the ranker as a model set of before would have seen them: to learn from, and to calibrate on."""

from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.catalogue import Catalogue, as_known, read_catalogue
from pipelines.errors import DataError
from pipelines.histories import read_histories, read_opted_out, read_popularity
from pipelines.knowledge import read_item_features, read_text_vectors, read_user_features, read_users
from pipelines.lake import Lake
from pipelines.lists.funnel import in_blocks, knowledge_of, retrieval_for, retrieve
from pipelines.lists.funnel_configuration import FunnelConfiguration
from pipelines.models.model_set import ModelSet
from pipelines.models.ranker_inputs import RankerInputs, joined, pair_inputs
from pipelines.ranking_examples import examples_of, read_labelled


@dataclass(frozen=True)
class Known:
    """What is known on the day of a run: its `catalogue`, `users` (rows of USERS) and who opted out, int64."""

    lake: Lake
    day: date
    catalogue: Catalogue
    users: pa.Table
    opted_out: NDArray[np.int64]
    _text_vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def text_vectors(self, encoder: str) -> NDArray[np.float32]:
        """Text vectors of the catalogue by an encoder: float32 [I, D]; read from the lake once."""
        if encoder not in self._text_vectors:
            self._text_vectors[encoder] = read_text_vectors(self.lake, self.catalogue, encoder, self.day)
        return self._text_vectors[encoder]


def read_known(lake: Lake, day: date) -> Known:
    """What is known on a day."""
    return Known(lake, day, read_catalogue(lake, day), read_users(lake, day), read_opted_out(lake, day))


@dataclass(frozen=True)
class LabelledDay:
    """N examples of one day: `inputs`; `labels` float32 [N, H], NaN where masked; `user_ids` int64 [N]."""

    inputs: RankerInputs
    labels: NDArray[np.float32]
    user_ids: NDArray[np.int64]


def labelled_day(
    known: Known,
    model_set: ModelSet,
    shown_on: date,
    configuration: FunnelConfiguration,
    seed: int,
    most_users: int | None = None,
) -> LabelledDay | None:
    """What was shown and played on a day, with candidates that were neither, as the ranker reads it; None: nothing was.

    Args:
        known: on the day of the run.
        model_set: that retrieves, and whose scores are among the inputs.
        shown_on: the day.
        configuration: of retrieval.
        seed: of the choice of candidates and of users.
        most_users: at most so many users of the day, drawn at random; None: all.

    Raises:
        DataError: if the set learned from the day.
    """
    if model_set.learned_until >= shown_on:
        raise DataError(
            f"a model set that learned until {model_set.learned_until} knows what was watched on {shown_on}"
        )
    lake, before = known.lake, shown_on - timedelta(days=1)
    labelled = read_labelled(lake, shown_on)
    theirs = np.setdiff1d(labelled.column("user_id").to_numpy(), known.opted_out)
    if most_users is not None and len(theirs) > most_users:
        generator = np.random.default_rng([seed, shown_on.toordinal()])
        theirs = np.sort(generator.choice(theirs, most_users, replace=False))
    histories = read_histories(lake, before, opted_out=known.opted_out).of(theirs)
    then = as_known(known.catalogue, before, shown_on)
    retrieval = retrieval_for(
        model_set, then, known.text_vectors(model_set.text_encoder), read_popularity(lake, before)
    )
    user_features = read_user_features(lake, before, theirs)
    item_features = read_item_features(lake, before, known.catalogue)
    inputs, labels, user_ids = [], [], []
    for block in in_blocks(histories):
        knowledge = knowledge_of(model_set, retrieval, block, known.users, user_features, item_features)
        found = retrieve(model_set, retrieval, knowledge, configuration)
        examples = examples_of(labelled, shown_on, block, then, found, seed)
        inputs.append(pair_inputs(knowledge, examples.owners, examples.positions, examples.context, examples.slots))
        labels.append(examples.labels)
        user_ids.append(block.user_ids[examples.owners])
    if not inputs:
        return None
    return LabelledDay(joined(inputs), np.concatenate(labels), np.concatenate(user_ids))
