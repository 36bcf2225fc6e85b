"""Make the key that signs the record of audits: python -m jobs.make_audit_key --key /secret/audit.key

Writes the private key, readable by its owner alone, and the public one beside it. Keep the private key where only the
jobs read it (`MARQUEE_AUDIT_KEY`), and give the public key to whoever is to verify the record.
"""

from pathlib import Path

from pipelines.audit.signing import make_key, open_signer, public_pem
from pipelines.command_line import run, say
from pipelines.errors import RefusedError


def main(key: Path) -> None:
    """Make a key pair; a key that is there already is never replaced, as the record it signed would then be foreign.

    Args:
        key: where the private key goes; the public one goes beside it, under the same name with .pub.pem.
    """
    if not make_key(key):
        raise RefusedError(f"there is a key at {key} already: another one cannot go on with the record that it signed")
    public = key.with_name(f"{key.name}.pub.pem")
    public.write_bytes(public_pem(open_signer(key, key.parent).public_key))
    say(f"{key}: the private key; set MARQUEE_AUDIT_KEY to this path, and let nobody else read it")
    say(f"{public}: the public key, for jobs.verify_audit --public-key")


if __name__ == "__main__":
    run(main, description=__doc__)
