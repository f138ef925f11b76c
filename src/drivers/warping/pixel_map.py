"""Where the pixels of one image are on another: exactly at some, interpolated between them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline

from drivers.frame_error import FrameError
from drivers.sky_position import sky_corners, sky_positions

Floats = NDArray[np.float64]

_SPACING = 32
"""Pixels between the places where the map is computed exactly."""

_ROWS = 256
"""Rows of the map at a time."""


@dataclass(frozen=True, slots=True)
class Box:
    """A part of an image: columns from x0 to x1 and rows from y0 to y1, which are not included."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.y1 - self.y0, self.x1 - self.x0

    def __bool__(self) -> bool:
        return self.x1 > self.x0 and self.y1 > self.y0

    def slices(self, x0: int = 0, y0: int = 0) -> tuple[slice, slice]:
        """Return rows and columns of the box in an array which begins at x0, y0."""
        return slice(self.y0 - y0, self.y1 - y0), slice(self.x0 - x0, self.x1 - x0)

    def union(self, other: Box) -> Box:
        """Return the smallest box that holds both."""
        return Box(
            min(self.x0, other.x0),
            min(self.y0, other.y0),
            max(self.x1, other.x1),
            max(self.y1, other.y1),
        )


def sky_to_pixels(wcs: Any, ra: Floats, dec: Floats) -> tuple[Floats, Floats]:
    """Return columns and rows, counted from 0, of positions on the sky [deg].

    NaN where the image plane has none, or too far off for the distortion to be inverted.
    """
    if np.size(ra) == 0:
        return np.zeros(0), np.zeros(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # astropy says that all are NaN
        x, y = wcs.all_world2pix(ra, dec, 0, quiet=True, tolerance=1e-5, maxiter=30)
    return np.asarray(x, float), np.asarray(y, float)


def covered_box(source: Any, source_shape: tuple[int, int], target: Any, limits: Box) -> Box:
    """Return the part of the target within limits on which the source may have pixels.

    Parameters
    ----------
    source, target : astropy.wcs.WCS
        Of the two images.
    source_shape : (int, int)
        Rows and columns of the source [px].
    limits : Box
        In the target's pixels.
    """
    corners = np.array(sky_corners(source, source_shape))
    x, y = sky_to_pixels(target, corners[:, 0], corners[:, 1])
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return Box(0, 0, 0, 0)
    # An edge which is curved between its corners bulges by less than 1/100 of its length.
    margin = 2 + np.hypot(np.ptp(x), np.ptp(y)) / 100
    return Box(
        max(limits.x0, int(np.floor(x.min() - margin))),
        max(limits.y0, int(np.floor(y.min() - margin))),
        min(limits.x1, int(np.ceil(x.max() + margin))),
        min(limits.y1, int(np.ceil(y.max() + margin))),
    )


@dataclass(frozen=True, slots=True)
class PixelMap:
    """Where the pixels of a box of the target are on the source.

    Attributes
    ----------
    box : Box
        In the target's pixels.
    knots : arrays of float64, shape (3, n, m)
        Column and row on the source, and source pixels per target pixel (area), where exact.
    across, down : arrays of float64, shape (columns, m) and (rows, n)
        What each knot counts for each column and row.
    """

    box: Box
    knots: Floats
    across: Floats
    down: Floats

    def parts(self) -> Iterator[tuple[slice, Floats, Floats, Floats]]:
        """Give some rows of the box at a time: which, and the three values of their pixels."""
        partly = self.knots @ self.across.T
        for start in range(0, self.box.shape[0], _ROWS):
            rows = slice(start, start + _ROWS)
            x, y, area = self.down[rows] @ partly
            yield rows, x, y, area


def map_pixels(source: Any, target: Any, box: Box) -> PixelMap:
    """Return where the pixels of a box of the target are on the source.

    Raises
    ------
    FrameError
        If the source's world coordinates can't be inverted there.
    """
    places_x, across, slope_x = _spline(box.x0, box.x1)
    places_y, down, slope_y = _spline(box.y0, box.y1)
    grid_x, grid_y = np.meshgrid(places_x, places_y)
    ra, dec = sky_positions(target, grid_x.ravel(), grid_y.ravel())
    flat_x, flat_y = sky_to_pixels(source, ra, dec)
    if not (np.isfinite(flat_x).all() and np.isfinite(flat_y).all()):
        raise FrameError("the world coordinates can't be inverted over the patch")
    x, y = flat_x.reshape(grid_x.shape), flat_y.reshape(grid_x.shape)
    area = np.abs((x @ slope_x.T) * (slope_y @ y) - (slope_y @ x) * (y @ slope_x.T))
    return PixelMap(box, np.stack([x, y, area]), across, down)


def _spline(start: int, end: int) -> tuple[Floats, Floats, Floats]:
    """Return knots along an axis, their weights at each pixel, and those of the slope at knots."""
    count = max(4, -(-(end - start) // _SPACING) + 1)
    places = np.linspace(start - 1, end, count)
    spline = make_interp_spline(places, np.eye(count), k=3)
    return places, spline(np.arange(float(start), end)), spline.derivative()(places)
