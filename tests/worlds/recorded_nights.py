"""Two nights on a small world, the second recorded: its folder is kept as it was before each job."""

import shutil
from pathlib import Path

from night import FIRST_DAY, NIGHTS, Night, steps_of_night, write_world

SECOND = steps_of_night(NIGHTS[1])
LAST = len(SECOND)


class Recorded:
    """The second night step by step: `before(n)` is a copy of the folder as it was before its n-th job."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.copies = 0

    def before(self, step: int) -> Night:
        self.copies += 1
        copy = self.folder / f"copy-{self.copies}"
        shutil.copytree(self.folder / f"before-{step}", copy)
        return Night(copy)


def record_nights(folder: Path) -> Recorded:
    """Run both nights as they should be."""
    write_world(folder / "world")
    night = Night(folder / "home")
    night.must("load_warehouse", "--source", "files", "--data", folder / "world")
    past = ("--from-day", str(FIRST_DAY), "--day", str(NIGHTS[0]))
    for step in steps_of_night(NIGHTS[0]):
        night.must(*(step if step[0] not in {"extract_events", "build_features"} else (step[0], *past)))
    for number, step in enumerate(SECOND):
        shutil.copytree(night.home, folder / f"before-{number}")
        night.must(*step)
    shutil.copytree(night.home, folder / f"before-{LAST}")
    return Recorded(folder)
