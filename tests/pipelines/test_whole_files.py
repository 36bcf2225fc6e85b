"""A file that is written anew is never seen half."""

import threading
from pathlib import Path

import pytest

from pipelines.whole_files import write_whole

SIZE = 200_000


def test_a_reader_sees_one_content_or_the_other_while_several_write(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    write_whole(path, b"a" * SIZE)
    writers = [
        threading.Thread(target=lambda letter=letter: [write_whole(path, letter * SIZE) for _ in range(50)])
        for letter in (b"b", b"c")
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        content = path.read_bytes()
        assert content == content[:1] * SIZE
    for writer in writers:
        writer.join()
    assert list(path.parent.iterdir()) == [path], "nothing is left beside it"


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"kept")
    with pytest.raises(OSError, match="file"):
        write_whole(tmp_path / "file" / "below", b"new")
    assert (tmp_path / "file").read_bytes() == b"kept"
