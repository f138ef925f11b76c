"""Resamples calibrated images to the pixels of a patch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from drivers.exposure import UNUSABLE, Image, Mask, bit
from drivers.warping.lanczos import ORDER, reachable, resample
from drivers.warping.pixel_map import Box, PixelMap

_NO_DATA = bit("NO_DATA")
_FILL = 1.5
"""Width [px] of the Gaussian by which bad pixels are filled from their neighbours."""


@dataclass(frozen=True, slots=True)
class Canvas:
    """A part of a patch, to be filled.

    Attributes
    ----------
    box : Box
        Which part, in pixels of the patch.
    image, mask, variance : arrays, shape of the box
        [nJy], bits, [nJy**2]. NO_DATA where nothing has been put yet.
    """

    box: Box
    image: Image
    mask: Mask
    variance: Image

    @classmethod
    def empty(cls, box: Box) -> Canvas:
        """Return one without data."""
        return cls(
            box,
            np.zeros(box.shape, np.float32),
            np.full(box.shape, _NO_DATA, np.int32),
            np.zeros(box.shape, np.float32),
        )

    def trimmed(self) -> Canvas:
        """Return the smallest part of it which holds all data."""
        filled = (self.mask & _NO_DATA) == 0
        rows, columns = np.flatnonzero(filled.any(axis=1)), np.flatnonzero(filled.any(axis=0))
        if not rows.size:
            return Canvas.empty(Box(self.box.x0, self.box.y0, self.box.x0, self.box.y0))
        box = Box(
            self.box.x0 + int(columns[0]),
            self.box.y0 + int(rows[0]),
            self.box.x0 + int(columns[-1]) + 1,
            self.box.y0 + int(rows[-1]) + 1,
        )
        part = box.slices(self.box.x0, self.box.y0)
        return Canvas(box, self.image[part], self.mask[part], self.variance[part])


@dataclass(frozen=True, slots=True)
class Pixels:
    """What is resampled: an image, its mask and its variance, shape (rows, columns)."""

    image: Image
    mask: Mask
    variance: Image


def put(canvas: Canvas, pixels: Pixels, pixel_map: PixelMap, scale: float) -> int:
    """Resample an image onto a canvas, where that has no data yet.

    The flux is conserved: what a pixel of the canvas gets is the brightness there times its area.
    Its variance is the source's there, not that of the weighted sum: neighbouring pixels share
    their noise, and this is what they come to in the sum over a star.

    Parameters
    ----------
    canvas : Canvas
        Changed.
    pixels : Pixels
        What to put there.
    pixel_map : PixelMap
        Where its pixels are, in pixels of the patch; its box is within the canvas.
    scale : float
        Flux in nJy of one unit of the image.

    Returns
    -------
    int
        Pixels of the canvas which got data.
    """
    if min(pixels.image.shape) < 2 * ORDER:
        return 0
    image = filled(pixels.image, _holes(pixels.mask))
    count = 0
    box = pixel_map.box
    for rows, x, y, area in pixel_map.parts():
        there = Box(box.x0, box.y0 + rows.start, box.x1, box.y0 + rows.start + x.shape[0])
        part = there.slices(canvas.box.x0, canvas.box.y0)
        mask, variance = _nearby(pixels, x, y)
        usable = reachable(image.shape, x, y) & ((mask & _NO_DATA) == 0)
        usable &= (canvas.mask[part] & _NO_DATA) != 0
        factor = (scale * area).astype(np.float32)
        canvas.image[part][usable] = (resample(image, x, y) * factor)[usable]
        canvas.variance[part][usable] = (variance * factor**2 / area.astype(np.float32))[usable]
        canvas.mask[part][usable] = mask[usable]
        count += int(np.count_nonzero(usable))
    return count


def _holes(mask: Mask) -> NDArray[np.bool_]:
    """Return the pixels whose values mean nothing and were not interpolated either."""
    return np.asarray(((mask & UNUSABLE) != 0) & ((mask & bit("INTRP")) == 0))


def filled(image: Image, holes: NDArray[np.bool_]) -> Image:
    """Return the image with its holes filled from around them, and 0 in the middle of wide ones.

    So a hole's neighbours, whose kernel reaches over it, don't ring.
    """
    if not holes.any():
        return image
    known = np.where(holes, np.float32(0), image)
    weight = ndimage.gaussian_filter((~holes).astype(np.float32), _FILL, mode="nearest")
    smooth = ndimage.gaussian_filter(known, _FILL, mode="nearest")
    known[holes] = smooth[holes] / np.maximum(weight[holes], 0.05)
    return known


def _nearby(pixels: Pixels, x: Any, y: Any) -> tuple[Mask, Image]:
    """Return mask and variance from the four pixels around each position, the kernel's core."""
    rows, columns = pixels.image.shape
    left = np.clip(np.floor(x), 0, columns - 2)
    low = np.clip(np.floor(y), 0, rows - 2)
    right_part = (np.clip(x, 0, columns - 1) - left).astype(np.float32)
    high_part = (np.clip(y, 0, rows - 1) - low).astype(np.float32)
    first = low.astype(np.int64) * columns + left.astype(np.int64)
    mask = np.zeros(first.shape, np.int32)
    variance = np.zeros(first.shape, np.float32)
    flat_mask, flat_variance = pixels.mask.ravel(), pixels.variance.ravel()
    for row, down in ((0, 1 - high_part), (columns, high_part)):
        for column, across in ((0, 1 - right_part), (1, right_part)):
            place = first + (row + column)
            mask |= flat_mask.take(place)
            variance += flat_variance.take(place) * (down * across)
    return mask, variance
