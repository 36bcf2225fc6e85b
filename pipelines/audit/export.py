"""The record as a file, for whoever verifies it elsewhere: one line an entry, and the public key beside it."""

from collections.abc import Sequence
from pathlib import Path

from pipelines.audit.entry import AuditRecord, entry_of_line
from pipelines.audit.signing import public_pem
from pipelines.errors import DataError, UnavailableError, UsageError
from pipelines.whole_files import write_whole

EXPORT = "records.jsonl"
PUBLIC_KEY = "public_key.pem"


def write_export(records: Sequence[AuditRecord], audits: Path) -> None:
    """Write all entries and the public key into the folder of reports, each file at once.

    Raises:
        UnavailableError: if the folder cannot be written.
    """
    try:
        write_whole(audits / PUBLIC_KEY, public_pem(records[-1].public_key))
        write_whole(audits / EXPORT, b"".join(record.to_line() for record in records))
    except OSError as error:
        raise UnavailableError(f"the record cannot be exported to {audits}: {error.strerror}") from None


def read_export(path: Path) -> list[AuditRecord]:
    """The entries of an export, in its order.

    Raises:
        UsageError: if there is no such file.
        DataError: if a line is not one that was written; names the line.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"the records {path} cannot be read: {error.strerror}") from None
    # Not `splitlines`: that also splits where a text holds a separator of Unicode.
    *lines, rest = data.split(b"\n")
    if rest:
        raise DataError(f"{path} was altered or truncated: its last line has no end")
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(entry_of_line(line))
        except DataError as error:
            raise DataError(f"line {number} of {path} was altered: {error}") from None
    return found


def verify_command(audits: Path, head: str | None = None) -> str:
    """The command that verifies an export offline, with the public key alone, and with it that an entry is there."""
    command = f"python -m jobs.verify_audit --records {audits / EXPORT} --public-key {audits / PUBLIC_KEY}"
    return command if head is None else f"{command} --expect-head {head}"
