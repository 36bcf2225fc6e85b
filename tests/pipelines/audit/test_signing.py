"""A key is made once and never replaced; a demo key says so; a signature fits one key and one text."""

import stat
from multiprocessing.pool import ThreadPool
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from pipelines.audit.signing import is_signed_by, make_key, open_signer, public_pem, read_public_key
from pipelines.errors import UnavailableError, UsageError


def test_an_installation_without_a_key_makes_one_that_says_it_is_for_demos(tmp_path: Path) -> None:
    home = tmp_path / "home"
    signer = open_signer(home / "audit.key", home)
    assert signer.is_demo
    assert (home / "audit.key").read_text().startswith("demo key")
    assert stat.S_IMODE((home / "audit.key").stat().st_mode) == 0o600
    assert open_signer(home / "audit.key", home).public_key == signer.public_key
    assert [path.name for path in home.iterdir()] == ["audit.key"]


def test_of_many_that_open_a_new_installation_at_once_all_have_the_same_key(tmp_path: Path) -> None:
    with ThreadPool(8) as threads:
        keys = threads.map(lambda _: open_signer(tmp_path / "audit.key", tmp_path).public_key, range(32))
    assert len(set(keys)) == 1


def test_a_key_that_was_made_for_good_is_no_demo_and_is_never_replaced(tmp_path: Path) -> None:
    assert make_key(tmp_path / "own.key")
    signer = open_signer(tmp_path / "own.key", tmp_path / "home")
    assert not signer.is_demo
    assert not make_key(tmp_path / "own.key")
    assert open_signer(tmp_path / "own.key", tmp_path / "home").public_key == signer.public_key


def test_a_place_that_was_set_and_holds_no_key_is_named_and_nothing_is_made_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no key at .*missing.key: .*make_audit_key"):
        open_signer(tmp_path / "missing.key", tmp_path / "home")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_key_is_named(tmp_path: Path) -> None:
    other = generate_private_key(SECP256R1())
    (tmp_path / "text").write_text("a text")
    (tmp_path / "other").write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "other.pub").write_bytes(public)
    with pytest.raises(UsageError, match="no private key"):
        open_signer(tmp_path / "text", tmp_path)
    with pytest.raises(UsageError, match="no Ed25519 key"):
        open_signer(tmp_path / "other", tmp_path)
    with pytest.raises(UnavailableError, match="cannot be read"):
        open_signer(tmp_path, tmp_path / "home")
    with pytest.raises(UsageError, match="no public key"):
        read_public_key(tmp_path / "text")
    with pytest.raises(UsageError, match="no Ed25519 key"):
        read_public_key(tmp_path / "other.pub")
    with pytest.raises(UsageError, match="cannot be read"):
        read_public_key(tmp_path / "missing")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="no key can be written"):
        open_signer(tmp_path / "file" / "audit.key", tmp_path / "file")


def test_the_public_key_goes_through_a_pem_file(tmp_path: Path) -> None:
    signer = open_signer(tmp_path / "audit.key", tmp_path)
    (tmp_path / "public.pem").write_bytes(public_pem(signer.public_key))
    assert read_public_key(tmp_path / "public.pem") == signer.public_key


@given(st.binary(max_size=40), st.data())
def test_a_signature_fits_its_text_and_no_other_and_is_written_in_one_way(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, drawn: st.DataObject
) -> None:
    home = tmp_path_factory.getbasetemp() / "signing"
    signer = open_signer(home / "audit.key", home)
    signature = signer.sign(data)
    assert is_signed_by(signer.public_key, signature, data)
    assert not is_signed_by(signer.public_key, signature, data + b"!")
    place = drawn.draw(st.integers(0, len(signature) - 1))
    character = drawn.draw(st.characters().filter(lambda one: one != signature[place]))
    assert not is_signed_by(signer.public_key, signature[:place] + character + signature[place + 1 :], data)
