"""What an audit asks: of which groups, by which metrics, within which limits, and how sure it has to be.

A policy is versioned: its version and its digest stand in every record, and an audit is in force only for the policy
that it was made under. What decides are three kinds of test, all of one family (see docs/decisions/0021):

- *floor*: a group's mean is held against that of everybody else; the ratio may not be shown to lie below the floor;
- *kept*: the challenger is held against the champion on the same users; a group may not be shown to have lost more
  than the margin, what everybody else lost taken off;
- *limit*: a figure of all lists together may not be shown to lie beyond its limit.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class AuditedAttribute:
    """An attribute by which users are told apart."""

    # Its name, as in the groups of the subjects.
    name: str
    # Whether a group of it that cannot be judged holds a promotion.
    is_primary: bool = False
    # Labels in their natural order, where they have one: small groups are pooled with their neighbours, otherwise
    # with all other small ones.
    order: tuple[str, ...] = ()
    # Where labels are cut from a number (titles, days, years): the least number of each label of `order`.
    least: tuple[int, ...] = ()
    # Least ratio of a group's mean to that of everybody else, for metrics that have a floor.
    floor: float = 0.8
    # Whether a service may not know it of anybody; otherwise it must be known of most.
    may_be_absent: bool = False


@dataclass(frozen=True)
class AuditedMetric:
    """A value a user, whose mean is compared between groups."""

    name: str
    # Whether more of it is better for a user.
    is_more_better: bool = True
    # Whether groups are held against everybody else by the attribute's floor.
    has_floor: bool = False
    # Share that a group may lose (gain, where less is better) against the champion; none: not tested.
    kept_margin: float | None = None


@dataclass(frozen=True)
class AuditedExposure:
    """Titles that share something: how much of what is shown is theirs, position-discounted.

    The shares of the catalogue and of what is wanted stand beside it; limits are ratios to the latter.
    """

    # What titles are told apart by: creator, creator_tier, language, origin, is_new.
    name: str
    # Least ratio of a class's share of exposure to its share of what is wanted; none: reported only.
    least_ratio: float | None = None
    # Classes that are tested; empty: all that enough is wanted of.
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class AuditPolicy:
    """All that an audit asks."""

    # What the policy is called, and which one of that name it is.
    name: str = "production"
    version: int = 2
    # Whether it is for demonstrations only: every record then says so.
    is_demo: bool = False
    # By what users are told apart.
    attributes: tuple[AuditedAttribute, ...] = (
        AuditedAttribute("activity_tier", True, ("new", "light", "regular", "heavy"), (0, 5, 20, 50), 0.5),
        AuditedAttribute("tenure", True, ("under_month", "under_year", "over_year"), (0, 30, 365), 0.5),
        AuditedAttribute(
            "age_band", True, ("under_18", "18_24", "25_34", "35_44", "45_54", "55_up"), (0, 18, 25, 35, 45, 55)
        ),
        AuditedAttribute("gender", True, may_be_absent=True),
        AuditedAttribute("country"),
        AuditedAttribute("language"),
        AuditedAttribute("device"),
    )
    # By what lists are compared.
    metrics: tuple[AuditedMetric, ...] = (
        AuditedMetric("ndcg_at_20", has_floor=True, kept_margin=0.05),
        AuditedMetric("recall_at_20", has_floor=True, kept_margin=0.05),
        AuditedMetric("genre_miscalibration", is_more_better=False, kept_margin=0.10),
        AuditedMetric("popularity_miscalibration", is_more_better=False, kept_margin=0.10),
        AuditedMetric("listed_popularity", is_more_better=False, kept_margin=0.10),
        # Monthly, of what was served.
        AuditedMetric("fallback_share", is_more_better=False),
        AuditedMetric("list_age_days", is_more_better=False),
        AuditedMetric("exploration_share"),
    )
    # How what is shown is spread over the catalogue.
    exposures: tuple[AuditedExposure, ...] = (
        AuditedExposure("creator_tier", 0.5),
        AuditedExposure("language", 0.5),
        AuditedExposure("origin", 0.5),
        AuditedExposure("is_new", 0.25, ("new",)),
    )
    # Share of all places on pages that the 100 most popular titles may have.
    head_share_limit: float = 0.5
    # Monthly: share of what may be shown that is shown to somebody within any 7 days, at the least.
    weekly_coverage_limit: float = 0.7
    # Chance that anything is called a failure where nothing lies beyond its limit: of the whole family, by Holm.
    alpha: float = 0.02
    # Bootstrap resamples of users.
    resamples: int = 1000
    # A group has its size if, by the first metric, a loss so far beyond the margin against the champion would be found
    # (5 % allowed, 15 % found), or, without a champion, a ratio so far below the floor (.8 allowed, .6 found), ...
    found_beyond_margin: float = 0.10
    found_below_floor: float = 0.20
    # ... with this probability.
    power: float = 0.8
    # Fewer users than this are told apart by nobody: no figure of such a group is given.
    privacy_floor: int = 50
    # Fewer users than this are not tested by themselves: a mean of so few is not nearly normal.
    least_users: int = 500
    # Largest share of users of whom an attribute may be unknown.
    unknown_limit: float = 0.5
    # Titles published at most so many days before are new.
    new_title_days: int = 14
    # The control that must fail: the worst primary group is made to lose this share.
    planted_loss: float = 0.75
    # The control that must not: how often labels are permuted, and the largest share of these that may fail.
    permutations: int = 200
    permutation_limit: float = 0.05


POLICY = AuditPolicy()

# For a few dozen or hundred users: it finds a group that gets nothing, and little less. It says so in every record.
DEMO_POLICY = AuditPolicy(
    name="demo",
    version=2,
    is_demo=True,
    attributes=(
        AuditedAttribute("activity_tier", True, ("light", "heavy"), (0, 30), 0.5),
        AuditedAttribute("tenure", False, ("under_year", "over_year"), (0, 365), 0.5, True),
        AuditedAttribute(
            "age_band",
            order=("under_18", "18_24", "25_34", "35_44", "45_54", "55_up"),
            least=(0, 18, 25, 35, 45, 55),
            floor=0.5,
            may_be_absent=True,
        ),
        AuditedAttribute("gender", floor=0.5, may_be_absent=True),
        AuditedAttribute("country", floor=0.5, may_be_absent=True),
        AuditedAttribute("language", floor=0.5, may_be_absent=True),
        AuditedAttribute("device", floor=0.5, may_be_absent=True),
    ),
    metrics=(
        AuditedMetric("ndcg_at_20", has_floor=True, kept_margin=0.3),
        AuditedMetric("recall_at_20", has_floor=True, kept_margin=0.3),
        AuditedMetric("genre_miscalibration", is_more_better=False, kept_margin=0.5),
        AuditedMetric("popularity_miscalibration", is_more_better=False, kept_margin=1.0),
        AuditedMetric("listed_popularity", is_more_better=False, kept_margin=0.5),
        AuditedMetric("fallback_share", is_more_better=False),
        AuditedMetric("list_age_days", is_more_better=False),
        AuditedMetric("exploration_share"),
    ),
    exposures=(
        AuditedExposure("creator_tier", 0.25),
        AuditedExposure("language", 0.25),
        AuditedExposure("origin", 0.25),
        AuditedExposure("is_new", 0.1, ("new",)),
    ),
    head_share_limit=0.9,
    weekly_coverage_limit=0.3,
    found_beyond_margin=0.6,
    found_below_floor=0.45,
    privacy_floor=5,
    least_users=20,
    planted_loss=1.0,
)

# For a demo that judges some fifty users, as MovieLens 100K has in its last weeks: nothing can be found among so
# few but a group that gets nothing at all.
FEW_USERS_POLICY = AuditPolicy(
    name="demo, few users",
    is_demo=True,
    attributes=(
        AuditedAttribute("activity_tier", True, ("light", "heavy"), (0, 80), 0.25),
        AuditedAttribute("gender", floor=0.5, may_be_absent=True),
    ),
    metrics=(AuditedMetric("ndcg_at_20", has_floor=True, kept_margin=0.5),),
    exposures=(AuditedExposure("creator_tier", 0.1),),
    head_share_limit=1.0,
    found_beyond_margin=0.9,
    found_below_floor=0.9,
    privacy_floor=5,
    least_users=10,
    planted_loss=1.0,
)
