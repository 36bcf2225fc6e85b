"""Files that are there whole or not at all, whoever reads meanwhile and whenever the writer dies."""

import secrets
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Give a file its content at once, in the place of what it held; its folder is made where there is none.

    Raises:
        OSError: if it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Several may write it at a time: each its own, and the last one stands.
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    partial.write_bytes(content)
    partial.replace(path)
