"""Whatever is done to a chain of signed entries is found, and named for what it is."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from pipelines.audit.canonical import digest_of_bytes
from pipelines.audit.chain import verify_chain
from pipelines.audit.entry import NOTHING, AuditRecord, entry_of_line
from pipelines.audit.export import EXPORT, PUBLIC_KEY, read_export, write_export
from pipelines.audit.signing import Signer, read_public_key
from pipelines.errors import DataError, MarqueeError, RefusedError

OURS = Signer(Ed25519PrivateKey.from_private_bytes(b"o" * 32), is_demo=False)
THEIRS = Signer(Ed25519PrivateKey.from_private_bytes(b"t" * 32), is_demo=False)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
CONTENTS = st.dictionaries(TEXTS, SCALARS | st.lists(SCALARS, max_size=3), max_size=4)
CHAINS = st.lists(CONTENTS, min_size=1, max_size=5)


def chain_of(contents: Sequence[dict[str, Any]], signer: Signer = OURS) -> list[AuditRecord]:
    chain: list[AuditRecord] = []
    for number, content in enumerate(contents, start=1):
        previous = chain[-1].digest if chain else NOTHING
        bare = AuditRecord(number, f"challenger-{number}", "challenger", previous, content, "", "", signer.public_key)
        chain.append(bare.sealed_by(signer))
    return chain


@cache
def four() -> tuple[AuditRecord, ...]:
    return tuple(chain_of([{"verdict": "PASS", "set": letter, "share": 0.25} for letter in "abcd"]))


def refused(records: Sequence[AuditRecord], head: str | None = None) -> str:
    with pytest.raises(RefusedError) as error:
        verify_chain(records, OURS.public_key, head)
    sentence = str(error.value)
    assert "\n" not in sentence
    return sentence


@given(CHAINS)
def test_a_chain_as_it_was_written_is_whole_with_every_head_it_ever_had(contents: list[dict[str, Any]]) -> None:
    chain = chain_of(contents)
    for head in (None, *(record.digest for record in chain)):
        verify_chain(chain, OURS.public_key, head)


def test_no_records_are_a_chain_and_not_one_of_which_a_head_is_known() -> None:
    verify_chain([], OURS.public_key)
    assert "truncated" in refused([], four()[0].digest)


@given(CHAINS, st.data())
def test_any_byte_of_any_record_that_is_changed_is_found(
    tmp_path_factory: pytest.TempPathFactory, contents: list[dict[str, Any]], drawn: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.jsonl"
    data = bytearray(b"".join(record.to_line() for record in chain_of(contents)))
    place = drawn.draw(st.integers(0, len(data) - 1))
    data[place] ^= drawn.draw(st.integers(1, 255))
    path.write_bytes(data)
    with pytest.raises(MarqueeError) as error:
        verify_chain(read_export(path), OURS.public_key)
    assert isinstance(error.value, DataError | RefusedError)
    assert "\n" not in str(error.value)


@given(CHAINS, st.data())
def test_bytes_taken_out_or_put_in_anywhere_are_found(
    tmp_path_factory: pytest.TempPathFactory, contents: list[dict[str, Any]], drawn: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "shifted.jsonl"
    chain = chain_of(contents)
    data = b"".join(record.to_line() for record in chain)
    start = drawn.draw(st.integers(0, len(data) - 1))
    stop = drawn.draw(st.integers(start, len(data)))
    other = data[:start] + drawn.draw(st.binary(max_size=4)) + data[stop:]
    path.write_bytes(other)
    if other == data:
        return
    with pytest.raises((DataError, RefusedError)):
        verify_chain(read_export(path), OURS.public_key, chain[-1].digest)


@given(st.permutations(range(4)), st.integers(1, 4))
def test_every_other_order_and_every_part_is_found(order: list[int], count: int) -> None:
    chosen = order[:count]
    if chosen == [0, 1, 2, 3]:
        return
    sentence = refused([four()[place] for place in chosen], four()[-1].digest)
    assert any(word in sentence for word in ("deleted", "reordered", "truncated")), sentence


def test_an_altered_content_is_named() -> None:
    chain = [*four()]
    chain[1] = replace(chain[1], content={**chain[1].content, "verdict": "FAIL"})
    assert refused(chain) == "record 2 was altered: its content has not the digest that it carries"


def test_a_content_that_was_altered_with_its_digest_lacks_the_signature() -> None:
    chain = [*four()]
    other = replace(chain[1], content={**chain[1].content, "verdict": "FAIL"})
    chain[1] = replace(other, digest=digest_of_bytes(other.signed_bytes()))
    assert refused(chain) == "record 2 was altered: its signature is not of this key and this content"


def test_a_deleted_record_is_named() -> None:
    chain = four()
    assert refused([chain[0], *chain[2:]]) == "record 2 was deleted: record 3 stands in its place"
    assert refused(chain[1:]) == "record 1 was deleted: record 2 stands in its place"


def test_reordered_records_are_named() -> None:
    first, second, third, fourth = four()
    assert refused([first, third, second, fourth]) == (
        "the records were reordered: record 3 stands where record 2 belongs"
    )
    assert "reordered" in refused([first, second, second, third, fourth])


def test_records_whose_numbers_were_exchanged_are_named() -> None:
    first, second, third, fourth = four()
    exchanged = [first, replace(third, number=2), replace(second, number=3), fourth]
    assert refused(exchanged) == "the records were reordered: what was signed as record 3 is numbered 2"


def test_a_chain_cut_short_is_whole_by_itself_and_truncated_to_whoever_kept_its_head() -> None:
    chain = four()
    verify_chain(chain[:3], OURS.public_key)
    sentence = refused(chain[:3], chain[3].digest)
    assert sentence.startswith("the chain was truncated or rewritten: it ends with record 3")


def test_a_chain_that_was_written_anew_by_the_owner_shows_against_a_head_kept_elsewhere() -> None:
    rewritten = chain_of([{"verdict": "PASS"}] * 4)
    verify_chain(rewritten, OURS.public_key)
    assert "truncated or rewritten" in refused(rewritten, four()[2].digest)


def test_a_record_of_another_chain_of_the_owner_does_not_fit() -> None:
    other = chain_of([{"verdict": "FAIL"}] * 4)
    assert refused([*four()[:2], *other[2:]]) == (
        "record 3 does not follow the record before it: one of them was replaced"
    )


def test_a_foreign_key_is_named_whether_of_one_record_or_of_all() -> None:
    foreign = chain_of([dict(record.content) for record in four()], THEIRS)
    assert refused(foreign).startswith("record 1 was signed with a foreign key")
    chain = [*four()[:3], replace(four()[3], public_key=THEIRS.public_key).sealed_by(THEIRS)]
    assert refused(chain).startswith("record 4 was signed with a foreign key")


def test_who_signs_with_a_foreign_key_under_our_name_is_found() -> None:
    forged = replace(four()[3], content={"verdict": "PASS"}).sealed_by(THEIRS)
    assert refused([*four()[:3], forged]) == "record 4 was altered: its signature is not of this key and this content"


def test_an_export_is_read_back_and_holds_the_key(tmp_path: Path) -> None:
    write_export(four(), tmp_path / "audits")
    assert read_export(tmp_path / "audits" / EXPORT) == [*four()]
    assert read_public_key(tmp_path / "audits" / PUBLIC_KEY) == OURS.public_key
    assert sorted(path.name for path in (tmp_path / "audits").iterdir()) == [PUBLIC_KEY, EXPORT]


@pytest.mark.parametrize(
    "line", [b"{}", b"[]", b'{"number":1}', four()[0].to_line().replace(b'"number":1', b'"number":"1"')]
)
def test_a_line_that_is_no_record_is_refused(line: bytes) -> None:
    with pytest.raises(DataError):
        entry_of_line(line.rstrip(b"\n"))
