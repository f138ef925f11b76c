"""Fills narrow gaps of an image from the pixels on both sides."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drivers.exposure import Flags, Image

Indices = NDArray[np.intp]


def fill_gaps(image: Image, bad: Flags, longest: int) -> Flags:
    """Replace bad pixels by the straight line across the gap, in place; return which ones.

    Of row and column the one with the shorter gap is taken; a gap that reaches an edge has no other
    side and is left.

    Parameters
    ----------
    image : array of float32, shape (rows, columns)
        Changed.
    bad : array of bool, shape (rows, columns)
        Pixels to replace.
    longest : int
        Pixels in a row or column up to which a gap is filled.
    """
    filled = np.zeros(bad.shape, dtype=np.bool_)
    y, x = np.nonzero(bad)
    if not len(x):
        return filled
    across, wide = _line(image, bad, y, x)
    down, high = _line(image.T, bad.T, x, y)
    take = np.minimum(wide, high) <= longest
    y, x = y[take], x[take]
    image[y, x] = np.where(wide <= high, across, down)[take]
    filled[y, x] = True
    return filled


def _line(
    image: Image, bad: Flags, rows: Indices, columns: Indices
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return values on straight lines along the rows, and how long each gap is [px]."""
    lines, which = np.unique(rows, return_inverse=True)
    length = image.shape[1]
    good = ~bad[lines]
    places = np.arange(length)
    before = np.maximum.accumulate(np.where(good, places, -1), axis=1)[which, columns]
    after = np.where(good, places, length)[:, ::-1]
    after = np.minimum.accumulate(after, axis=1)[:, ::-1][which, columns]
    closed = (before >= 0) & (after < length)
    left, right = np.maximum(before, 0), np.minimum(after, length - 1)
    part = (columns - before) / (after - before)
    values = (1 - part) * image[rows, left] + part * image[rows, right]
    return values.astype(np.float32), np.where(closed, after - before - 1.0, np.inf)
