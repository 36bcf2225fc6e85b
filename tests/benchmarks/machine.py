"""On what a benchmark ran: versions, cores, threads and how fast its matrix products are."""

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np


def versions(*names: str) -> dict[str, str]:
    """Python's version, and those of the distributions named."""
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def machine() -> dict[str, object]:
    """Cores, threads of torch, whether there is a GPU, and the processor."""
    import torch  # not every benchmark has it in its process

    return {
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.is_available(),
        "processor": processor(),
    }


def processor() -> str:
    """The processor by its name."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def matmul_rate(size: int = 1024, seconds: float = 1.0) -> float:
    """Operations a second of one large product of float32, the best of what is seen in so many seconds."""
    import torch

    a, b = torch.randn(size, size), torch.randn(size, size)
    best, started = np.inf, time.perf_counter()
    while time.perf_counter() - started < seconds:
        begun = time.perf_counter()
        torch.mm(a, b)
        best = min(best, time.perf_counter() - begun)
    return 2 * size**3 / best
