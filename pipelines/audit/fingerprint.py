"""What an audit was an audit of: the architecture of the models, the way lists are made, and the features read.

Everything that a run is configured by belongs to it, but for what is named here: a hyperparameter that is added later
counts as architecture until somebody says that it is none.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from feature_defs.features import ITEM_FEATURES, USER_FEATURES
from feature_defs.items import ITEMS
from feature_defs.ranking import CATEGORICALS, DENSE_FEATURES, HEADS, POLICY_WEIGHTS
from feature_defs.users import USERS
from pipelines.audit.canonical import canonical_digest
from pipelines.configuration import RunConfiguration

# Which days, how many parts, how it is judged: another night's work, not another kind of model.
_NIGHTLY = frozenset({"truth_days", "shard_count", "gate", "als.seed", "towers.seed", "ranker.seed"})
# How hard and in what portions models learn: tuned to the size of the data and the machine.
_LEARNING = frozenset(
    {
        "als.iterations",
        "als.regularization",
        "als.blocks",
        "als.solver",
        "towers.epochs",
        "towers.places",
        "towers.patience",
        "towers.held_out_share",
        "towers.batch_tokens",
        "towers.learning_rate",
        "towers.weight_decay",
        "towers.dropout",
        "towers.id_dropout",
        "towers.checkpoint_steps",
        "ranker.batch_size",
        "ranker.epochs",
        "ranker.patience",
        "ranker.learning_rate",
        "ranker.weight_decay",
        "ranker.code_dropout",
        "ranker.held_out_share",
        "funnel.candidates.search_above",
    }
)


def fingerprint_of(configuration: RunConfiguration) -> str:
    """64 hexadecimal digits, the same for runs that differ in nothing but what is named above.

    A set with a ranker and one without, as in an installation's first week, are one architecture: the configuration
    declares the ranker, and each set has an audit of its own.
    """
    return canonical_digest({"configuration": _lasting(dataclasses.asdict(configuration), ""), "features": _features()})


def _lasting(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The configuration without what changes from night to night."""
    return {
        name: _lasting(value, f"{prefix}{name}.") if isinstance(value, Mapping) else value
        for name, value in values.items()
        if f"{prefix}{name}" not in _NIGHTLY | _LEARNING
    }


def _features() -> dict[str, Any]:
    """Names and types of all that models read and predict."""
    tables = (USERS, ITEMS, USER_FEATURES.table, ITEM_FEATURES.table)
    return {
        **{table.name: [[field.name, repr(field.dtype)] for field in table] for table in tables},
        "dense": [feature.name for feature in DENSE_FEATURES],
        "categorical": [[feature.name, feature.bucket_count] for feature in CATEGORICALS],
        "heads": list(HEADS),
        "policy_weights": list(POLICY_WEIGHTS),
    }
