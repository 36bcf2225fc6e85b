"""Who is audited in a night: the users by whom the challenger was judged, with the lists it was judged by."""

from datetime import date

import pyarrow.compute as pc

from feature_defs.audit_policy import AuditPolicy
from feature_defs.interactions import INTERACTIONS
from feature_defs.items import ITEMS
from feature_defs.judged_lists import JUDGED_LISTS
from feature_defs.users import PROTECTED_ATTRIBUTES, USERS
from pipelines.audit.findings import AuditResult, Verdict
from pipelines.audit.groups import groups_of
from pipelines.audit.subjects import Labels, Subjects, titles_of
from pipelines.catalogue import Catalogue
from pipelines.evaluation.comparison import CANDIDATES
from pipelines.evaluation.held_out import read_held_out
from pipelines.evaluation.judged_lists import judged_sets, read_judged, role_of
from pipelines.histories import Histories
from pipelines.lake import Lake
from pipelines.runs import Run

# What is read beside the inputs of the run.
_TABLES = (INTERACTIONS, JUDGED_LISTS, PROTECTED_ATTRIBUTES)
_OF_USERS = ["user_id", "age_band", "country", "device", "signup_at"]


def versions_read(lake: Lake) -> dict[str, int]:
    """The version of each table that an audit reads beside the inputs of the run, by name."""
    return {table.name: lake.version(table) or 0 for table in _TABLES}


def judged_subjects(lake: Lake, run: Run, policy: AuditPolicy, model_set: str, *, is_beside_champion: bool) -> Subjects:
    """The subjects of a run that was evaluated: the lists of a model set that its evaluation kept.

    Args:
        lake: where they are.
        run: the run.
        policy: names the attributes by which users are told apart.
        model_set: digest of the set that made the lists.
        is_beside_champion: whether the champion's for the same users stand beside them, if it was judged.

    Raises:
        DataError: if the evaluation kept no lists of that set.
    """
    role = role_of(lake, run, model_set)
    is_compared = is_beside_champion and "champion" in judged_sets(lake, run)
    held_out = read_held_out(lake, run.day, run.configuration.truth_days)
    users = held_out.truth.user_ids
    return Subjects(
        user_ids=users,
        rankings=read_judged(lake, run, role, users, CANDIDATES),
        champion_rankings=read_judged(lake, run, "champion", users, CANDIDATES) if is_compared else None,
        truth=held_out.truth,
        histories=held_out.known,
        groups=read_groups(lake, run.day, policy, held_out.known, held_out.catalogue),
        titles=titles_of(
            held_out.catalogue,
            held_out.popularity,
            read_origins(lake, run.day),
            new_title_days=policy.new_title_days,
        ),
    )


def read_groups(
    lake: Lake, day: date, policy: AuditPolicy, histories: Histories, catalogue: Catalogue
) -> dict[str, Labels]:
    """The labels of the users of `histories` by attribute, as known on a day: object [U] each.

    The only reader of PROTECTED_ATTRIBUTES: gender and exact age reach no feature, model or list.
    """
    protected = lake.read(PROTECTED_ATTRIBUTES, day, day, columns=PROTECTED_ATTRIBUTES.names)
    users = lake.read(USERS, day, day, columns=_OF_USERS)
    return groups_of(policy, histories.user_ids, histories, catalogue, users, protected, day)


def read_origins(lake: Lake, day: date) -> dict[int, str]:
    """The country of origin of the titles of a day, by item id; of those that have one."""
    rows = lake.read(ITEMS, day, day, columns=["item_id", "origin_country"])
    rows = rows.filter(pc.is_valid(rows.column("origin_country")))
    return dict(zip(rows.column("item_id").to_pylist(), rows.column("origin_country").to_pylist(), strict=True))


def not_audited(reason: str) -> AuditResult:
    """The result of an audit that could not be made, for one reason: inconclusive, which holds a promotion."""
    return AuditResult(Verdict.INCONCLUSIVE, (reason,), (), None, 0)
