"""Finds footprints and peaks on a coadd.

The image is smoothed with a Gaussian as wide as a star. Since its variance says what noise comes
to in a sum over many pixels (neighbours of a resampled image share theirs), the significance of the
smoothed image is right as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from drivers.exposure import NOT_SKY, Flags, Image, Mask, bit
from drivers.footprints.prominence import find_peaks
from drivers.footprints.runs import EIGHT, find_footprints, label_image
from drivers.found import PEAK, Footprints
from drivers.meshes import expand_mesh
from drivers.results import Table
from drivers.sky_mesh import measure_cells

_GROW = 2.4
"""Widths of a star by which footprints are grown."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What counts.

    Attributes
    ----------
    threshold : float
        Significance that makes a source [standard deviations].
    min_pixels : int
        Connected pixels above it.
    prominence : float
        By how much a peak must rise above the way to any brighter one [standard deviations],
        if it is to be a source of its own.
    prominence_part : float
        And by which part of its own height.
    """

    threshold: float
    min_pixels: int
    prominence: float
    prominence_part: float


@dataclass(frozen=True, slots=True)
class Smoothed:
    """An image smoothed with the width of a star [px], and its noise."""

    image: Image
    noise: Image
    width: float


def smooth(image: Image, mask: Mask, variance: Image, width: float) -> Smoothed:
    """Return the image smoothed with a Gaussian; without data it is 0 and its noise infinite."""
    no_data = (mask & bit("NO_DATA")) != 0
    level = ndimage.gaussian_filter(image, width, mode="constant")
    noise = ndimage.gaussian_filter(variance, width / np.sqrt(2), mode="nearest")
    noise = np.sqrt(noise / np.float32(4 * np.pi * width**2))
    noise[no_data | (noise == 0)] = np.inf
    level[no_data] = 0
    return Smoothed(level, noise, width)


def find_sources(smoothed: Smoothed, limits: Limits) -> tuple[Footprints, Table]:
    """Return footprints and the peaks in them.

    Returns
    -------
    Footprints
        Grown by about a star's width.
    structured array of `PEAK`
        By footprint, the brightest first.
    """
    significance = smoothed.image / smoothed.noise
    above = significance > limits.threshold
    labels, count = ndimage.label(above, EIGHT)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    large = sizes >= limits.min_pixels
    large[0] = False
    above = large[labels]
    peaks = _peaks(smoothed, significance, above, limits)
    grown = grow(above, _GROW * smoothed.width) & np.isfinite(smoothed.noise)
    footprints = find_footprints(grown)
    index = label_image(footprints, above.shape)
    column, row = np.rint(peaks["x"]).astype(int), np.rint(peaks["y"]).astype(int)
    peaks["footprint"] = index[row, column] - 1
    return footprints, peaks[np.lexsort((-peaks["snr"], peaks["footprint"]))]


def grow(inside: Flags, radius: float) -> Flags:
    """Return the pixels within a radius [px] of those given."""
    if not inside.any():
        return inside
    return np.asarray(ndimage.distance_transform_edt(~inside) <= max(1.0, radius))


def _peaks(smoothed: Smoothed, significance: Image, above: Flags, limits: Limits) -> Table:
    """Return the maxima of the smoothed image which stand out."""
    image = smoothed.image
    found = find_peaks(image, above)
    height = image[found.rows, found.columns]
    noise = smoothed.noise[found.rows, found.columns]
    needed = np.maximum(limits.prominence * noise, limits.prominence_part * height)
    keep = height - found.saddles >= needed
    rows, columns = found.rows[keep], found.columns[keep]
    peaks = np.zeros(len(rows), PEAK)
    # At the edge a top between pixels would be outside.
    last_row, last_column = image.shape[0] - 1, image.shape[1] - 1
    peaks["x"] = np.clip(columns + _vertex(image, rows, columns, axis=1), 0, last_column)
    peaks["y"] = np.clip(rows + _vertex(image, rows, columns, axis=0), 0, last_row)
    peaks["snr"] = significance[rows, columns]
    return peaks


def _vertex(
    image: Image, rows: NDArray[np.int64], columns: NDArray[np.int64], axis: int
) -> NDArray[np.float64]:
    """Return how far the top of the parabola through a maximum is from it, along an axis [px]."""
    place = [rows, columns]
    limit = image.shape[axis] - 1
    low, high = list(place), list(place)
    low[axis], high[axis] = np.maximum(place[axis] - 1, 0), np.minimum(place[axis] + 1, limit)
    before, here, after = image[tuple(low)], image[rows, columns], image[tuple(high)]
    curvature = (2 * here - before - after).astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = (after - before) / (2 * curvature)
    return np.where(curvature > 0, np.clip(shift, -0.5, 0.5), 0.0)


def sky_mesh(image: Image, mask: Mask, sources: Flags, cell: int) -> Image | None:
    """Return the level of the sky in each cell, outside of sources; None if there is none at all.

    Cells without enough sky have the mean of the others around them.
    """
    return _completed(measure_cells(image, ((mask & NOT_SKY) != 0) | sources, cell))


def _completed(mesh: Image) -> Image | None:
    known = np.isfinite(mesh)
    if not known.any():
        return None
    weight = ndimage.gaussian_filter(known.astype(float), 1, mode="nearest", truncate=8)
    level = ndimage.gaussian_filter(np.where(known, mesh, 0.0), 1, mode="nearest", truncate=8)
    around = np.where(weight > 1e-12, level / np.maximum(weight, 1e-12), mesh[known].mean())
    return np.where(known, mesh, around).astype(np.float32)


def subtract_mesh(image: Image, mask: Mask, mesh: Image | None, cell: int) -> Image:
    """Return the image without a mesh; pixels without data stay 0."""
    if mesh is None:
        return image
    level = expand_mesh(mesh, cell, (image.shape[0], image.shape[1]))
    return np.where((mask & bit("NO_DATA")) != 0, np.float32(0), image - level)
