"""Finds cosmic rays: pixels that stand out more sharply than any light can.

Light is spread by the point spread function. The pixels on two opposite sides of a star's
brightest one have together at least a certain part of its value; everywhere else on a star they
have more. So a pixel whose neighbours have less, in any of the four directions, was not hit by
light, and a star's core is never taken for a ray, however good the seeing is.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from drivers.exposure import Flags, Image

_ROUNDS = 6
_NEIGHBOUR_THRESHOLD = 3.0
"""Standard deviations from which on a neighbour of a ray's pixel can be one too."""

_CAUTION = 2.0
"""Standard deviations of the noise by which both sides of the comparison are moved."""

_DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))
_MARGIN = 2

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


def find_cosmic_rays(
    image: Image,
    variance: Image,
    ignored: Flags,
    *,
    fwhm: float,
    threshold: float,
    sharpness: float,
) -> Flags:
    """Return where cosmic rays are, shape (rows, columns).

    Parameters
    ----------
    image, variance : array of float32, shape (rows, columns)
        Sky-subtracted.
    ignored : array of bool, shape (rows, columns)
        Pixels that say nothing.
    fwhm : float
        Width at half maximum of a star [px].
    threshold : float
        Standard deviations above the sky that a ray's first pixel has.
    sharpness : float
        Part of what a star's neighbouring pixels would have, below which they show a ray.
    """
    # What is ignored, and the outside, is infinite: no pixel stands out beside it.
    values = np.where(ignored, np.inf, image).astype(np.float32)
    values = np.pad(values, _MARGIN, constant_values=np.inf)
    noise = np.pad(np.sqrt(np.maximum(variance, 1e-30)).astype(np.float32), _MARGIN, mode="edge")
    blocked = np.pad(ignored, _MARGIN, constant_values=True)
    limits = [sharpness * _star_ratio(fwhm, step) for step in _DIRECTIONS]
    rays = np.zeros(blocked.shape, dtype=np.bool_)
    candidates = (values > threshold * noise) & ~blocked
    for _ in range(_ROUNDS):
        y, x = np.nonzero(candidates)
        sharp = _stand_out(values, noise, y, x, limits)
        y, x = y[sharp], x[sharp]
        if not len(x):
            break
        rays[y, x] = True
        values[y, x] = _surroundings(values, rays | blocked, y, x)
        found = np.zeros_like(rays)
        found[y, x] = True
        near = binary_dilation(found, np.ones((3, 3), dtype=np.bool_))
        candidates = near & (values > _NEIGHBOUR_THRESHOLD * noise) & ~blocked & ~rays
    return rays[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]


def _star_ratio(fwhm: float, step: tuple[int, int]) -> float:
    """Return a star's value one step off its centre over that at its centre."""
    return math.exp(-4 * math.log(2) * (step[0] ** 2 + step[1] ** 2) / fwhm**2)


def _stand_out(values: Image, noise: Image, y: Indices, x: Indices, limits: list[float]) -> Flags:
    here = values[y, x] - _CAUTION * noise[y, x]
    sharp = np.zeros(len(y), dtype=np.bool_)
    for (dy, dx), limit in zip(_DIRECTIONS, limits, strict=True):
        pair = (values[y + dy, x + dx] + values[y - dy, x - dx]) / 2
        error = noise[y + dy, x + dx] / np.float32(math.sqrt(2))
        sharp |= pair + _CAUTION * error < limit * here
    return sharp


def _surroundings(values: Image, unusable: Flags, y: Indices, x: Indices) -> NDArray[np.float32]:
    """Return the medians of the usable pixels in the 5 x 5 around some; 0 where there is none."""
    offsets = np.arange(-_MARGIN, _MARGIN + 1)
    at = y[:, None, None] + offsets[:, None], x[:, None, None] + offsets
    around = np.where(unusable[at], np.inf, values[at]).reshape(len(y), -1)
    around.sort(axis=1)
    count = np.isfinite(around).sum(axis=1)
    rows = np.arange(len(y))
    low, high = np.maximum(count - 1, 0) // 2, count // 2
    middle = (around[rows, low] + around[rows, np.minimum(high, around.shape[1] - 1)]) / 2
    return np.where(count > 0, middle, 0).astype(np.float32)
