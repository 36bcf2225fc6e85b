"""A day of the warehouse into the lake: python -m jobs.extract_events --day 2026-01-31

Events received on the day, and the catalogue and the users as they stand. All of it is checked before any of it is
written. `--from-day` takes a range of days at once: the first load of a new installation.
"""

from contextlib import ExitStack
from datetime import date

from feature_defs.events import EVENTS
from feature_defs.items import ITEMS
from feature_defs.users import PROTECTED_ATTRIBUTES, USERS
from pipelines.command_line import run, say, say_result
from pipelines.errors import DataError, UsageError
from pipelines.expectations import validate
from pipelines.extraction import extract
from pipelines.lake import Lake
from pipelines.settings import read_settings
from pipelines.warehouse.open import open_warehouse


def main(day: date, from_day: date | None = None) -> None:
    """Extract, check and keep a day.

    Args:
        day: the day of receipt (UTC), or the last of a range.
        from_day: the first day of a range.
    """
    first_day = from_day or day
    if first_day > day:
        raise UsageError(f"--from-day {first_day} lies after --day {day}")
    settings = read_settings()
    lake = Lake(settings.lake, settings.lake_options)
    with ExitStack() as stack:
        warehouse = stack.enter_context(
            open_warehouse(settings.warehouse, settings.snowflake_password.get_secret_value())
        )
        known = warehouse.days(EVENTS)
        tables = [EVENTS, ITEMS, USERS, PROTECTED_ATTRIBUTES]
        extracted = []
        for table in tables:
            if table is PROTECTED_ATTRIBUTES and not warehouse.columns(table):
                continue
            checked = stack.enter_context(extract(warehouse, table, first_day, day))
            say(f"{checked.what}: {checked.row_count:,} rows")
            extracted.append(checked)
        if not extracted[0].row_count and not extracted[0].rejected:
            held = f"the warehouse holds {known[0]} to {known[1]}" if known else "the warehouse holds none at all"
            raise DataError(
                f"no events were received {'on' if from_day is None else f'from {from_day} to'} {day}: {held}"
            )
        for checked in extracted:
            lake.quarantine(checked)
        rows = {checked.table: checked.path for checked in extracted if checked.row_count}
        found = validate(rows, settings.data_docs, day, "extract_events")
        for checked in extracted:
            checked.refuse_if_critical()
        found.refuse_if_critical(f"what was extracted for {day}")
        written = [lake.commit(checked) for checked in extracted]
    for one in written:
        for note in one.notes:
            say(f"{one.table}: {note}")
    say_result({"job": "extract_events", "day": str(day), **{one.table: one.row_count for one in written}})


if __name__ == "__main__":
    run(main, description=__doc__)
