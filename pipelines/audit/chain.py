"""Is the record what was written? Every entry, its place and its signature, with nothing but the public key."""

from collections.abc import Sequence, Set
from dataclasses import replace

from pipelines.audit.canonical import digest_of_bytes
from pipelines.audit.entry import NOTHING, AuditRecord
from pipelines.audit.signing import is_signed_by
from pipelines.errors import RefusedError


def verify_chain(records: Sequence[AuditRecord], public_key: str, expect_head: str | None = None) -> None:
    """Say nothing if the entries are the whole chain, in order, as its owner signed them.

    Args:
        records: in the order in which they were found.
        public_key: of the owner, 64 hexadecimal digits.
        expect_head: the digest of an entry that was kept elsewhere: the chain must hold it. Without one nobody can
            tell whether entries are missing at the end.

    Raises:
        RefusedError: if one was altered, deleted, reordered or is there twice, if the chain was truncated, or signed
            with a foreign key; one sentence that names the first at fault.
    """
    numbers = {record.number for record in records}
    previous = NOTHING
    for number, record in enumerate(records, start=1):
        refuse_forged(record, public_key, numbers)
        if record.number != number:
            raise RefusedError(_misplaced(record.number, number, numbers))
        if record.previous != previous:
            raise RefusedError(f"record {number} does not follow the record before it: one of them was replaced")
        previous = record.digest
    if expect_head is not None and expect_head not in {record.digest for record in records}:
        raise RefusedError(
            f"the chain was truncated or rewritten: it ends with record {len(records)}, and no record has the digest "
            f"{expect_head} that was kept elsewhere"
        )


def refuse_forged(record: AuditRecord, public_key: str, numbers: Set[int] = frozenset()) -> None:
    """Say nothing if an entry by itself, wherever it stands, is as the owner of this key signed it.

    Args:
        record: the entry.
        public_key: of the owner, 64 hexadecimal digits.
        numbers: of all entries, to tell one that was given another's number from one that was altered otherwise.

    Raises:
        RefusedError: if it is not; one sentence.
    """
    if record.public_key != public_key:
        raise RefusedError(
            f"record {record.number} was signed with a foreign key: {record.public_key[:16]}, not {public_key[:16]}"
        )
    data = record.signed_bytes()
    if digest_of_bytes(data) != record.digest:
        for number in numbers - {record.number}:
            if digest_of_bytes(replace(record, number=number).signed_bytes()) == record.digest:
                raise RefusedError(
                    f"the records were reordered: what was signed as record {number} is numbered {record.number}"
                )
        raise RefusedError(f"record {record.number} was altered: its content has not the digest that it carries")
    if not is_signed_by(public_key, record.signature, data):
        raise RefusedError(f"record {record.number} was altered: its signature is not of this key and this content")


def _misplaced(found: int, expected: int, numbers: set[int]) -> str:
    if found < expected:
        return f"the records were reordered: record {found} is there twice, or stands after record {expected - 1}"
    if expected in numbers:
        return f"the records were reordered: record {found} stands where record {expected} belongs"
    return f"record {expected} was deleted: record {found} stands in its place"
