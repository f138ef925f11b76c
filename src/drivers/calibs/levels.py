"""Solves how bright each flat exposure was, and how sensitive each CCD is, from their levels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from drivers.frame_error import FrameError
from drivers.statistics import MAD_TO_SIGMA

Floats = NDArray[np.float64]

_ROUNDS = 20
_SMALLEST = 1e-3
"""Scatter of the levels which is always allowed, as a part."""


@dataclass(frozen=True, slots=True)
class Scales:
    """The solution.

    Attributes
    ----------
    visits : dict of int to float
        Of each visit the level of a CCD of mean sensitivity.
    ccds : dict of int to float
        Of each CCD the sensitivity; the mean is 1.
    rejected : tuple of (int, int)
        Visit and ccd of levels which fit nothing.
    scatter : float
        Standard deviation of the others from the solution, as a part.
    """

    visits: dict[int, float]
    ccds: dict[int, float]
    rejected: tuple[tuple[int, int], ...]
    scatter: float


def solve_levels(levels: Mapping[tuple[int, int], float], *, clip: float) -> Scales:
    """Return the scales whose products are the levels, with outliers left out.

    Parameters
    ----------
    levels : Mapping of (int, int) to float
        By visit and ccd, positive; pairs may be missing.
    clip : float
        Standard deviations beyond which a level is an outlier.

    Raises
    ------
    FrameError
        If there are none, or the visits fall into groups which have no CCD in common.
    """
    if not levels:
        raise FrameError("no flat exposure has a level")
    visits, ccds = (sorted({pair[axis] for pair in levels}) for axis in (0, 1))
    logs = np.log([[levels.get((visit, ccd), np.nan) for ccd in ccds] for visit in visits])
    known = np.isfinite(logs)
    _require_connected(known)
    # Means carry one wild level into all of its visit's and CCD's; medians don't.
    bright, sensitive = _parts(logs, np.nanmedian)
    used = known
    for _ in range(_ROUNDS):
        left = logs - bright[:, None] - sensitive
        deviation = max(MAD_TO_SIGMA * float(np.median(np.abs(left[used]))), _SMALLEST)
        near = known & (np.abs(left) <= clip * deviation)
        # A visit or a CCD of which nothing would be left keeps all it has.
        near |= known & ~(near.any(axis=0) & np.asarray(near.any(axis=1))[:, None])
        _require_connected(near)
        bright, sensitive = _parts(np.where(near, logs, np.nan), np.nanmean)
        if np.array_equal(near, used):
            break
        used = near
    level = float(np.exp(sensitive).mean())
    return Scales(
        {visit: float(np.exp(one) * level) for visit, one in zip(visits, bright, strict=True)},
        {ccd: float(np.exp(one) / level) for ccd, one in zip(ccds, sensitive, strict=True)},
        tuple((visits[row], ccds[column]) for row, column in np.argwhere(known & ~used)),
        float((logs - bright[:, None] - sensitive)[used].std()),
    )


def _parts(logs: Floats, average: Callable[..., Floats]) -> tuple[Floats, Floats]:
    """Return the parts of the sums: by turns the average of each visit, and of each CCD."""
    sensitive = np.zeros(logs.shape[1])
    for _ in range(1000):
        bright = average(logs - sensitive, axis=1)
        new = average(logs - bright[:, None], axis=0)
        change, sensitive = float(np.abs(new - sensitive).max()), new
        if change < 1e-9:
            break
    return bright, sensitive


def _require_connected(used: NDArray[np.bool_]) -> None:
    visits, ccds = used.shape
    row, column = np.nonzero(used)
    size = visits + ccds
    links = coo_array((np.ones(len(row)), (row, column + visits)), shape=(size, size))
    groups, _ = connected_components(links, directed=False)
    if groups > 1:
        raise FrameError(
            f"the flat exposures fall into {groups} groups which have no CCD in common: "
            "nothing says how bright they were to one another"
        )
