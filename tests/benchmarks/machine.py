"""On what a benchmark ran: versions, cores, threads and how fast its matrix products are."""

import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

# A process begins with the peak memory of the one it was forked from: a small one stands between, and says the peak.
MEASURED = """
import json, os, subprocess, sys
process = subprocess.Popen(sys.argv[1:])
_, status, used = os.wait4(process.pid, 0)
print(json.dumps({"peak_mb": used.ru_maxrss / 1024}), flush=True)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def versions(*names: str) -> dict[str, str]:
    """Python's version, and those of the distributions named."""
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def machine() -> dict[str, object]:
    """Cores that may be used and the processor; where torch is there, its threads and whether there is a GPU."""
    told: dict[str, object] = {"cores": len(os.sched_getaffinity(0)), "processor": processor()}
    if torch := sys.modules.get("torch"):
        told |= {"threads": torch.get_num_threads(), "cuda": torch.cuda.is_available()}
    return told


def processor() -> str:
    """The processor by its name."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def matmul_rate(size: int = 1024, seconds: float = 1.0) -> float:
    """Operations a second of one large product, the best of what is seen in so many seconds.

    Of float32 on a CPU; on a GPU of bfloat16, and eight times the size, which a GPU needs to be busy.
    """
    import torch  # not every benchmark has it in its process

    on_gpu = torch.cuda.is_available()
    size = 8 * size if on_gpu else size
    kind = {"device": "cuda", "dtype": torch.bfloat16} if on_gpu else {}
    a, b = torch.randn(size, size, **kind), torch.randn(size, size, **kind)
    best, started = np.inf, time.perf_counter()
    while time.perf_counter() - started < seconds:
        begun = time.perf_counter()
        torch.mm(a, b)
        if on_gpu:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - begun)
    return 2 * size**3 / best
