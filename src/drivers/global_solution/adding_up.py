"""Sums over the ranks of a gang: each has the observations of some of the stars."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]


class Gang:
    """The ranks which solve something together, or one process alone.

    Parameters
    ----------
    comm
        A communicator of the ranks; None for one process.
    """

    def __init__(self, comm: Any = None) -> None:
        self._comm = comm if comm is not None and comm.size > 1 else None

    @property
    def rank(self) -> int:
        """Which of them this is."""
        return int(self._comm.rank) if self._comm is not None else 0

    @property
    def size(self) -> int:
        """How many there are."""
        return int(self._comm.size) if self._comm is not None else 1

    def total(self, part: Numbers) -> Numbers:
        """Return the sum of what all have; everybody calls this, with arrays of the same shape."""
        if self._comm is None:
            return part
        part = np.ascontiguousarray(part)
        result = np.empty_like(part)
        as_reals = np.float64 if np.iscomplexobj(part) else part.dtype
        self._comm.Allreduce(part.view(as_reals), result.view(as_reals))
        return result

    def sum(self, part: float) -> float:
        """Return the sum of a number."""
        return float(self.total(np.array([part], dtype=np.float64))[0])
