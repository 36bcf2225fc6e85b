"""Verify the record of audits: python -m jobs.verify_audit --records records.jsonl --public-key public_key.pem

Offline, with nothing but the public key. Without `--records` the lake's own record is verified. See docs/audit.md for
how to do the same without our code.
"""

from pathlib import Path

from pipelines.audit.chain import verify_chain
from pipelines.audit.export import PUBLIC_KEY, read_export
from pipelines.audit.records import records as recorded
from pipelines.audit.signing import read_public_key
from pipelines.command_line import run, say
from pipelines.errors import DataError
from pipelines.lake import Lake
from pipelines.settings import read_settings


def main(records: Path | None = None, public_key: Path | None = None, expect_head: str | None = None) -> None:
    """Say in one line that the record is whole, or end with one sentence that names what is wrong.

    Args:
        records: an export, `records.jsonl`; the lake's record if it is left out.
        public_key: a PEM file; the one beside the export, or beside the reports, if it is left out: take your own copy.
        expect_head: digest of a record that was kept elsewhere, which the chain must hold: shows what is missing at
            its end, and that nobody wrote all of it anew.
    """
    settings = read_settings()
    beside = records.parent if records else settings.audits
    key = read_public_key(public_key or beside / PUBLIC_KEY)
    found = read_export(records) if records else recorded(Lake(settings.lake, settings.lake_options))
    verify_chain(found, key, expect_head)
    if not found:
        raise DataError(f"{records or 'the lake'} holds no records: there is nothing to verify")
    since = next((len(found) - one.number for one in found if one.digest == expect_head), None)
    say(
        f"{len(found)} records are as they were signed with the key {key[:16]}, from {found[0].content.get('day')} to "
        f"{found[-1].content.get('day')}; the head is {found[-1].digest}"
        + ("" if since is None else f", {since} after the one expected" if since else ", the one expected")
        + (
            "; signed with a demo key or under a demo policy"
            if any(one.content.get("is_demo") for one in found)
            else ""
        )
    )


if __name__ == "__main__":
    run(main, description=__doc__)
