"""An audit that is made again, because its task was tried again, is one entry of the record, not two."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from pipelines.audit.entry import AuditRecord, Moment
from pipelines.audit.records import append_record, trusted_records
from pipelines.audit.signing import Signer
from pipelines.lake import Lake


def append_once(
    lake: Lake, signer: Signer, moment: Moment, content: Mapping[str, Any], day: date, *, audits: Path
) -> AuditRecord:
    """Add an entry; one of the same day that says the very same is given back instead.

    An audit that is repeated on other data, by other code or under another policy says something else, and is added.

    Raises:
        DataError: as `append_record`.
        RefusedError: as `append_record`.
        UnavailableError: as `append_record`.
    """
    # The signer may make a demo of what would be none.
    said = {"day": str(day), **{name: value for name, value in content.items() if name != "is_demo"}}
    for record in reversed(trusted_records(lake, signer.public_key, audits)):
        if record.moment == moment and said.items() <= record.content.items():
            return record
    return append_record(lake, signer, moment, content, day, audits=audits)
