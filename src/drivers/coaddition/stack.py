"""The weighted mean of warps, without what the others contradict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.coaddition.rejection import HALO, Threshold, find_outliers
from drivers.exposure import Image, Mask, bit
from drivers.results import Warp

_NO_DATA, _SATURATED = bit("NO_DATA"), bit("SAT")
_DOUBTFUL = bit("NO_DATA", "BAD", "CR", "SAT", "INTRP", "EDGE")
"""Pixels which are used only where there are no others."""

_KEPT = bit("BAD", "CR", "SAT", "INTRP", "EDGE")
_SATURATED_PART = 0.2
"""Part of the weight that must be saturated for the coadd to be."""

_ROWS = 512


@dataclass(frozen=True, slots=True)
class Stacked:
    """A coadd.

    Attributes
    ----------
    image, variance : array of float32, shape (rows, columns)
        [nJy, nJy**2]; 0 where the mask has NO_DATA.
    mask : array of int32
        Bits; CLIPPED where something was rejected.
    weight : array of float32
        Sum of the weights [nJy**-2].
    count : array of int16
        How many warps were used.
    """

    image: Image
    mask: Mask
    variance: Image
    weight: Image
    count: NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class StackInput:
    """A warp, what it counts, and how wide its stars are.

    Attributes
    ----------
    warp : Warp
        Its pixels.
    weight : float
        The same for all its pixels: with weights by pixel a star's core would count less than its
        wings in the images in which it is bright, and its flux would be wrong.
    width : float
        Of its point spread function [px, standard deviation].
    """

    warp: Warp
    weight: float
    width: float


def stack_warps(
    inputs: Sequence[StackInput], shape: tuple[int, int], threshold: Threshold
) -> Stacked:
    """Return the coadd of a patch.

    Parameters
    ----------
    inputs : sequence of StackInput
        There may be none.
    shape : (int, int)
        Rows and columns of the patch.
    threshold : Threshold
        What is rejected.
    """
    stacked = Stacked(
        np.zeros(shape, np.float32),
        np.full(shape, _NO_DATA, np.int32),
        np.zeros(shape, np.float32),
        np.zeros(shape, np.float32),
        np.zeros(shape, np.int16),
    )
    for start in range(0, shape[0], _ROWS):
        end = min(start + _ROWS, shape[0])
        low, high = max(0, start - HALO), min(shape[0], end + HALO)
        there = [one for one in inputs if _overlaps(one.warp, low, high)]
        if there:
            _stack_rows(stacked, there, (low, start, end, high), threshold)
    return stacked


def _overlaps(warp: Warp, low: int, high: int) -> bool:
    return bool(warp.image.size) and warp.y0 < high and warp.y0 + warp.image.shape[0] > low


def _stack_rows(
    stacked: Stacked,
    inputs: Sequence[StackInput],
    rows: tuple[int, int, int, int],
    threshold: Threshold,
) -> None:
    """Fill some rows of the coadd; for the rejection some more on either side are looked at."""
    low, start, end, high = rows
    shape = (len(inputs), high - low, stacked.image.shape[1])
    images, variances = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    masks = np.full(shape, _NO_DATA, np.int32)
    for one, entry in enumerate(inputs):
        warp = entry.warp
        first, last = max(low, warp.y0), min(high, warp.y0 + warp.image.shape[0])
        place = (one, slice(first - low, last - low), slice(warp.x0, warp.x0 + warp.image.shape[1]))
        part = slice(first - warp.y0, last - warp.y0)
        images[place], variances[place] = warp.image[part], warp.variance[part]
        masks[place] = warp.mask[part]
    usable = (masks & _DOUBTFUL) == 0
    saturated = ((masks & _SATURATED) != 0).any(axis=0)
    widths = [one.width for one in inputs]
    outliers = find_outliers(images, variances, usable, saturated, widths, threshold)
    inner = (slice(None), slice(start - low, end - low))
    weights = np.array([one.weight for one in inputs], np.float32)
    _combine(
        stacked,
        slice(start, end),
        (images[inner], variances[inner], masks[inner]),
        (usable & ~outliers)[inner],
        outliers[inner],
        weights,
    )


def _combine(
    stacked: Stacked,
    rows: slice,
    planes: tuple[Image, Image, Mask],
    good: NDArray[np.bool_],
    outliers: NDArray[np.bool_],
    weights: Image,
) -> None:
    images, variances, masks = planes
    measured = (masks & _NO_DATA) == 0
    used = np.where(good.any(axis=0), good, measured & ~outliers)
    factor = used * weights[:, None, None]
    total = factor.sum(axis=0)
    divisor = np.where(total > 0, total, np.float32(1))
    stacked.image[rows] = (factor * images).sum(axis=0) / divisor
    stacked.variance[rows] = (factor**2 * variances).sum(axis=0) / divisor**2
    stacked.weight[rows] = total
    stacked.count[rows] = used.sum(axis=0)
    mask = np.bitwise_or.reduce(np.where(used, masks & _KEPT, 0), axis=0)
    saturated = measured & ((masks & _SATURATED) != 0)
    part = np.tensordot(weights, saturated.astype(np.float32), 1)
    whole = np.tensordot(weights, measured.astype(np.float32), 1)
    mask |= np.where((whole > 0) & (part >= _SATURATED_PART * whole), _SATURATED, 0)
    mask |= np.where(outliers.any(axis=0), bit("CLIPPED"), 0)
    mask |= np.where(total > 0, 0, _NO_DATA)
    stacked.mask[rows] = mask
