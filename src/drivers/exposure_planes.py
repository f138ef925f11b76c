"""Applies what a calibrated frame has beside its image: a mask, a weight, a variance, an error."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.exposure import Exposure, Flags
from drivers.frame_error import FrameError
from drivers.instruments.description import Instrument

Pixels = NDArray[Any]


def apply_plane(exposure: Exposure, role: str, pixels: Pixels | None, camera: Instrument) -> None:
    """Take in a plane, in the units of the file.

    Parameters
    ----------
    exposure : Exposure
        Changed: its mask, or its variance.
    role : str
        ``mask``, ``weight``, ``variance`` or ``error``.
    pixels : array of shape (rows, columns), or None
        The plane; None if it is not there.
    camera : Instrument
        What the values of a mask mean.

    Raises
    ------
    FrameError
        If it isn't there, or is of another shape.
    """
    if pixels is None:
        raise FrameError("is not there")
    if pixels.shape != exposure.image.shape:
        found = " x ".join(map(str, pixels.shape[::-1]))
        raise FrameError(f"has {found} pixels, unlike the image")
    if role == "mask":
        _apply_mask(exposure, pixels, camera)
    else:
        _apply_variance(exposure, role, pixels.astype(np.float32))


def _apply_mask(exposure: Exposure, values: Pixels, camera: Instrument) -> None:
    codes = np.nan_to_num(values).astype(np.int64)
    left = codes.copy()
    for code, plane in camera.mask_codes.items():
        here: Flags = (codes & code) == code if camera.mask_bits else codes == code
        if plane:
            exposure.mark(here, plane)
        left[here] &= ~code if camera.mask_bits else 0
    if camera.mask_otherwise:
        exposure.mark(left != 0, camera.mask_otherwise)


def _apply_variance(exposure: Exposure, role: str, pixels: NDArray[np.float32]) -> None:
    with np.errstate(invalid="ignore", over="ignore"):
        usable: Flags = np.isfinite(pixels) & (pixels > 0)
    values = pixels[usable]
    match role:
        case "weight":
            exposure.variance[usable] = 1 / values
        case "variance":
            exposure.variance[usable] = values
        case "error":
            exposure.variance[usable] = values**2
    exposure.mark(~usable, "BAD")
