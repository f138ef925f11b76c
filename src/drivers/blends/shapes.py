"""Moments of sources, weighted with a Gaussian of their own size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_ROUNDS = 30
_REACH = 4.0
"""Widths of the Gaussian beyond which it is 0."""

_LARGEST = 40.0
_SMALLEST = 0.3
"""Widths [px] beyond which a source is not measured."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Second moments of a source [px**2].

    For a source with a Gaussian profile they are those of its light; None of the fields is NaN.
    """

    xx: float
    yy: float
    xy: float

    @property
    def trace(self) -> float:
        """Sum of those along the axes."""
        return self.xx + self.yy

    def ellipse(self) -> tuple[float, float, float]:
        """Return half axes [px] and the angle of the longer one to the rows [rad]."""
        half, difference = self.trace / 2, (self.xx - self.yy) / 2
        root = float(np.hypot(difference, self.xy))
        angle = 0.5 * float(np.arctan2(2 * self.xy, self.xx - self.yy))
        return float(np.sqrt(half + root)), float(np.sqrt(max(half - root, 1e-6))), angle


def adaptive_moments(image: NDArray[Any], place: Floats, start: float) -> Moments | None:
    """Return the moments of a source, or None if they don't settle on any.

    Parameters
    ----------
    image : array, shape (rows, columns)
        The source alone.
    place : array, shape (2,)
        Column and row where it is [px].
    start : float
        Width [px] with which to begin.
    """
    x, y = float(place[0]), float(place[1])
    reach = int(_REACH * min(_LARGEST, max(4 * start, 8.0)))
    x0, y0 = max(0, round(x) - reach), max(0, round(y) - reach)
    part = image[y0 : round(y) + reach + 1, x0 : round(x) + reach + 1].astype(np.float64)
    if not part.size:
        return None
    dx = np.arange(part.shape[1]) + (x0 - x)
    dy = (np.arange(part.shape[0]) + (y0 - y))[:, None]
    powers = (dx * dx, dy * dy, dx * dy)
    weight_of = Moments(start**2, start**2, 0.0)
    for _ in range(_ROUNDS):
        found = _weighted(part, powers, weight_of)
        if found is None:
            return None
        change = abs(found.trace - weight_of.trace) / weight_of.trace
        weight_of = found
        if change < 1e-4:
            return found
    return weight_of


def _weighted(
    part: NDArray[np.float64], powers: tuple[NDArray[np.float64], ...], weight: Moments
) -> Moments | None:
    """Return the moments that belong to those which are seen through a Gaussian weight."""
    determinant = weight.xx * weight.yy - weight.xy**2
    if not determinant > 0:
        return None
    dxx, dyy, dxy = powers
    exponent = (weight.yy * dxx + weight.xx * dyy - 2 * weight.xy * dxy) / (2 * determinant)
    weighted = part * np.where(exponent < _REACH**2 / 2, np.exp(-np.minimum(exponent, 50)), 0.0)
    total = float(weighted.sum())
    if not total > 0:
        return None
    # Twice: the product of two equal Gaussians has half their moments.
    xx = 2 * float((weighted * dxx).sum()) / total
    yy = 2 * float((weighted * dyy).sum()) / total
    xy = 2 * float((weighted * dxy).sum()) / total
    inside = min(xx, yy) > _SMALLEST**2 and max(xx, yy) < _LARGEST**2 and xx * yy > xy**2
    return Moments(xx, yy, xy) if inside else None
