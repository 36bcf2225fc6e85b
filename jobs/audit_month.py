"""Audit what was served: python -m jobs.audit_month --day 2026-01-31 --days 30

The days up to the one named, as they were served to every group of users, and the champion by the lists it was judged
by on that day. Appended to the signed record, with a page for people; in force for 35 days once a named person has
approved it (`approve_audit`). The last line names the audit.
"""

from datetime import date, timedelta

from feature_defs.interactions import INTERACTIONS
from feature_defs.judged_lists import JUDGED_LISTS
from pipelines.audit.append_once import append_once
from pipelines.audit.auditing import audit
from pipelines.audit.content import audit_content
from pipelines.audit.entry import Moment
from pipelines.audit.in_force import in_force_until
from pipelines.audit.month_content import with_champion
from pipelines.audit.offline import TABLES, judged_subjects
from pipelines.audit.policy_file import read_policy
from pipelines.audit.report import parts_of, write_report
from pipelines.audit.served_month import served_subjects
from pipelines.audit.signing import open_signer
from pipelines.audit.words import part_sentences
from pipelines.command_line import run, say
from pipelines.digested_files import DigestedFiles
from pipelines.errors import RefusedError, UsageError
from pipelines.lake import Lake
from pipelines.promotion import champion
from pipelines.runs import last_step, run_of, step
from pipelines.settings import read_settings
from pipelines.warehouse.open import open_warehouse


def main(day: date, days: int = 30, on_demand: bool = False) -> None:
    """Audit some days as served, and the champion.

    Args:
        day: the last of them, whose night was evaluated.
        days: how many.
        on_demand: somebody asked for it, beside the monthly ones; it is recorded as such.
    """
    if not 1 <= days <= 366:
        raise UsageError(f"--days is {days}; it must lie between 1 and 366")
    settings = read_settings()
    lake = Lake(settings.lake, settings.lake_options)
    this_run = run_of(lake, day)
    now = champion(lake)
    if now is None:
        raise RefusedError("no model set was ever promoted: there is no champion whose month could be audited")
    policy = read_policy(settings.audit_policy)
    signer = open_signer(settings.audit_key, settings.home)
    challenger = last_step(lake, this_run, "assemble_models")["writes"]["model_set"]
    with step(lake, this_run, "audit_month") as work:
        work.reads = {table.name: lake.version(table) or 0 for table in (INTERACTIONS, JUDGED_LISTS, *TABLES)}
        first_day = day - timedelta(days=days - 1)
        with open_warehouse(settings.warehouse, settings.snowflake_password.get_secret_value()) as warehouse:
            subjects = served_subjects(lake, warehouse, first_day, day, policy)
        seed = int(now.challenger[:8], 16)
        served = audit(subjects, policy, seed=seed)
        # The champion was that night's challenger if it was promoted then.
        role = "challenger" if now.challenger == challenger else "champion"
        judged = judged_subjects(lake, this_run, policy, role, beside=None)
        content = audit_content(
            served,
            policy,
            this_run,
            now.challenger,
            DigestedFiles(settings.models).load(now.challenger),
            work.reads,
            in_force_until=in_force_until(day),
        )
        content = with_champion(content, audit(judged, policy, seed=seed)) | {"first_day": str(first_day)}
        moment: Moment = "on_demand" if on_demand else "monthly"
        record = append_once(lake, signer, moment, content, day, audits=settings.audits)
        page = write_report(settings.audits, record, policy)
        for name, part in parts_of(record.content):
            say(f"{name}: {part['verdict']}")
            for sentence in (*part["reasons"], *part_sentences(part)):
                say(f"  {sentence}")
        say(f"the page: {page}")
        work.writes = {"audit": record.audit_id, "digest": record.digest}
        work.counts = {
            "audit_id": record.audit_id,
            "verdict": record.content["verdict"],
            "report": str(page),
            "audited": served.user_count,
        }


if __name__ == "__main__":
    run(main, description=__doc__)
