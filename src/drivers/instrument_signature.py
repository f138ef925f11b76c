"""Takes the detector's signature off a raw frame: overscan, bias level, gain, assembly.

The result is in electrons. Two-dimensional bias, dark and flat frames are not applied here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.exposure import Flags, Image
from drivers.frame_error import FrameError
from drivers.instruments.readout import Amplifier
from drivers.statistics import MAD_TO_SIGMA, clipped_level

Pixels = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Assembled:
    """A detector put together from its amplifiers.

    Attributes
    ----------
    image, variance : array of float32, shape (rows, columns)
        Electrons, and electrons squared.
    saturated : array of bool, shape (rows, columns)
        Where the raw counts reached saturation.
    """

    image: Image
    variance: Image
    saturated: Flags


def remove_signature(
    raw: Pixels, amplifiers: Sequence[Amplifier], *, saturation: float, overscan_order: int
) -> Assembled:
    """Subtract each amplifier's bias, turn counts into electrons and assemble the detector.

    Parameters
    ----------
    raw : array, shape (raw rows, raw columns)
        The frame [counts].
    amplifiers : sequence of Amplifier
        Where their pixels are.
    saturation : float
        Counts at and above which a pixel is saturated.
    overscan_order : int
        Order of the polynomial fitted to the overscan along the columns.
    """
    rows = max(amplifier.target.y1 for amplifier in amplifiers)
    columns = max(amplifier.target.x1 for amplifier in amplifiers)
    image = np.full((rows, columns), np.nan, dtype=np.float32)
    variance = np.full_like(image, np.nan)
    saturated = np.zeros(image.shape, dtype=np.bool_)
    for amplifier in amplifiers:
        counts = _cut(raw, amplifier)
        bias, noise = overscan_bias(raw[amplifier.overscan.slices], overscan_order)
        electrons = (counts - bias[:, np.newaxis]) * amplifier.gain
        where = amplifier.target.slices
        image[where] = electrons
        variance[where] = np.maximum(electrons, 0) + (noise * amplifier.gain) ** 2
        saturated[where] = counts >= saturation
    return Assembled(image, variance, saturated)


def _cut(raw: Pixels, amplifier: Amplifier) -> Pixels:
    counts = np.asarray(raw[amplifier.data.slices], dtype=np.float32)
    if counts.shape != amplifier.data.shape or counts.shape != amplifier.target.shape:
        raise FrameError(
            f"the raw frame of {raw.shape[1]} x {raw.shape[0]} pixels has no amplifier at columns "
            f"{amplifier.data.x0}..{amplifier.data.x1}, rows {amplifier.data.y0}.."
            f"{amplifier.data.y1}"
        )
    return counts


def overscan_bias(overscan: Pixels, order: int) -> tuple[NDArray[np.float64], float]:
    """Return the bias level of each row and the read noise.

    The level is a polynomial along the columns, fitted to the rows' medians without those that
    are 3 standard deviations off (a saturated star may bleed into the overscan).

    Parameters
    ----------
    overscan : array, shape (rows, overscan columns)
        Bias pixels [counts].
    order : int
        Order of the polynomial.

    Returns
    -------
    bias : array of float64, shape (rows,)
        Bias level [counts].
    noise : float
        Standard deviation of one pixel [counts].
    """
    pixels = np.asarray(overscan, dtype=np.float64)
    if pixels.size == 0 or not np.isfinite(pixels).all():
        raise FrameError("the overscan holds no numbers")
    along = np.linspace(-1.0, 1.0, len(pixels)) if len(pixels) > 1 else np.zeros(1)
    medians = np.median(pixels, axis=1)
    level, deviation = clipped_level(medians)
    fitted = np.full(len(pixels), level)
    for _ in range(3 if len(pixels) > 10 * (order + 1) else 0):
        near = np.abs(medians - fitted) <= 3 * max(deviation, 0.5)
        fitted = np.polyval(np.polyfit(along[near], pixels[near].mean(axis=1), order), along)
        deviation = float(np.std((medians - fitted)[near]))
    rest = pixels - fitted[:, np.newaxis]
    return fitted, float(MAD_TO_SIGMA * np.median(np.abs(rest - np.median(rest))))
