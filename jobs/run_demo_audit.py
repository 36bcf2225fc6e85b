"""Two audits to look at: python -m jobs.run_demo_audit --data ../ml-100k

MovieLens 100K, whose people stated gender and age: everybody's newest titles are held out, and lists by ALS audited.
And the simulated service: the last month as served and the champion, as `run_demo` left them, or else a small service
made for it. Both under the labelled demo policy, into a signed record of their own; the last line says how to verify
it.
"""

import shutil
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from feature_defs.audit_policy import AuditPolicy
from feature_defs.events import EVENTS
from pipelines.arrow_schemas import arrow_schema
from pipelines.audit.auditing import audit
from pipelines.audit.content import audit_content
from pipelines.audit.demonstration import demonstration
from pipelines.audit.entry import AuditRecord
from pipelines.audit.export import verify_command
from pipelines.audit.in_force import newest_promotion
from pipelines.audit.month import audited_month
from pipelines.audit.month_content import parts_of
from pipelines.audit.policy_file import read_policy
from pipelines.audit.records import append_record, records
from pipelines.audit.report import write_report
from pipelines.audit.served_month import served_subjects
from pipelines.audit.signing import open_signer
from pipelines.audit.words import part_sentences, verdict_explained
from pipelines.command_line import run, say
from pipelines.digested_files import DigestedFiles
from pipelines.errors import UsageError
from pipelines.lake import Lake
from pipelines.runs import run_of
from pipelines.settings import read_settings
from pipelines.simulation.configuration import WorldConfiguration
from pipelines.simulation.tables import simulated_tables
from pipelines.warehouse.movielens import read_movielens
from pipelines.warehouse.open import open_warehouse

# Made where `run_demo` left nothing.
_SMALL = WorldConfiguration(user_count=2000, title_count=800, day_count=28, seed=1)
_DAYS = 28
_SEED = 1


def main(data: Path | None = None) -> None:
    """Audit both, write their pages and say what was found.

    Args:
        data: the folder of MovieLens; without one the simulated service alone is audited.
    """
    if data is not None and not data.is_dir():
        raise UsageError(f"there is no folder {data}: MovieLens 100K is offered by GroupLens for research")
    settings = read_settings()
    policy = read_policy(settings.audit_policy)
    home = settings.home.absolute() / "demo_audit"
    shutil.rmtree(home, ignore_errors=True)
    found = []
    if data is None:
        say("MovieLens is left out: make demo-audit DATA=FOLDER, where FOLDER holds MovieLens 100K")
    else:
        say("MovieLens: the newest fifth of everybody's ratings is held out, and lists by ALS are audited ...")
        tables = dict(read_movielens(data))
        found.append(_kept(home, "MovieLens", *_of_tables(tables, policy), policy))
    demo = settings.home.absolute() / "demo"
    lake = Lake(str(demo / "lake"))
    promotion = newest_promotion(records(lake))
    if promotion is not None:
        say(
            f"\nthe simulated service: the {_DAYS} days as served and the champion, as the demo left them in {demo} ..."
        )
        found.append(_kept(home, "The simulated service", *_of_demo(demo, lake, promotion, policy), policy))
    else:
        say("\nthe simulated service: a small one, for no demo was promoted and signed (make demo does both) ...")
        tables = {
            table: pa.Table.from_batches(rows, arrow_schema(table)) for table, rows in simulated_tables(_SMALL).items()
        }
        found.append(_kept(home, "The simulated service", *_of_tables(tables, policy), policy))
    say("\nOpen the pages in a browser. Verify the record with the public key alone, offline:")
    say(verify_command(home / "audits", found[-1].digest))


_Audited = tuple[dict[str, Any], date]


def _of_tables(tables: dict[Any, pa.Table], policy: AuditPolicy) -> _Audited:
    """The content of an audit of lists made for it, and its day."""
    made = demonstration(tables, policy)
    result = audit(made.subjects, policy, seed=_SEED)
    model_set = made.run.run_id.partition("-")[2]
    return audit_content(result, policy, made.run, model_set, made.files, {}), made.run.day


def _of_demo(demo: Path, lake: Lake, promotion: AuditRecord, policy: AuditPolicy) -> _Audited:
    """The content of an audit of the demo's last month and its champion, and its day."""
    day = lake.days(EVENTS)[-1]
    with open_warehouse(str(demo / "warehouse.duckdb")) as warehouse:
        served = served_subjects(lake, warehouse, day - timedelta(days=_DAYS - 1), day, policy)
    models = DigestedFiles(str(demo / "models"))
    return audited_month(lake, models, run_of(lake, day), promotion, served, policy), day


def _kept(home: Path, title: str, content: dict[str, Any], day: date, policy: AuditPolicy) -> AuditRecord:
    """Append an audit to the record of the demonstration, write its page, and say in words what was found."""
    signer = open_signer(home / "audit.key", home)
    record = append_record(Lake(str(home / "lake")), signer, "on_demand", content, day, audits=home / "audits")
    page = write_report(home / "audits", record, policy)
    say(f"\n{title}: {record.content['verdict']}. {verdict_explained(record.content['verdict'])}")
    for name, part in parts_of(record.content):
        say(f"  {name}: {part['verdict']}")
        for sentence in part_sentences(part):
            say(f"    {sentence}")
    say(f"  the page: {page}")
    return record


if __name__ == "__main__":
    run(main, description=__doc__)
