"""The compiled rules under AddressSanitizer: nothing is read or written beyond its table, whatever the world."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from pipelines.serving import library

# Random worlds, an empty list, the longest, a snapshot without a title, each held against the interpreted rules.
PROGRAM = """
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from pipelines.serving import library
library._LIBRARY = Path(sys.argv[1])
assert library.compiled_rules() is not None
from planted_snapshot import snapshot_in_memory, title
from test_arranging import a_list, a_world, arrange
many = snapshot_in_memory(
    [title(item) for item in range(1, 4500)],
    fresh={item: [0.1 * item] * 64 for item in range(1, 300)},
    explorable={item: 0.5 for item in range(1, 4500, 2)},
)
for seed in range(250):
    world = a_world(seed)
    asked = replace(world.asked, k=(1, 20, 200)[seed % 3], now=world.asked.now + timedelta(hours=seed % 60 - 30))
    arrange(world.user_list, world.state, world.snapshot, asked)
    if seed % 50 == 0:
        arrange(a_list(), world.state, world.snapshot, asked)
        arrange(a_list(*range(1, 40)), world.state, snapshot_in_memory([]), asked)
        arrange(a_list(*range(1, 4097), vector=(0.5,) * 64), world.state, many, replace(asked, k=200))
"""


def test_the_compiled_rules_keep_within_their_tables(tmp_path) -> None:
    source, checked = library._SOURCE, tmp_path / "checked.so"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    flags = ["-std=c11", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover", "-shared", "-fPIC"]
    subprocess.run(["cc", *flags, f'-DSOURCE_DIGEST="{digest}"', "-o", str(checked), str(source)], check=True)
    sanitizer = subprocess.run(["cc", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True)
    # Python itself was not built to be looked at for leaks.
    environment = {"LD_PRELOAD": sanitizer.stdout.strip(), "ASAN_OPTIONS": "detect_leaks=0"}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(checked)],
        check=False,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
