"""The record is verified offline with the public key alone: one line if it is whole, one sentence if it is not."""

import json
import re
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from audited import add, signer_of
from night import ROOT, Night

from jobs import verify_audit
from pipelines.audit.export import EXPORT, PUBLIC_KEY
from pipelines.audit.records import records
from pipelines.errors import DataError, RefusedError
from pipelines.lake import Lake

DAY = date(2026, 1, 31)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation with a record of four entries."""
    home = tmp_path_factory.mktemp("home")
    for letter in "abcd":
        add(home, "challenger", {"model_set": letter, "verdict": "PASS"}, DAY)
    return home


@pytest.fixture
def exported(written: Path, tmp_path: Path) -> Path:
    """What an auditor is given: the export and the key, on a machine where there is nothing else."""
    for name in (EXPORT, PUBLIC_KEY):
        shutil.copy(written / "audits" / name, tmp_path / name)
    return tmp_path


def verify(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    files = ("--records", folder / EXPORT, "--public-key", folder / PUBLIC_KEY)
    return Night(folder / "no-home").run("verify_audit", *files, *arguments)


def heads(folder: Path) -> list[str]:
    return [json.loads(line)["digest"] for line in (folder / EXPORT).read_text().splitlines()]


def refused(ended: subprocess.CompletedProcess[str], sentence: str) -> None:
    assert ended.returncode not in (0, 1), ended.stdout
    assert ended.stdout == ""
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    assert sentence in ended.stderr


def lines(folder: Path) -> list[str]:
    return (folder / EXPORT).read_text().splitlines(keepends=True)


def test_a_whole_record_is_said_to_be_in_one_line_and_nothing_is_written(exported: Path) -> None:
    ended = verify(exported, "--expect-head", heads(exported)[-1])
    assert ended.returncode == 0, ended.stderr
    (line,) = ended.stdout.splitlines()
    assert line.startswith("4 records are as they were signed with the key ")
    assert f"the head is {heads(exported)[-1]}, the one expected" in line
    assert line.endswith("signed with a demo key or under a demo policy")
    assert not (exported / "no-home").exists()


def test_a_head_kept_earlier_is_still_in_the_chain(exported: Path) -> None:
    ended = verify(exported, "--expect-head", heads(exported)[1])
    assert ended.returncode == 0
    assert ", 2 after the one expected" in ended.stdout


def test_the_record_of_the_lake_is_verified_with_the_installations_key_unless_told_otherwise(written: Path) -> None:
    said = Night(written).must("verify_audit")
    assert said.startswith("4 records are as they were signed")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda was: [was[0], was[1].replace("PASS", "FAIL"), *was[2:]], "record 2 was altered"),
        (lambda was: [was[0], *was[2:]], "record 2 was deleted"),
        (lambda was: [was[0], was[2], was[1], was[3]], "the records were reordered"),
        (lambda was: was[:3], "the chain was truncated"),
        (lambda was: [], "the chain was truncated"),
        (lambda was: [*was[:3], was[3][:-1]], "altered or truncated"),
        (lambda was: [*was[:3], was[3][:100]], "altered or truncated"),
        (lambda was: [was[0], " " + was[1], *was[2:]], "line 2 of"),
        (lambda was: [was[0], "{}\n", *was[2:]], "line 2 of"),
    ],
)
def test_what_was_done_to_it_is_named(exported: Path, spoil, sentence: str) -> None:
    head = heads(exported)[-1]
    (exported / EXPORT).write_text("".join(spoil(lines(exported))))
    with pytest.raises((DataError, RefusedError)) as error:
        verify_audit.main(exported / EXPORT, exported / PUBLIC_KEY, head)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_record_that_was_altered_ends_the_command_in_one_sentence(exported: Path) -> None:
    (exported / EXPORT).write_text("".join(lines(exported)).replace("PASS", "FAIL", 1))
    refused(verify(exported), "marquee: record 1 was altered: its content has not the digest that it carries")


def test_a_foreign_key_is_named(exported: Path, tmp_path: Path) -> None:
    shutil.copy(exported / PUBLIC_KEY, exported / "true.pem")
    add(tmp_path / "other", "challenger", {}, DAY)
    shutil.copy(tmp_path / "other" / "audits" / PUBLIC_KEY, exported / PUBLIC_KEY)
    refused(verify(exported), "record 1 was signed with a foreign key")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--records", "missing.jsonl"), "missing.jsonl cannot be read"),
        (("--public-key", "missing.pem"), "missing.pem cannot be read"),
    ],
)
def test_what_is_not_there_is_named(exported: Path, arguments: tuple[str, str], sentence: str) -> None:
    refused(verify(exported, *arguments), sentence)


def test_an_installation_without_a_record_says_so(tmp_path: Path) -> None:
    refused(Night(tmp_path).run("verify_audit"), "public_key.pem cannot be read")
    signer_of(tmp_path)
    add(tmp_path, "challenger", {}, DAY)
    shutil.rmtree(tmp_path / "lake")
    refused(Night(tmp_path).run("verify_audit"), "the lake holds no records")


def test_an_auditor_who_does_not_trust_our_code_finds_the_same_with_the_program_of_the_docs(
    exported: Path, written: Path
) -> None:
    page = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (exported / "verify.py").write_text(program)
    command = [sys.executable, "-I", "verify.py", EXPORT, PUBLIC_KEY]

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=exported, check=False, capture_output=True, text=True)

    ended = run()
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == f"4 records are whole; the head is {heads(exported)[-1]}"
    whole = lines(exported)
    for spoiled in ([whole[0], whole[1].replace("PASS", "FAIL"), *whole[2:]], [whole[0], *whole[2:]], whole[::-1]):
        (exported / EXPORT).write_text("".join(spoiled))
        assert run().returncode != 0
    assert records(Lake(str(written / "lake")))


def test_a_key_pair_is_made_and_never_replaced(tmp_path: Path) -> None:
    night = Night(tmp_path / "home")
    key = tmp_path / "secret" / "audit.key"
    night.must("make_audit_key", "--key", key)
    made = key.read_bytes()
    assert b"demo" not in made
    assert (tmp_path / "secret" / "audit.key.pub.pem").read_text().startswith("-----BEGIN PUBLIC KEY-----")
    refused_again = night.run("make_audit_key", "--key", key)
    assert refused_again.returncode == 77
    assert len(refused_again.stderr.splitlines()) == 1
    assert key.read_bytes() == made
