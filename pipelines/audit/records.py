"""The record of audits and of what was decided on them: append-only, each entry signed and chained to the one before.

An entry's digest is taken of its canonical JSON, in which the digest of the entry before it stands; the signature is of
the same bytes. So nothing can be altered, taken out, put elsewhere or added without the key, and whoever keeps the
newest digest elsewhere sees if the end is missing. The export beside the reports is such an elsewhere for the lake.
Aggregates and digests only: it names no user.
"""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from feature_defs.record import AUDIT_RECORDS
from pipelines.arrow_schemas import arrow_schema
from pipelines.audit.canonical import canonical, parse_canonical
from pipelines.audit.chain import refuse_forged, verify_chain
from pipelines.audit.entry import NOTHING, AuditRecord, Moment
from pipelines.audit.export import EXPORT, read_export, write_export
from pipelines.audit.signing import Signer
from pipelines.errors import DataError, RefusedError, UnavailableError
from pipelines.lake import Lake

# An auditor is told how many, never who.
_NAMES_OF_USERS = frozenset({"user_id", "user_ids"})


def append_record(
    lake: Lake, signer: Signer, moment: Moment, content: Mapping[str, Any], day: date, *, audits: Path
) -> AuditRecord:
    """Add an entry to the end of the chain, and write the export that others verify.

    What is there already is verified first: nothing is built on a chain that is broken.

    Args:
        lake: where the chain is.
        signer: signs it; the whole chain has one key.
        moment: what kind of entry it is.
        content: what it says, JSON-like; `day`, `recorded_at` (UTC, ISO 8601) and `is_demo` (the content says so, or
            the key is one) are added.
        day: whose night it is of.
        audits: the folder of reports, where the export and the public key are written.

    Raises:
        DataError: if the content cannot be written as JSON, or names users.
        RefusedError: if the chain is broken; says how.
        UnavailableError: if somebody else added an entry at the same time; trying again mends it.
    """
    _refuse_users(content)
    past = trusted_records(lake, signer.public_key, audits)
    number = len(past) + 1
    said = {
        **content,
        "day": str(day),
        "recorded_at": datetime.now(UTC).isoformat(),
        "is_demo": signer.is_demo or bool(content.get("is_demo")),
    }
    # Through JSON, so that what is signed is what is read back.
    said = parse_canonical(canonical(said))
    previous = past[-1].digest if past else NOTHING
    bare = AuditRecord(number, f"{moment}-{day:%Y%m%d}-{number}", moment, previous, said, "", "", signer.public_key)
    sealed = bare.sealed_by(signer)
    row = {**vars(sealed), "content": canonical(said).decode()}
    try:
        lake.append(AUDIT_RECORDS, pa.Table.from_pylist([row], arrow_schema(AUDIT_RECORDS)), day, number=number)
    except RefusedError as error:
        raise UnavailableError(
            f"somebody else added to the record of audits at the same time ({error}): try again"
        ) from None
    write_export([*past, sealed], audits)
    return sealed


def records(lake: Lake) -> list[AuditRecord]:
    """All entries by number, as they are in the lake; whether they are as they were written, `verify_chain` tells.

    Raises:
        RefusedError: if what an entry says is no longer JSON as we write it; names the entry.
    """
    return [_of_row(row) for row in _rows(lake)]


def trusted_records(lake: Lake, public_key: str, audits: Path) -> list[AuditRecord]:
    """All entries, once they were found to be as they were written, and none of those exported before is missing.

    Raises:
        RefusedError: if they are not; one sentence.
    """
    # The head first: whoever adds an entry meanwhile exports it after it is in the lake.
    head = exported_head(audits)
    found = records(lake)
    verify_chain(found, public_key, head.digest if head else None)
    return found


def signed_records(lake: Lake, public_key: str) -> list[AuditRecord]:
    """Those entries that are by themselves as they were signed, though others may be altered or missing.

    What was promoted and signed stays promoted, whatever befell other entries: fresh lists go on.
    """
    found = []
    for row in _rows(lake):
        with suppress(RefusedError):
            record = _of_row(row)
            refuse_forged(record, public_key)
            found.append(record)
    return found


def exported_head(audits: Path) -> AuditRecord | None:
    """The newest entry that was exported; `None` if none ever was.

    Raises:
        RefusedError: if the export is not what was written.
    """
    if not (audits / EXPORT).exists():
        return None
    try:
        exported = read_export(audits / EXPORT)
    except DataError as error:
        raise RefusedError(str(error)) from None
    return exported[-1] if exported else None


def _rows(lake: Lake) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = lake.read(AUDIT_RECORDS, columns=AUDIT_RECORDS.names).to_pylist()
    return sorted(rows, key=lambda row: (row["number"], row["audit_id"]))


def _of_row(row: Mapping[str, Any]) -> AuditRecord:
    try:
        content = parse_canonical(row["content"].encode())
    except DataError as error:
        raise RefusedError(f"record {row['number']} was altered: of its content, {error}") from None
    return AuditRecord(**{**row, "content": content})


def _refuse_users(value: object) -> None:
    if isinstance(value, Mapping):
        if named := _NAMES_OF_USERS & value.keys():
            raise DataError(f"the record names no users: {sorted(named)[0]} does not belong into it")
        for inner in value.values():
            _refuse_users(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _refuse_users(inner)
