"""An image with its mask and variance: what the steps of single-frame processing pass on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Mask = NDArray[np.int32]
Flags = NDArray[np.bool_]

MASK_PLANES: Mapping[str, int] = MappingProxyType(
    {
        "BAD": 0,
        "SAT": 1,
        "CR": 2,
        "NO_DATA": 3,
        "DETECTED": 4,
        "INTRP": 5,
        "EDGE": 6,
        "CLIPPED": 7,
    }
)
"""Mask plane to the number of its bit."""


def bit(*planes: str) -> int:
    """Return the mask value in which these planes are set."""
    return sum(1 << MASK_PLANES[plane] for plane in planes)


UNUSABLE = bit("BAD", "CR", "NO_DATA")
"""Pixels which measure nothing."""

NOT_SKY = UNUSABLE | bit("SAT")
"""Pixels which say nothing about the sky or about a star's profile."""


@dataclass(slots=True)
class Exposure:
    """One detector's image.

    Attributes
    ----------
    image : array of float32, shape (rows, columns)
        Pixel values in `unit`; 0 where the mask has NO_DATA.
    mask : array of int32, shape (rows, columns)
        Bits of `MASK_PLANES`.
    variance : array of float32, shape (rows, columns)
        Variance of the pixel values [unit**2]; 0 where the mask has NO_DATA.
    header : Mapping
        The frame's keywords, primary and extension merged.
    wcs : dict
        The cards of the world coordinates of this image.
    unit : str
        ``"electron"`` or ``"adu"``.
    gain : float or None
        Electrons per unit; None if nobody knows.
    notes : list of str
        What was unusual, such as a missing mask.
    """

    image: Image
    mask: Mask
    variance: Image
    header: Mapping[str, Any]
    wcs: dict[str, Any]
    unit: str
    gain: float | None
    notes: list[str] = field(default_factory=list)

    def has(self, planes: int) -> Flags:
        """Return where any of these bits is set, shape (rows, columns)."""
        return np.asarray((self.mask & planes) != 0)

    def mark(self, where: Flags, plane: str) -> None:
        """Set a mask plane where the array is true."""
        self.mask[where] |= bit(plane)

    def clear_unmeasured(self) -> None:
        """Mark pixels that are not finite as NO_DATA, and set pixels without data to 0."""
        self.mark(~np.isfinite(self.image) | ~np.isfinite(self.variance), "NO_DATA")
        no_data = self.has(bit("NO_DATA"))
        self.image[no_data] = 0
        self.variance[no_data] = 0
