"""All hyperparameters of a run in one value: each part is declared beside what it configures."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from feature_defs.recommendations import HISTORY_LENGTH, LIST_LENGTH, VECTOR_WIDTH
from pipelines.errors import UsageError
from pipelines.evaluation.gate import GateConfiguration
from pipelines.lists.funnel_configuration import FunnelConfiguration
from pipelines.models.als import AlsConfiguration
from pipelines.models.ranker_configuration import RankerConfiguration
from pipelines.models.towers_configuration import TowersConfiguration


@dataclass(frozen=True)
class RunConfiguration:
    """How a run learns, judges and recommends."""

    # The newest days, held out of training: to judge on, or for the ranker to learn from in a weekly run.
    truth_days: int = 1
    # Into how many parts users are cut for scoring and publishing.
    shard_count: int = 2
    # What reads the text of titles: all-MiniLM-L6-v2, another name that sentence-transformers knows, or a folder.
    text_encoder: str = "all-MiniLM-L6-v2"
    # How ALS learns.
    als: AlsConfiguration = field(default_factory=AlsConfiguration)
    # How the two towers learn.
    towers: TowersConfiguration = field(default_factory=TowersConfiguration)
    # How the ranker learns.
    ranker: RankerConfiguration = field(default_factory=RankerConfiguration)
    # What the metric gate asks for.
    gate: GateConfiguration = field(default_factory=GateConfiguration)
    # How lists are made.
    funnel: FunnelConfiguration = field(default_factory=FunnelConfiguration)


def configuration_to_json(configuration: RunConfiguration) -> str:
    """The configuration as JSON, keys sorted."""
    return json.dumps(dataclasses.asdict(configuration), sort_keys=True)


def configuration_from_json(text: str) -> RunConfiguration:
    """The configuration that `configuration_to_json` wrote."""
    built: RunConfiguration = _built(RunConfiguration, json.loads(text))
    return built


def _built(kind: Any, values: Mapping[str, Any]) -> Any:
    kinds = get_type_hints(kind)
    arguments = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(kinds[name]):
            arguments[name] = _built(kinds[name], value)
        else:
            arguments[name] = tuple(value) if isinstance(value, list) else value
    return kind(**arguments)


def check_configuration(configuration: RunConfiguration) -> RunConfiguration:
    """The configuration, if it can be meant.

    Raises:
        UsageError: if a value lies outside its bounds; names it.
    """
    towers, funnel = configuration.towers, configuration.funnel
    for name, value, low, high in (
        ("truth-days", configuration.truth_days, 1, 28),
        ("shard-count", configuration.shard_count, 1, 1024),
        ("als.factors", configuration.als.factors, 1, 64),
        ("als.iterations", configuration.als.iterations, 1, 100),
        ("als.blocks", configuration.als.blocks, 1, 10_000),
        ("als.regularization", configuration.als.regularization, 0, 1e6),
        ("als.alpha", configuration.als.alpha, 0, 1e6),
        ("towers.width", towers.width, 1, VECTOR_WIDTH),
        ("towers.taste-width", towers.taste_width, 0, VECTOR_WIDTH - towers.width),
        ("towers.taste-weight", towers.taste_weight, 0, 1000),
        ("towers.blocks", towers.blocks, 1, 16),
        ("towers.heads", towers.heads, 1, towers.width),
        ("towers.history-length", towers.history_length, 2, 1000),
        ("towers.epochs", towers.epochs, 1, 1000),
        ("towers.later-share", towers.later_share, 0, 0.5),
        ("towers.places", towers.places, 1, 1e12),
        ("towers.patience", towers.patience, 1, 1000),
        ("towers.held-out-share", towers.held_out_share, 0, 0.5),
        ("towers.batch-tokens", towers.batch_tokens, 1, 1e7),
        ("towers.learning-rate", towers.learning_rate, 0, 1),
        ("towers.dropout", towers.dropout, 0, 0.9),
        ("towers.id-dropout", towers.id_dropout, 0, 1),
        ("towers.negatives", towers.negatives, 1, 1e6),
        ("towers.checkpoint-steps", towers.checkpoint_steps, 1, 1e9),
        ("ranker.epochs", configuration.ranker.epochs, 1, 1000),
        ("ranker.batch-size", configuration.ranker.batch_size, 1, 1e7),
        ("gate.margin-share", configuration.gate.margin_share, 0, 1),
        ("gate.minimum-user-count", configuration.gate.minimum_user_count, 1, 1e9),
        ("gate.resamples", configuration.gate.resamples, 100, 1e6),
        ("funnel.candidates.count", funnel.candidates.count, 1, 10_000),
        ("funnel.cold-below", funnel.cold_below, 0, 1000),
        ("funnel.lists.length", funnel.lists.length, 1, LIST_LENGTH),
        ("funnel.lists.history-length", funnel.lists.history_length, 0, HISTORY_LENGTH),
    ):
        if not low <= value <= high:
            raise UsageError(f"--{name} is {value}; it must lie between {low:g} and {high:g}")
    if towers.width % towers.heads:
        raise UsageError(f"--towers.width is {towers.width}, which {towers.heads} heads cannot share evenly")
    return configuration
