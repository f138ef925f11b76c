"""Lanczos interpolation, as sums over shifted pictures of the image.

The kernel's values are tabulated at 4096 fractions of a pixel: positions are off by up to
1/8192 px, which is 25 microarcseconds for pixels of 0.2 arcsec. For each fraction they are
normalised to a sum of 1, so that a flat image stays flat.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

ORDER = 3
"""Lobes of the kernel: it reaches over 2 * ORDER pixels along each axis."""

_FRACTIONS = 4096
_BLOCK = 1 << 14
"""Pixels at a time: what is worked on stays in the processor's cache."""

Floats = NDArray[np.float64]
Image = NDArray[np.float32]


def resample(image: Image, x: Floats, y: Floats) -> Image:
    """Return the image's values between its pixels.

    Parameters
    ----------
    image : array of float32, shape (rows, columns)
        At least 2 * ORDER pixels along each axis.
    x, y : array of float64
        Columns and rows, counted from 0. See `reachable` for those which have a value; others get
        that of a place near the edge.

    Returns
    -------
    array of float32, shape of x
    """
    rows, columns = image.shape
    pixels = np.ascontiguousarray(image).ravel()
    flat_x, flat_y = x.ravel(), y.ravel()
    values = np.empty(flat_x.size, np.float32)
    for start in range(0, flat_x.size, _BLOCK):
        block = slice(start, start + _BLOCK)
        first_x, weights_x = _taps(flat_x[block], columns)
        first_y, weights_y = _taps(flat_y[block], rows)
        values[block] = _sums(pixels, first_y * columns + first_x, columns, weights_x, weights_y)
    return values.reshape(x.shape)


def reachable(shape: tuple[int, int], x: Floats, y: Floats) -> NDArray[np.bool_]:
    """Return where the whole kernel is on the image."""
    rows, columns = shape
    low = ORDER - 1
    inside = (x >= low) & (x < columns - ORDER) & (y >= low) & (y < rows - ORDER)
    return np.asarray(inside)


def _taps(position: Floats, length: int) -> tuple[NDArray[np.int64], list[Image]]:
    """Return the first pixel under the kernel, and the kernel's value at each pixel."""
    nearest = np.clip(position, ORDER - 1, length - ORDER - 1e-9)
    whole = np.floor(nearest)
    fraction = ((nearest - whole) * _FRACTIONS + 0.5).astype(np.int64)
    table = _table()
    return whole.astype(np.int64) - (ORDER - 1), [values.take(fraction) for values in table]


def _sums(
    pixels: Image, first: NDArray[np.int64], columns: int, across: list[Image], down: list[Image]
) -> Image:
    total = np.zeros(first.size, np.float32)
    line, product = np.empty_like(total), np.empty_like(total)
    for row, weight_down in enumerate(down):
        line.fill(0)
        for column, weight_across in enumerate(across):
            pixels.take(first + (row * columns + column), mode="clip", out=product)
            np.multiply(product, weight_across, out=product)
            np.add(line, product, out=line)
        np.multiply(line, weight_down, out=line)
        np.add(total, line, out=total)
    return total


def shift_weights(shift: float, length: int, order: int = 5) -> Floats:
    """Return the matrix which moves what is sampled at whole pixels along an axis by a shift.

    Parameters
    ----------
    shift : float
        Where to [px], towards higher indices; at most 1 away from 0.
    length : int
        Pixels along the axis; there is nothing beyond them.
    order : int
        Lobes of the kernel.
    """
    pixels = np.arange(float(length))
    matrix = lanczos(pixels[:, None] - pixels[None, :] - shift, order)
    inner = matrix[length // 2].sum()
    return np.asarray(matrix / inner)


def lanczos(distance: Floats, order: int) -> Floats:
    """Return the kernel's value at a distance from its middle [px], not normalised."""
    values = np.sinc(distance) * np.sinc(distance / order)
    return np.where(np.abs(distance) < order, values, 0.0)


@cache
def _table() -> list[Image]:
    """Return the kernel's value at each of its pixels, by fraction; 1 is a fraction too."""
    fractions = np.arange(_FRACTIONS + 1) / _FRACTIONS
    taps = np.arange(2 * ORDER) - (ORDER - 1)
    values = lanczos(taps[:, None] - fractions[None, :], ORDER)
    values /= values.sum(axis=0)
    return list(values.astype(np.float32))
