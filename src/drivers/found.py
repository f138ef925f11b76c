"""What is found on coadds and passed on from stage to stage: footprints and peaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.results import Table

PEAK = np.dtype(
    [("id", "i8"), ("footprint", "i4"), ("x", "f4"), ("y", "f4"), ("snr", "f4"), ("bands", "i4")]
)
"""A peak: its id (0 before it has one), index of its footprint, pixel of the patch, significance
(the highest of all bands) and in which bands it was found (bit n for the n-th)."""


@dataclass(frozen=True, slots=True)
class Footprints:
    """Sets of connected pixels of a patch, as runs along rows.

    Attributes
    ----------
    spans : array of int16, shape (m, 3)
        Row, first column, and the column after the last one.
    starts : array of int32, shape (n + 1,)
        Footprint i has the spans from starts[i] to starts[i + 1].
    """

    spans: NDArray[np.int16]
    starts: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.starts) - 1


@dataclass(frozen=True, slots=True)
class Detections:
    """What was found on a coadd.

    Attributes
    ----------
    row : dict
        JSON values: tract, patch, filter, n_footprints, n_peaks, …
    footprints : Footprints
        Where something is.
    peaks : structured array of `PEAK`
        How many things there are, at least one in each footprint.
    sky : array of float32 or None, cell : int
        Mesh of what is left of the sky [nJy]; whoever measures on this coadd subtracts it first.
    seeing : float
        Full width at half maximum of the coadd's stars [px].
    """

    row: dict[str, Any]
    footprints: Footprints
    peaks: Table
    sky: NDArray[np.float32] | None
    cell: int
    seeing: float


@dataclass(frozen=True, slots=True)
class Merged:
    """What was found on the coadds of a patch in all bands.

    Attributes
    ----------
    row : dict
        JSON values.
    bands : tuple of str
        In the order of the bits of ``peaks["bands"]``.
    footprints : Footprints
        Where there is something in any band.
    peaks : structured array of `PEAK`
        With their ids, by footprint.
    """

    row: dict[str, Any]
    bands: tuple[str, ...]
    footprints: Footprints
    peaks: Table
