"""Coarse images of smooth things, such as a sky, and the whole images they stand for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline

Floats = NDArray[np.float64]


def expand_mesh(
    mesh: NDArray[np.float32], cell: int, shape: tuple[int, int]
) -> NDArray[np.float32]:
    """Return the image of which a mesh has the values in the middle of each cell.

    Between the middles the image is a bicubic spline; beyond the outermost it goes on straight.

    Parameters
    ----------
    mesh : array of float32, shape (ceil(rows / cell), ceil(columns / cell))
        Finite values. The last cell of a row or column may be a part of one.
    cell : int
        Side of a cell [px].
    shape : (int, int)
        Rows and columns of the image [px].
    """
    down = _weights(mesh.shape[0], cell, shape[0], np.arange(float(shape[0])))
    across = _weights(mesh.shape[1], cell, shape[1], np.arange(float(shape[1])))
    image = down @ mesh.astype(np.float64) @ across.T
    return np.asarray(image, dtype=np.float32)


def cell_middles(cell: int, length: int) -> Floats:
    """Return the pixel in the middle of each cell along an axis; the last one may be a part."""
    count = -(-length // cell)
    edges = np.minimum(np.arange(count + 1) * float(cell), length)
    return np.asarray((edges[:-1] + edges[1:] - 1) / 2)


def resample_mesh(
    mesh: NDArray[np.float32], cell: int, shape: tuple[int, int], other_cell: int
) -> NDArray[np.float32]:
    """Return a mesh of the same image with cells of another size.

    Parameters
    ----------
    mesh, cell, shape
        See `expand_mesh`.
    other_cell : int
        Side of the new cells [px].
    """
    if other_cell == cell:
        return mesh
    down = _weights(mesh.shape[0], cell, shape[0], cell_middles(other_cell, shape[0]))
    across = _weights(mesh.shape[1], cell, shape[1], cell_middles(other_cell, shape[1]))
    return np.asarray(down @ mesh.astype(np.float64) @ across.T, dtype=np.float32)


def _weights(count: int, cell: int, length: int, pixels: Floats) -> Floats:
    """Return what each cell counts at some pixels along an axis, shape (pixels, count)."""
    if count == 1:
        return np.ones((len(pixels), 1))
    middles = cell_middles(cell, length)
    spline = make_interp_spline(middles, np.eye(count), k=min(3, count - 1))
    inside = np.clip(pixels, middles[0], middles[-1])
    slopes = spline.derivative()(inside)
    return np.asarray(spline(inside) + (pixels - inside)[:, None] * slopes)
