"""Audit the challenger of a day: python -m jobs.audit_bias --day 2026-01-31

By the lists that `evaluate_models` judged it by: what it would serve to every group of users, after all filters and
caps. The verdict is appended to the signed record and a page for people is written. A challenger that fails is said and
recorded, and the night goes on: `promote_models` refuses it, and the champion makes the lists.
"""

from datetime import date

from pipelines.audit.append_once import append_once
from pipelines.audit.auditing import audit
from pipelines.audit.content import audit_content
from pipelines.audit.findings import AuditResult
from pipelines.audit.in_force import in_force_until, moment_of_challenger
from pipelines.audit.offline import judged_subjects, not_audited, versions_read
from pipelines.audit.policy_file import read_policy
from pipelines.audit.records import trusted_records
from pipelines.audit.report import write_report
from pipelines.audit.signing import open_signer
from pipelines.audit.words import part_sentences
from pipelines.command_line import run, say
from pipelines.digested_files import DigestedFiles
from pipelines.errors import DataError, RefusedError
from pipelines.evaluation.judged_lists import evaluated_set
from pipelines.lake import Lake
from pipelines.runs import run_of, step
from pipelines.settings import read_settings


def main(day: date) -> None:
    """Audit the challenger of a day's run, and record what was found.

    Args:
        day: the day whose night this is.
    """
    settings = read_settings()
    lake = Lake(settings.lake, settings.lake_options)
    this_run = run_of(lake, day)
    challenger = evaluated_set(lake, this_run)
    policy = read_policy(settings.audit_policy)
    signer = open_signer(settings.audit_key, settings.home)
    with step(lake, this_run, "audit_bias") as work:
        work.reads = versions_read(lake)
        try:
            moment = moment_of_challenger(trusted_records(lake, signer.public_key, settings.audits))
        except RefusedError as error:
            # Without a record nothing is promoted; the champion's lists do not wait for its repair.
            say(f"not audited, as nothing is added to a record that cannot be relied on: {error}")
            work.counts = {"verdict": "not recorded", "audit": None, "audited": 0}
            return
        result: AuditResult
        try:
            subjects = judged_subjects(lake, this_run, policy, challenger, is_beside_champion=True)
            result = audit(subjects, policy, seed=int(challenger[:8], 16))
        except DataError as error:
            # What cannot be judged is not promoted; the champion's lists do not wait for it.
            result = not_audited(str(error))
        content = audit_content(
            result,
            policy,
            this_run,
            challenger,
            DigestedFiles(settings.models).load(challenger),
            work.reads,
            in_force_until=in_force_until(day) if moment == "genesis" else None,
        )
        record = append_once(lake, signer, moment, content, day, audits=settings.audits)
        page = write_report(settings.audits, record, policy)
        for sentence in (*result.reasons, *part_sentences(record.content)):
            say(sentence)
        say(f"{record.audit_id}: {result.verdict}" + (" (demo policy or key)" if record.content["is_demo"] else ""))
        say(f"the page: {page}")
        work.writes = {"audit": record.audit_id, "digest": record.digest}
        work.counts = {"verdict": str(result.verdict), "audit": record.audit_id, "audited": result.user_count}


if __name__ == "__main__":
    run(main, description=__doc__)
