"""Axes in which Y'Y is diagonal: into them factors of ALS are turned before users are solved, which changes no score.

Shapes: I items, K factors.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# Of the largest eigenvalue: none counts as smaller, so that all can be divided by.
_SMALLEST = 1e-6


def axes_of(gram: Floats) -> tuple[Floats, Floats]:
    """Axes [K, K] in which a matrix Y'Y [K, K] is diagonal, and that diagonal [K], all of it above 0."""
    eigenvalues, axes = np.linalg.eigh(gram.astype(np.float64))
    floor = max(_SMALLEST * float(eigenvalues.max()), 1e-20)
    return axes.astype(np.float32), np.maximum(eigenvalues, floor).astype(np.float32)
