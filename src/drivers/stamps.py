"""Squares of pixels around sources."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.exposure import Flags, Image

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Stamps:
    """The pixels around positions; the one nearest to the position is in the middle.

    Attributes
    ----------
    values, variance : array of float64, shape (n, size, size)
        Pixel values, and their variance; 0 where they are not usable.
    usable : array of bool, shape (n, size, size)
        Pixels that count; none beyond the image's edge does.
    x, y : array of float64, shape (n,)
        The positions [px].
    rows, columns : array of int, shape (n, size, size)
        Which pixels of the image they are.
    """

    values: Floats
    variance: Floats
    usable: Flags
    x: Floats
    y: Floats
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.x)

    def taken(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> Stamps:
        """Return some of them."""
        return Stamps(
            self.values[which],
            self.variance[which],
            self.usable[which],
            self.x[which],
            self.y[which],
            self.rows[which],
            self.columns[which],
        )


def cut_stamps(
    image: Image, variance: Image, usable: Flags, x: Floats, y: Floats, *, size: int
) -> Stamps:
    """Cut squares of an odd size [px] out of an image."""
    height, width = image.shape
    offsets = np.arange(size) - size // 2
    shape = (len(x), size, size)
    rows = np.broadcast_to(np.rint(y).astype(np.intp)[:, None, None] + offsets[:, None], shape)
    columns = np.broadcast_to(np.rint(x).astype(np.intp)[:, None, None] + offsets, shape)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    rows, columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
    good = inside & usable[rows, columns]
    values = np.where(good, image[rows, columns], 0).astype(np.float64)
    spread = np.where(good, variance[rows, columns], 0).astype(np.float64)
    return Stamps(values, spread, good, x, y, rows, columns)
