"""Audit what was served: python -m jobs.audit_month --day 2026-01-31 --days 30

The days up to the one named, as they were served to every group of users, and the champion by the lists it was judged
by on that day; on demand, in a night of another configuration than the champion's, that night's challenger instead.
Appended to the signed record, with a page for people; in force for 35 days once a named person has approved it
(`approve_audit`). The last line names the audit.
"""

from datetime import date, timedelta

from pipelines.audit.append_once import append_once
from pipelines.audit.entry import Moment
from pipelines.audit.fingerprint import fingerprint_of
from pipelines.audit.in_force import in_force_until, newest_promotion
from pipelines.audit.month import audited_month
from pipelines.audit.month_content import SERVED, parts_of
from pipelines.audit.offline import versions_read
from pipelines.audit.policy_file import read_policy
from pipelines.audit.records import trusted_records
from pipelines.audit.report import write_report
from pipelines.audit.served_month import served_subjects
from pipelines.audit.signing import open_signer
from pipelines.audit.words import part_sentences
from pipelines.command_line import run, say
from pipelines.digested_files import DigestedFiles
from pipelines.errors import RefusedError, UsageError
from pipelines.lake import Lake
from pipelines.runs import run_of, step
from pipelines.settings import read_settings
from pipelines.warehouse.open import open_warehouse


def main(day: date, days: int = 30, on_demand: bool = False) -> None:
    """Audit some days as served, and the champion or the night's challenger.

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
    policy = read_policy(settings.audit_policy)
    signer = open_signer(settings.audit_key, settings.home)
    promotion = newest_promotion(trusted_records(lake, signer.public_key, settings.audits))
    if promotion is None:
        raise RefusedError("no model set was ever promoted: there is no champion whose month could be audited")
    with step(lake, this_run, "audit_month") as work:
        work.reads = versions_read(lake)
        first_day = day - timedelta(days=days - 1)
        with open_warehouse(settings.warehouse, settings.snowflake_password.get_secret_value()) as warehouse:
            subjects = served_subjects(lake, warehouse, first_day, day, policy)
        models = DigestedFiles(settings.models)
        content = audited_month(lake, models, this_run, promotion, subjects, policy, is_on_demand=on_demand)
        content |= {"first_day": str(first_day), "in_force_until": str(in_force_until(day))}
        moment: Moment = "on_demand" if on_demand else "monthly"
        record = append_once(lake, signer, moment, content, day, audits=settings.audits)
        page = write_report(settings.audits, record, policy)
        for name, part in parts_of(record.content):
            say(f"{name}: {part['verdict']}")
            for sentence in (*part["reasons"], *part_sentences(part)):
                say(f"  {sentence}")
        if content["fingerprint"] != fingerprint_of(this_run.configuration):
            say("this night has another configuration than the champion: an audit --on-demand would be of that")
        say(f"the page: {page}")
        work.writes = {"audit": record.audit_id, "digest": record.digest}
        work.counts = {
            "audit_id": record.audit_id,
            "verdict": record.content["verdict"],
            "report": str(page),
            "audited": record.content[SERVED]["user_count"],
        }


if __name__ == "__main__":
    run(main, description=__doc__)
