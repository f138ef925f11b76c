"""Which of the patches and tracts that overlap at a place answers for what is there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drivers.results import PatchArea

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def is_in_inner_patch(area: PatchArea, x: Floats, y: Floats) -> Flags:
    """Return which places, in pixels of the patch, are in its inner box."""
    x0, y0, x1, y1 = area.inner
    # Pixel n reaches from n - 1/2 to n + 1/2.
    tract_x, tract_y = x + area.x0 + 0.5, y + area.y0 + 0.5
    return np.asarray((tract_x >= x0) & (tract_x < x1) & (tract_y >= y0) & (tract_y < y1))


def is_in_inner_tract(area: PatchArea, ra: Floats, dec: Floats) -> Flags:
    """Return which places on the sky [deg] are in the inner region of the patch's tract."""
    if area.inner_sky is None:
        return np.ones(len(ra), bool)
    ra_from, ra_to, dec_from, dec_to = area.inner_sky
    width = ra_to - ra_from
    width = 360.0 if width >= 360 else width % 360
    # The ends in declination belong to the tracts further north; the pole to the last one.
    inside = (dec >= dec_from) & ((dec < dec_to) | (dec_to >= 90))
    return np.asarray(inside & ((ra - ra_from) % 360 < width))
