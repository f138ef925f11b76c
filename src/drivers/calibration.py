"""Applies calibration frames: bias, dark, flat, fringe and defects of a detector.

All are images of the assembled detector, like the calibrated image itself: what is left of the bias
[electron], the dark current [electron/s], the relative response, the pattern of the fringes on any
scale, and pixels that are not 0 where they are bad (`defects`).
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from astropy.utils.exceptions import AstropyWarning
from numpy.typing import NDArray

from drivers.exposure import Exposure, Flags, Image
from drivers.fits_layout import open_fits, read_layout
from drivers.frame_error import FrameError
from drivers.registry import Calib

KINDS = ("bias", "dark", "flat", "fringe", "defects")
"""Kinds of calibration frames which are applied here."""

_LEAST_LEFT = 0.25
"""Part of a pixel's variance that is left at least when that of its bias is taken off."""

_CLIP = 3.0
_ROUNDS = 3


def read_calib(root: str, calib: Calib, shape: tuple[int, ...]) -> Image:
    """Return the image of a calibration frame.

    Raises
    ------
    FrameError
        If it can't be read, or is of another shape.
    """
    path = Path(root) / calib.path
    try:
        with warnings.catch_warnings():
            # They don't name the file, and what matters of them is an error below.
            warnings.simplefilter("ignore", AstropyWarning)
            with open_fits(path) as units:
                data: Any = units[calib.hdu].data
    except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
        reason = str(error)
        try:
            read_layout(path)
        except FrameError as better:
            reason = str(better)
        raise FrameError(f"the {calib.kind} frame {path} can't be used: {reason}") from error
    if data is None or data.shape != shape:
        found = "no image" if data is None else " x ".join(map(str, data.shape[::-1])) + " pixels"
        raise FrameError(
            f"the {calib.kind} frame {path} has {found}, but the detector {shape[1]} x {shape[0]}"
        )
    return np.ascontiguousarray(data, dtype=np.float32)


def apply_response(
    exposure: Exposure, frames: dict[str, Image], exptime: float | None, lowest_flat: float
) -> None:
    """Subtract bias and dark and divide by the flat, in place.

    Parameters
    ----------
    exposure : Exposure
        In electrons.
    frames : dict of str to array of float32
        By kind; those which are not there are left out.
    exptime : float or None
        Of the exposure [s]; without it a dark can't be subtracted, and that is noted.
    lowest_flat : float
        Relative response below which a pixel is bad.
    """
    if "bias" in frames:
        exposure.image -= frames["bias"]
        # The variance counts electrons of light and dark current; those of the bias are none.
        without = exposure.variance - frames["bias"]
        exposure.variance[...] = np.maximum(without, _LEAST_LEFT * exposure.variance)
    if "dark" in frames and exptime is not None:
        exposure.image -= frames["dark"] * np.float32(exptime)
    elif "dark" in frames:
        exposure.notes.append("the dark was not subtracted: nobody knows the exposure time")
    if "flat" in frames:
        flat = frames["flat"]
        blind: Flags = ~(flat >= lowest_flat)
        exposure.mark(blind, "BAD")
        response = np.where(blind, np.float32(1), flat)
        exposure.image /= response
        exposure.variance /= response**2
    if "defects" in frames:
        exposure.mark(frames["defects"] != 0, "BAD")


def subtract_fringes(exposure: Exposure, pattern: Image, covered: Flags) -> float:
    """Scale the pattern to the sky-subtracted image, subtract it in place, and return its scale.

    Parameters
    ----------
    exposure : Exposure
        Sky-subtracted; changed.
    pattern : array of float32, shape (rows, columns)
        Of any scale; its mean over the sky does not matter.
    covered : array of bool, shape (rows, columns)
        What is no sky.
    """
    sky = ~covered & np.isfinite(pattern)
    if sky.sum() < 100:
        exposure.notes.append("the fringes were not subtracted: too little sky")
        return 0.0
    values = exposure.image[sky].astype(np.float64)
    wave = pattern[sky].astype(np.float64)
    scale, level = 0.0, 0.0
    kept: NDArray[np.bool_] = np.ones(len(wave), dtype=np.bool_)
    for _ in range(_ROUNDS):
        centred = wave[kept] - wave[kept].mean()
        scale = float((centred * values[kept]).sum() / max((centred**2).sum(), 1e-30))
        level = float(values[kept].mean() - scale * wave[kept].mean())
        left = values - scale * wave - level
        kept = np.abs(left) <= _CLIP * 1.4826 * np.median(np.abs(left))
    middle = float(wave[kept].mean())
    exposure.image -= np.where(np.isfinite(pattern), np.float32(scale) * (pattern - middle), 0)
    return scale
