"""How candidates are retrieved: how many, and from where. Read by jobs that retrieve none, so nothing heavy is here."""

from dataclasses import dataclass, fields, replace

from pipelines.errors import UsageError


@dataclass(frozen=True)
class Quotas:
    """How many titles each source may propose to a user; 0 switches it off."""

    # Learns from texts and attributes too, so it knows every title: the widest net.
    towers: int = 250
    # Knows only what was watched often enough, and knows that best.
    als: int = 100
    # Finer than factors for titles watched lately.
    item_item: int = 140
    # The only one but towers that reaches titles nobody watched yet.
    content: int = 75
    # The same for everyone, so a few are enough.
    trending: int = 20
    # Of each series in progress the next one, and then those after these.
    next_episode: int = 30
    # A chance to be shown, for titles without plays to be found by.
    new_title: int = 40
    # Of the user's cohort, for those with too short a history to say more.
    cohort: int = 100


@dataclass(frozen=True)
class Weights:
    """What a first place of each source is worth in the fusion; chosen by recall_at_20 on simulated services, as the
    quotas are, but of no seed that results are reported on.
    """

    towers: float = 1.0
    als: float = 1.4
    # What it knows ALS knows too: it breaks ties between those that the others propose.
    item_item: float = 0.3
    # The towers read the same texts, and more.
    content: float = 0.1
    # Not personal: they complete a list and do not lead it.
    trending: float = 0.03
    # Whoever finished an episode most likely wants the next one.
    next_episode: float = 2.1
    # Ordered for the user by the towers, and nobody else proposes them for want of plays.
    new_title: float = 0.8
    cohort: float = 1.0


@dataclass(frozen=True)
class CandidateConfiguration:
    """How candidates are retrieved."""

    # Candidates of a user: what the ranker can score in the night's time.
    count: int = 500
    quotas: Quotas = Quotas()
    weights: Weights = Weights()
    # Of reciprocal ranks, 1 / (constant + rank): Cormack et al. found 60 good over many collections.
    rank_constant: int = 60
    # Newest titles whose texts make a user's content profile: taste in texts drifts faster than in factors.
    profile_length: int = 10
    # Episodes after the next one that are proposed too: of a series in progress people watch more than one an evening.
    episodes_ahead: int = 3
    # Days that a title is new.
    new_days: int = 7
    # What being published today is worth, in standard deviations of the user's tower scores of new titles; it falls
    # to nothing over the days that a title is new.
    new_bonus: float = 0.5
    # Titles above which towers search their index; below, a matrix product over all titles is faster.
    search_above: int = 50_000

    def without(self, source: str) -> "CandidateConfiguration":
        """The same without one source.

        Raises:
            UsageError: where there is no such source.
        """
        if source not in {field.name for field in fields(Quotas)}:
            raise UsageError(f"{source!r} is not a source of candidates")
        return replace(self, quotas=replace(self.quotas, **{source: 0}))
