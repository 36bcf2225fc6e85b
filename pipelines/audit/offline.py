"""Who is audited in a night: the users by whom the challenger was judged, with the lists it was judged by."""

from datetime import date

import pyarrow.compute as pc

from feature_defs.audit_policy import AuditPolicy
from feature_defs.items import ITEMS
from feature_defs.users import PROTECTED_ATTRIBUTES, USERS
from pipelines.audit.findings import AuditResult, Controls, Verdict
from pipelines.audit.groups import groups_of
from pipelines.audit.subjects import Labels, Subjects, titles_of
from pipelines.catalogue import Catalogue
from pipelines.errors import DataError
from pipelines.evaluation.comparison import CANDIDATES
from pipelines.evaluation.held_out import read_held_out
from pipelines.evaluation.judged_lists import read_judged
from pipelines.histories import Histories
from pipelines.lake import Lake
from pipelines.runs import Run

# What is read beside the inputs of the run.
TABLES = (PROTECTED_ATTRIBUTES,)
_OF_USERS = ["user_id", "age_band", "country", "device", "signup_at"]


def judged_subjects(
    lake: Lake, run: Run, policy: AuditPolicy, role: str = "challenger", *, beside: str | None = "champion"
) -> Subjects:
    """The subjects of a run that was evaluated: the lists of a role that its evaluation kept.

    `beside` them stand those of another role for the same users, if it was judged.

    Raises:
        DataError: if the evaluation kept no lists in that role.
    """
    held_out = read_held_out(lake, run.day, run.configuration.truth_days)
    users = held_out.truth.user_ids
    rankings = read_judged(lake, run, role, users, CANDIDATES)
    if rankings is None:
        raise DataError(
            f"there is nobody to audit: run {run.run_id} kept no lists of its {role}, as no user had something to find "
            "or it was not judged"
        )
    return Subjects(
        user_ids=users,
        rankings=rankings,
        champion_rankings=read_judged(lake, run, beside, users, CANDIDATES) if beside else None,
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
    nothing = Controls(False, "", 0, 0, 0, 1.0)
    return AuditResult(Verdict.INCONCLUSIVE, (reason,), (), nothing, 0, 0.0)
