"""Who signs the record: an Ed25519 key in a PEM file, and its public half for whoever wants to verify.

A new installation that was given no key signs with one that it makes for itself, labelled as a demo key in its file and
in every record: such a record shows that nothing was altered by mistake, and proves nothing to anybody else.
"""

import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from pipelines.errors import UnavailableError, UsageError

# Stands above the PEM block, where readers of PEM skip it.
_DEMO_LABEL = b"demo key of Marquee: made by an installation for itself, protects nothing\n"


@dataclass(frozen=True)
class Signer:
    """A private key; `is_demo` if the installation made it for itself. `public_key`: 64 hexadecimal digits."""

    key: Ed25519PrivateKey
    is_demo: bool

    @property
    def public_key(self) -> str:
        """The raw public key, 64 hexadecimal digits."""
        return self.key.public_key().public_bytes_raw().hex()

    def sign(self, data: bytes) -> str:
        """The signature of these bytes, 128 hexadecimal digits."""
        return self.key.sign(data).hex()


def open_signer(audit_key: Path, home: Path) -> Signer:
    """The signer of an installation; where it keeps no key in the usual place of its home, a demo key is made there.

    Args:
        audit_key: the setting: a PEM file, PKCS#8, not encrypted.
        home: of the installation.

    Raises:
        UsageError: if a place was set and no key is there, or what is there is no Ed25519 key.
        UnavailableError: if it cannot be read, or a demo key cannot be written.
    """
    if not audit_key.exists():
        if audit_key.absolute() != (home / "audit.key").absolute():
            raise UsageError(f"there is no key at {audit_key}: `python -m jobs.make_audit_key --key {audit_key}`")
        make_key(audit_key, is_demo=True)
    try:
        data = audit_key.read_bytes()
    except OSError as error:
        raise UnavailableError(f"the key {audit_key} cannot be read: {error.strerror}") from None
    try:
        key = load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UsageError(f"{audit_key} holds no private key that can be read without a password") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"the key in {audit_key} is no Ed25519 key")
    return Signer(key, data.startswith(_DEMO_LABEL))


def make_key(path: Path, *, is_demo: bool = False) -> bool:
    """Make a private key that only its owner can read; returns whether it did: one that is there is never replaced.

    Raises:
        UnavailableError: if the place cannot be written.
    """
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.touch(mode=0o600)
        partial.write_bytes((_DEMO_LABEL if is_demo else b"") + pem)
        try:
            # Unlike a rename it fails where the name is taken.
            path.hardlink_to(partial)
        except FileExistsError:
            return False
        finally:
            partial.unlink()
    except OSError as error:
        raise UnavailableError(f"no key can be written to {path}: {error.strerror}") from None
    return True


def public_pem(public_key: str) -> bytes:
    """A public key of 64 hexadecimal digits as a PEM file, as other programs read it."""
    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)).public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )


def read_public_key(path: Path) -> str:
    """The public key in a PEM file, 64 hexadecimal digits.

    Raises:
        UsageError: if it is not there, or is no public Ed25519 key.
    """
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise UsageError(f"the public key {path} cannot be read: {error.strerror}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError(f"{path} holds no public key") from None
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError(f"the key in {path} is no Ed25519 key")
    return key.public_bytes_raw().hex()


def is_signed_by(public_key: str, signature: str, data: bytes) -> bool:
    """Whether these bytes were signed by the owner of this key; both as hexadecimal digits, lower case only."""
    try:
        raw = bytes.fromhex(signature)
        if raw.hex() != signature:
            return False
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)).verify(raw, data)
    except (ValueError, InvalidSignature):
        return False
    return True
