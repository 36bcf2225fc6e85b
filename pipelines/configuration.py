"""All hyperparameters of a run in one value: each part is declared beside what it configures."""

import dataclasses
import json
from dataclasses import dataclass, field

from feature_defs.recommendations import HISTORY_LENGTH, LIST_LENGTH, VECTOR_WIDTH
from pipelines.errors import UsageError
from pipelines.evaluation.gate import GateConfiguration
from pipelines.lists.ranking import ListConfiguration
from pipelines.models.als import AlsConfiguration


@dataclass(frozen=True)
class RunConfiguration:
    """How a run learns, judges and recommends."""

    # The newest days, held out of training and used to judge: more than one where a day has few users.
    truth_days: int = 1
    # Into how many parts users are cut for scoring and publishing.
    shard_count: int = 2
    # How ALS learns.
    als: AlsConfiguration = field(default_factory=AlsConfiguration)
    # What the metric gate asks for.
    gate: GateConfiguration = field(default_factory=GateConfiguration)
    # How lists are made.
    lists: ListConfiguration = field(default_factory=ListConfiguration)


def configuration_to_json(configuration: RunConfiguration) -> str:
    """The configuration as JSON, keys sorted."""
    return json.dumps(dataclasses.asdict(configuration), sort_keys=True)


def configuration_from_json(text: str) -> RunConfiguration:
    """The configuration that `configuration_to_json` wrote."""
    values = json.loads(text)
    return RunConfiguration(
        truth_days=values["truth_days"],
        shard_count=values["shard_count"],
        als=AlsConfiguration(**values["als"]),
        gate=GateConfiguration(**values["gate"]),
        lists=ListConfiguration(**values["lists"]),
    )


def check_configuration(configuration: RunConfiguration) -> RunConfiguration:
    """The configuration, if it can be meant.

    Raises:
        UsageError: if a value lies outside its bounds; names it.
    """
    for name, value, low, high in (
        ("truth-days", configuration.truth_days, 1, 28),
        ("shard-count", configuration.shard_count, 1, 1024),
        ("als.factors", configuration.als.factors, 1, VECTOR_WIDTH),
        ("als.iterations", configuration.als.iterations, 1, 100),
        ("als.blocks", configuration.als.blocks, 1, 10_000),
        ("als.regularization", configuration.als.regularization, 0, 1e6),
        ("als.alpha", configuration.als.alpha, 0, 1e6),
        ("gate.margin-share", configuration.gate.margin_share, 0, 1),
        ("gate.minimum-user-count", configuration.gate.minimum_user_count, 1, 1e9),
        ("gate.resamples", configuration.gate.resamples, 100, 1e6),
        ("lists.length", configuration.lists.length, 1, LIST_LENGTH),
        ("lists.history-length", configuration.lists.history_length, 0, HISTORY_LENGTH),
    ):
        if not low <= value <= high:
            raise UsageError(f"--{name} is {value}; it must lie between {low:g} and {high:g}")
    return configuration
