"""Take up what the endpoint answered and heard: python -m jobs.load_events

Moves the sealed segments of the spool (`MARQUEE_SPOOL`) into the warehouse, each exactly once: its name is recorded in
the transaction of its rows, and it is removed afterwards; killed in between, the next run only removes it. Events get
run, slot and propensity from the answer of the same request. What users decided goes to the table `preferences`, and
is in force when users are extracted. A segment whose writer is gone is taken up as well. What
cannot be taken, a torn tail or rows that break a critical rule, is counted, and its segment is kept beside the others
with the ending .kept. Records of users whose erasure was asked for are dropped before anything else.
"""

import json
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path

from feature_defs.events import ANSWERS, EVENTS
from feature_defs.users import PREFERENCES
from pipelines.command_line import run
from pipelines.erasure import erased_users
from pipelines.lake import Lake
from pipelines.settings import read_settings
from pipelines.spool import Answer, EventRecord, Preference, Segment, seal_orphans, sealed_segments
from pipelines.warehouse.admission import sound_rows
from pipelines.warehouse.interface import LoadableWarehouse, TakenUp
from pipelines.warehouse.open import open_for_loading
from pipelines.warehouse.spooled import answer_rows, event_rows, preference_rows


def main() -> None:
    """Move all sealed segments of the spool into the warehouse."""
    settings = read_settings()
    orphan_count = seal_orphans(settings.spool)
    segments = sealed_segments(settings.spool)
    counts = {"segments": len(segments), "orphans": orphan_count, "kept": 0, "torn_bytes": 0, "refused": 0}
    counts |= dict.fromkeys(TakenUp.__dataclass_fields__, 0)
    if segments:
        erased = erased_users(Lake(settings.lake, settings.lake_options))
        password = settings.snowflake_password.get_secret_value()
        with open_for_loading(settings.warehouse, password) as warehouse:
            for segment in segments:
                for name, count in take_up(segment, warehouse, erased).items():
                    counts[name] += count
    print(json.dumps(counts))


def take_up(segment: Segment, warehouse: LoadableWarehouse, erased: Collection[int] = ()) -> dict[str, int]:
    """Move one segment into the warehouse, then remove it, or keep it where some of it could not be taken.

    Records of `erased` users are taken out of the segment first, so that they are not kept either.
    """
    if dropped := segment.without(erased).total():
        print(f"{segment.path}: {dropped:,} records of erased users were dropped", flush=True)
    records = list(segment)
    all_answers = answer_rows([record for record in records if isinstance(record, Answer)])
    all_events = event_rows([record for record in records if isinstance(record, EventRecord)])
    all_said = preference_rows([record for record in records if isinstance(record, Preference)])
    answers, events, said = (
        sound_rows(table, rows)
        for table, rows in ((ANSWERS, all_answers), (EVENTS, all_events), (PREFERENCES, all_said))
    )
    refused_count = sum(rows.num_rows for rows in (all_answers, all_events, all_said))
    refused_count -= sum(rows.num_rows for rows in (answers, events, said))
    taken = warehouse.take_up(segment.name, answers, events, said)
    counts = {"torn_bytes": segment.torn_byte_count, "refused": refused_count, **(asdict(taken) if taken else {})}
    if segment.torn_byte_count or refused_count:
        kept = segment.keep()
        _say(f"{kept}: {segment.torn_byte_count:,} bytes are torn, {refused_count:,} rows break a rule", counts)
        return {**counts, "kept": 1}
    segment.remove()
    _say(segment.path, counts)
    return counts


def _say(what: str | Path, counts: dict[str, int]) -> None:
    events, answers = counts.get("event_count", 0), counts.get("answer_count", 0)
    print(f"{what}: {events:,} events, {answers:,} slots of answers", flush=True)


if __name__ == "__main__":
    run(main, description=__doc__)
