"""Some days as served, audited, with the lists of a model set beside them: what a full audit is made of.

The set is the champion, and the audit is of the configuration that it was promoted with, whatever a night is configured
as meanwhile. Only one that somebody asked for, in a night of another configuration, is of that night's challenger: so a
new architecture can be put in force before any set of it is promoted.
"""

from typing import Any

from feature_defs.audit_policy import AuditPolicy
from pipelines.audit.auditing import audit
from pipelines.audit.content import audit_content
from pipelines.audit.entry import AuditRecord
from pipelines.audit.fingerprint import fingerprint_of
from pipelines.audit.month_content import CHALLENGER, CHAMPION, with_lists
from pipelines.audit.offline import judged_subjects, versions_read
from pipelines.audit.subjects import Subjects
from pipelines.digested_files import DigestedFiles
from pipelines.evaluation.judged_lists import evaluated_set
from pipelines.lake import Lake
from pipelines.runs import Run


def audited_month(
    lake: Lake,
    models: DigestedFiles,
    run: Run,
    promotion: AuditRecord,
    served: Subjects,
    policy: AuditPolicy,
    *,
    is_on_demand: bool = False,
) -> dict[str, Any]:
    """What the record says of some days as served and of the lists of a model set.

    Args:
        lake: where the run kept the lists that it judged.
        models: where model sets are.
        run: of the last of the days, which was evaluated.
        promotion: the signed promotion of the champion.
        served: who was shown what (`pipelines.audit.served_month.served_subjects`).
        policy: what is asked.
        is_on_demand: whether somebody asked for it.

    Raises:
        DataError: if an attribute is unknown for too many users, nothing was shown, or the run did not judge the set.
    """
    model_set, fingerprint = str(promotion.content["model_set"]), str(promotion.content["fingerprint"])
    of_the_night = fingerprint_of(run.configuration)
    is_of_challenger = is_on_demand and of_the_night != fingerprint
    if is_of_challenger:
        model_set, fingerprint = evaluated_set(lake, run), of_the_night
    seed = int(model_set[:8], 16)
    judged = judged_subjects(lake, run, policy, model_set, is_beside_champion=is_of_challenger)
    content = audit_content(
        audit(served, policy, seed=seed),
        policy,
        run,
        model_set,
        models.load(model_set),
        versions_read(lake),
        fingerprint=fingerprint,
    )
    return with_lists(content, audit(judged, policy, seed=seed), CHALLENGER if is_of_challenger else CHAMPION)
