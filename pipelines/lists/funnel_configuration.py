"""The hyperparameters of the funnel."""

from dataclasses import dataclass, field

from pipelines.lists.candidate_configuration import CandidateConfiguration
from pipelines.lists.diversity_configuration import DiversityConfiguration
from pipelines.lists.ranking import ListConfiguration


@dataclass(frozen=True)
class FunnelConfiguration:
    """How lists are made."""

    # What each source may propose.
    candidates: CandidateConfiguration = field(default_factory=CandidateConfiguration)
    # What keeps a list from being all of one kind.
    diversity: DiversityConfiguration = field(default_factory=DiversityConfiguration)
    # Users with fewer titles in their history are also proposed what suits their cohort.
    cold_below: int = 5
    # Of the lists that are kept.
    lists: ListConfiguration = field(default_factory=ListConfiguration)
