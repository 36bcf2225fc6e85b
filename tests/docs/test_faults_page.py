"""The page of faults names tests that are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINES = (ROOT / "docs" / "faults.md").read_text().splitlines()


def test_every_file_and_every_test_that_the_page_names_is_there():
    named = 0
    for line in LINES:
        cell = line.rsplit("|", 2)[-2] if line.startswith("|") else ""
        for file, names in re.findall(r"`([a-z_/]+\.py)`(?:: ([a-z_0-9, ]+))?", cell):
            found = [path for path in (ROOT / "tests").rglob(Path(file).name) if str(path).endswith(file)]
            assert len(found) == 1, file
            source = found[0].read_text()
            for name in filter(None, re.split(r",\s*", names.strip())):
                assert f"def test_{name}(" in source, f"{file}: {name}"
                named += 1
    assert named > 20
