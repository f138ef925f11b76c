"""Draws sources: mixtures of elliptical Gaussians, many at once."""

from __future__ import annotations

import numpy as np

from drivers.simulator.survey import Floats, Image

_FAINTEST = 0.005
"""Electrons per pixel at which a profile is cut off."""

_MAX_HALF = 120
"""Pixels: the largest distance to which anything is drawn."""

_AT_ONCE = 60_000
"""Pixels of the stamps that are computed together: they fit into a processor's cache."""


def draw(image: Image, x: Floats, y: Floats, weights: Floats, moments: Floats) -> None:
    """Add sources to an image.

    Parameters
    ----------
    image : array of float32, shape (rows, columns)
        Is changed.
    x, y : array, shape (n,)
        Places [px].
    weights : array, shape (n, K)
        Flux of each component.
    moments : array, shape (n, K, 3)
        Second moments xx, xy, yy of each component [px**2].
    """
    half = _halves(weights, moments)
    rows, columns = image.shape
    seen = (x > -half) & (x < columns + half) & (y > -half) & (y < rows + half)
    for size in np.unique(half[seen]):
        chosen = np.flatnonzero(seen & (half == size))
        step = max(1, _AT_ONCE // (2 * int(size) + 1) ** 2)
        for start in range(0, len(chosen), step):
            some = chosen[start : start + step]
            _draw_alike(image, x[some], y[some], weights[some], moments[some], int(size))


def _halves(weights: Floats, moments: Floats) -> Floats:
    """Return to how many pixels from their middles sources are drawn, in steps of four."""
    widest = np.maximum(moments[..., 0], moments[..., 2])
    peaks = weights / (2 * np.pi * np.sqrt(_determinant(moments)))
    reach = np.sqrt(2 * widest * np.log(np.maximum(peaks / _FAINTEST, 1.0)))
    half = 4 * np.ceil((reach.max(axis=1, initial=0) + 1) / 4)
    return np.asarray(np.minimum(half, _MAX_HALF))


def _determinant(moments: Floats) -> Floats:
    return np.asarray(moments[..., 0] * moments[..., 2] - moments[..., 1] ** 2)


def _draw_alike(
    image: Image, x: Floats, y: Floats, weights: Floats, moments: Floats, half: int
) -> None:
    """Add sources which are all drawn to the same distance."""
    column, row = np.rint(x).astype(int), np.rint(y).astype(int)
    grid = np.arange(-half, half + 1)
    dx = (grid - (x - column)[:, None]).astype(np.float32)[:, None, :]
    dy = (grid - (y - row)[:, None]).astype(np.float32)[:, :, None]
    determinant = _determinant(moments)
    peaks = (weights / (2 * np.pi * np.sqrt(determinant))).astype(np.float32)
    a, b, c = (
        (factor / determinant).astype(np.float32)[..., None, None]
        for factor in (-0.5 * moments[..., 2], moments[..., 1], -0.5 * moments[..., 0])
    )
    xx, yy, xy = dx * dx, dy * dy, dx * dy
    stamps = np.zeros(xy.shape, np.float32)
    for k in range(weights.shape[1]):
        exponent = b[:, k] * xy
        exponent += a[:, k] * xx
        exponent += c[:, k] * yy
        np.exp(exponent, out=exponent)
        exponent *= peaks[:, k, None, None]
        stamps += exponent
    for stamp, i, j in zip(stamps, row - half, column - half, strict=True):
        _add(image, stamp, int(i), int(j))


def _add(image: Image, stamp: Image, row: int, column: int) -> None:
    """Add a stamp whose first pixel comes to a place in the image or outside of it."""
    rows, columns = image.shape
    y0, y1 = max(0, row), min(rows, row + stamp.shape[0])
    x0, x1 = max(0, column), min(columns, column + stamp.shape[1])
    if y0 < y1 and x0 < x1:
        image[y0:y1, x0:x1] += stamp[y0 - row : y1 - row, x0 - column : x1 - column]
