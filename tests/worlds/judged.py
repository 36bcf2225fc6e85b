"""An installation whose challenger of a day was assembled and judged, and nothing decided yet; nothing was trained."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
from audited import add, plant_audit, said_of
from made_lists import planned_run

from feature_defs.record import AUDIT_RECORDS, EVALUATIONS
from pipelines.arrow_schemas import arrow_schema
from pipelines.audit.entry import AuditRecord, Moment
from pipelines.audit.records import records
from pipelines.configuration import RunConfiguration
from pipelines.digested_files import DigestedFiles
from pipelines.lake import Lake
from pipelines.runs import Run, record_run, step


@dataclass
class Judged:
    """An installation in a folder of its own."""

    home: Path
    configuration: RunConfiguration = field(default_factory=RunConfiguration)

    @property
    def lake(self) -> Lake:
        return Lake(str(self.home / "lake"))

    @property
    def entries(self) -> list[AuditRecord]:
        return records(self.lake)

    def judge(self, day: date, letter: str, difference: float = 0.01, number: int = 1) -> tuple[Run, str]:
        """A challenger of a day, judged beside most popular: worse if the difference is below zero."""
        opened = record_run(self.lake, planned_run(day, number), number)
        model_set = self.assemble(opened, letter)
        figures = {"value": 0.2, "low": 0.19, "high": 0.21}
        apart = {"difference": difference, "difference_low": difference - 0.001, "difference_high": difference + 0.001}
        row = {"run_id": opened.run_id, "run_day": day, "metric": "ndcg_at_20", "segment": "all", "user_count": 500}
        rows = [
            {**row, **figures, "role": "challenger", "model_set": model_set, "against": "challenger"},
            {**row, **figures, **apart, "role": "most_popular"} | {"against": "challenger"},
        ]
        self.lake.replace(EVALUATIONS, pa.Table.from_pylist(rows, arrow_schema(EVALUATIONS)), day)
        with step(self.lake, opened, "evaluate_models") as work:
            work.writes["model_set"] = model_set
        return opened, model_set

    def assemble(self, opened: Run, letter: str) -> str:
        """Another challenger of a run; nothing judges it."""
        model_set = DigestedFiles(str(self.home / "models")).save({"set.txt": letter.encode()})
        with step(self.lake, opened, "assemble_models") as work:
            work.writes["model_set"] = model_set
        return model_set

    def let_pass(self, model_set: str, day: date) -> None:
        """Its audit passed: genesis for the first."""
        plant_audit(self.home, model_set, day, self.configuration)

    def audit(self, moment: Moment, model_set: str, day: date, **other: Any) -> AuditRecord:
        """An audit with another outcome."""
        return add(self.home, moment, said_of(model_set, day, self.configuration, **other), day)

    def tamper(self, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
        """Do to the record's rows what somebody does who can write to the lake and has not the key."""
        rewrite(self.lake, change)


def rewrite(lake: Lake, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    """Replace the rows of the record, which nothing of ours ever does."""
    rows = sorted(lake.read(AUDIT_RECORDS).to_pylist(), key=lambda row: row["number"])
    days = [row.pop("day") for row in rows]
    changed = pa.Table.from_pylist(change(rows), arrow_schema(AUDIT_RECORDS))
    whole = changed.append_column("day", pa.array([min(days)] * len(changed), pa.date32()))
    lake.replace(AUDIT_RECORDS, whole, min(days), max(days))
