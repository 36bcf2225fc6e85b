"""One entry of the record: its fields, the bytes that are signed, and its line in an export."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from pipelines.audit.canonical import canonical, digest_of_bytes, parse_canonical
from pipelines.audit.signing import Signer
from pipelines.errors import DataError

Moment = Literal["genesis", "challenger", "monthly", "on_demand", "approval", "promotion", "rollback"]
# What the first record follows.
NOTHING = "0" * 64


@dataclass(frozen=True)
class AuditRecord:
    """One entry. `previous` and `digest` are sha256 (64 hexadecimal digits), `signature` 128, `public_key` 64."""

    number: int
    audit_id: str
    moment: str
    previous: str
    content: Mapping[str, Any]
    digest: str
    signature: str
    public_key: str

    def signed_bytes(self) -> bytes:
        """What is digested and signed: canonical JSON of all but the digest and the signature.

        Raises:
            DataError: as `pipelines.audit.canonical.canonical`.
        """
        return canonical({name: value for name, value in self._values().items() if name not in _SEALS})

    def sealed_by(self, signer: Signer) -> "AuditRecord":
        """The same with its digest and signature."""
        data = self.signed_bytes()
        return replace(self, digest=digest_of_bytes(data), signature=signer.sign(data))

    def to_line(self) -> bytes:
        """The entry as one line of an export: canonical JSON and a newline."""
        return canonical(self._values()) + b"\n"

    def _values(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


_SEALS = frozenset({"digest", "signature"})
_KINDS: dict[str, type] = {field.name: str for field in fields(AuditRecord)} | {"number": int, "content": dict}


def entry_of_line(line: bytes) -> AuditRecord:
    """The entry that `to_line` wrote, its newline taken off.

    Raises:
        DataError: if it is not such a line.
    """
    values = parse_canonical(line)
    if not isinstance(values, dict) or {name: type(value) for name, value in values.items()} != _KINDS:
        raise DataError("it has not the fields of a record")
    return AuditRecord(**values)
