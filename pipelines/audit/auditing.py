"""An audit, whole: subjects and a policy in, a verdict with its reasons out."""

from feature_defs.audit_policy import AuditPolicy
from pipelines.audit.controls import run_controls
from pipelines.audit.exposure import shown
from pipelines.audit.family import family_of
from pipelines.audit.findings import AuditResult
from pipelines.audit.groups import audited_attributes
from pipelines.audit.metrics import user_values
from pipelines.audit.subjects import Subjects, check_subjects
from pipelines.audit.verdict import conclude, judge


def audit(subjects: Subjects, policy: AuditPolicy, *, seed: int) -> AuditResult:
    """Audit lists; the same subjects, policy and seed give the same result.

    Args:
        subjects: who is audited, with their lists.
        policy: what is asked.
        seed: of resamples, permutations and the planted bias.

    Raises:
        DataError: if an attribute is unknown for too many users, or nothing was shown.
    """
    check_subjects(subjects)
    attributes = audited_attributes(policy, subjects.groups, len(subjects.user_ids))
    values = user_values(subjects, policy)
    family = family_of(attributes, values, policy)
    findings = judge(family, values, *shown(subjects, policy), policy, seed=seed)
    controls = run_controls(family, values, policy, seed=seed)
    held = {one.attribute.name for one in attributes}
    absent = [one.name for one in policy.attributes if one.name not in held]
    verdict, reasons = conclude(findings, controls, policy, absent)
    return AuditResult(verdict, reasons, findings, controls, len(subjects.user_ids))
