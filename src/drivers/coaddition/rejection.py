"""Finds in images of one place what the others don't show: satellites, asteroids, cosmic rays.

Stars must not be found: their cores differ when the seeing does. So the images are compared after
they have all been blurred to the worst seeing among them, and a difference must be large beside
the star as well as beside the noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Stack = NDArray[np.float32]
Flags = NDArray[np.bool_]

HALO = 64
"""Pixels around a place on which the decision there can depend, at most."""

_WIDEST = 5.0
"""Blurs are cut to this width [px], and at 3 widths: they stay within `HALO`."""

_NARROWEST = 0.4
"""Blurs of less change nothing that matters [px]."""

_AROUND = 8.0
"""Width [px] of the Gaussian with which the light around a pixel is averaged."""

_WINGS = 0.15
"""Part of that average by which the wings of blurred stars may differ: measured for Moffat profiles
of widths from 2.5 to 9 px, up to 24 px from the star."""

_GROW = 12
"""Pixels by which what is clearly an outlier is followed into its faint parts."""

_FAINT = 0.5
"""Threshold for the faint parts, relative."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """What makes a pixel an outlier.

    Attributes
    ----------
    sigma : float
        Standard deviations of the noise.
    fraction : float
        Of the other images' value there: how much the blurred cores of stars may differ.
    """

    sigma: float
    fraction: float


def find_outliers(
    images: Stack,
    variances: Stack,
    usable: Flags,
    saturated: Flags,
    widths: list[float],
    threshold: Threshold,
) -> Flags:
    """Return the pixels of each image which the others contradict.

    With three images or more at a pixel it is their median which is right, with two the lower of
    them (what comes and goes shines), and one can't be contradicted.

    Parameters
    ----------
    images, variances : array of float32, shape (n, rows, columns)
        In the same unit, and its square.
    usable : array of bool, same shape
        Other pixels are not looked at.
    saturated : array of bool, shape (rows, columns)
        Where a pixel is in any image. Around them nothing is found: what is blurred there lacks
        the light of a star's core, in each image another part of it.
    widths : list of float
        Of the point spread function of each image [px, standard deviation].
    threshold : Threshold
        What makes a pixel an outlier.

    Returns
    -------
    array of bool, same shape
    """
    if len(images) < 2:
        return np.zeros_like(usable)
    blurred, noise = _homogenised(images, variances, usable, widths)
    blurred[~usable] = np.nan
    reference, count = _reference(blurred)
    with np.errstate(invalid="ignore"):  # NaN is an outlier nowhere
        excess = np.abs(blurred - reference)
        # The images are not equally noisy: the one with the worst seeing was not averaged at all.
        noisiest = np.where(usable, noise, 0).max(axis=0)
        doubt = threshold.sigma**2 * (noise + noisiest * (2 / np.maximum(count, 2)))
        limit = np.sqrt(doubt + _unlikeness(reference, threshold.fraction) ** 2)
        sure, faint = excess > limit, excess > _FAINT * limit
    sure &= ~_around(saturated, max(widths))
    return _followed(sure, faint) & usable


def _around(saturated: Flags, width: float) -> Flags:
    """Return the pixels which the blurs of these pixels reach."""
    if not saturated.any():
        return saturated
    radius = int(np.ceil(2 * min(width, _WIDEST))) + 3
    return np.asarray(ndimage.maximum_filter(saturated, 2 * radius + 1, mode="constant"))


def _unlikeness(reference: Stack, fraction: float) -> Stack:
    """Return by how much blurred images of the same stars may differ."""
    level = np.nan_to_num(np.abs(reference))
    around = ndimage.gaussian_filter(level, _AROUND, mode="nearest", truncate=4)
    return np.asarray(np.float32(fraction) * level + np.float32(_WINGS) * around)


def _homogenised(
    images: Stack, variances: Stack, usable: Flags, widths: list[float]
) -> tuple[Stack, Stack]:
    """Return the images with the worst seeing of them, and their variances."""
    blurred, noise = np.empty_like(images), np.empty_like(images)
    worst = max(widths)
    for one, width in enumerate(widths):
        blur = min(_WIDEST, float(np.sqrt(max(0.0, worst**2 - width**2))))
        if blur < _NARROWEST:
            blurred[one], noise[one] = images[one], variances[one]
            continue
        weight = np.maximum(_blur(usable[one].astype(np.float32), blur), np.float32(0.05))
        blurred[one] = _blur(np.where(usable[one], images[one], np.float32(0)), blur) / weight
        # Where part of the kernel is on nothing the rest averages over fewer pixels.
        noise[one] = variances[one] / weight / np.float32(max(1.0, 4 * np.pi * blur**2))
    return blurred, noise


def _blur(image: Stack, width: float) -> Stack:
    return np.asarray(ndimage.gaussian_filter(image, width, mode="constant", truncate=3))


def _reference(values: Stack) -> tuple[Stack, NDArray[np.int64]]:
    """Return what the values of each pixel agree on, and how many (not NaN) there are."""
    ordered = np.sort(values, axis=0)  # NaN come last
    count = np.count_nonzero(np.isfinite(values), axis=0)
    low = np.where(count == 2, 0, np.maximum(count - 1, 0) // 2)
    high = np.where(count == 2, 0, count // 2)
    high = np.minimum(high, np.maximum(count - 1, 0))
    both = [np.take_along_axis(ordered, place[None], axis=0)[0] for place in (low, high)]
    return (both[0] + both[1]) / np.float32(2), count


def _followed(sure: Flags, faint: Flags) -> Flags:
    """Return what is sure, what is faint and connected with it nearby, and their neighbours."""
    cross = ndimage.generate_binary_structure(2, 2)
    found = np.zeros_like(sure)
    for one in np.flatnonzero(sure.any(axis=(1, 2))):
        grown = ndimage.binary_dilation(sure[one], cross, iterations=_GROW, mask=faint[one])
        found[one] = ndimage.binary_dilation(grown, cross)
    return found
