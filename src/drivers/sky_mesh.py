"""Measures the sky in the cells of a coarse mesh, without the sources, and subtracts it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, maximum_filter, median_filter, uniform_filter

from drivers.exposure import NOT_SKY, Exposure, Flags, Image, bit
from drivers.meshes import expand_mesh
from drivers.results import SkyMesh
from drivers.statistics import clipped_level

_TOO_FEW = 50
"""Usable pixels below which there is no saying what the sky is."""

_ENOUGH = 0.1
"""Part of a cell's pixels that must be sky for the cell to have a value."""

_ENOUGH_LEFT = 0.25
"""Part of the usable pixels that must be left by the sources."""

_SMALLEST = 64
"""Side [px] below which a cell is not made smaller for the sake of a small image."""

_SMOOTHING = (3, 15)
"""Sides of the squares [px] over which the image is averaged to see sources: cores, and wings."""


@dataclass(frozen=True, slots=True)
class Sky:
    """The sky of a CCD.

    Attributes
    ----------
    mesh : SkyMesh
        What was subtracted, and what is left.
    level, noise : float or None
        Median of the sky and standard deviation of a pixel of it [unit]; None if the frame has too
        few usable pixels.
    covered : array of bool, shape (rows, columns)
        What is no sky: sources and unusable pixels.
    """

    mesh: SkyMesh
    level: float | None
    noise: float | None
    covered: Flags


def subtract_sky(
    exposure: Exposure, *, cell: int, threshold: float, grow: int, before: Sky | None = None
) -> Sky:
    """Measure the sky, with sources and again without them, and subtract it in place.

    Parameters
    ----------
    exposure : Exposure
        Its image is changed.
    cell : int
        Side of a cell [px].
    threshold : float
        Standard deviations of the smoothed image above which a pixel belongs to a source.
    grow : int
        Pixels by which the sources are grown.
    before : Sky, optional
        What was subtracted already; the sky returned is the sum.
    """
    shape = exposure.image.shape
    # On a small image, at least two cells a side, so that they can follow a galaxy's outskirts.
    cell = before.mesh.cell if before else min(cell, max(_SMALLEST, min(shape) // 2))
    cells = -(-shape[0] // cell), -(-shape[1] // cell)
    total = before.mesh.subtracted if before else np.zeros(cells, np.float32)
    unusable = exposure.has(NOT_SKY)
    if np.count_nonzero(~unusable) < _TOO_FEW:
        exposure.notes.append("too few usable pixels to measure the sky")
        empty = np.full(cells, np.nan, np.float32)
        return Sky(SkyMesh(total, empty, cell, shape), None, None, unusable)
    covered = before.covered | unusable if before else unusable
    for _ in range(1 if before else 2):
        mesh = _smooth(measure_cells(exposure.image, covered, cell))
        exposure.image -= expand_mesh(mesh, cell, shape)
        total = total + mesh
        covered = _sources(exposure.image, unusable, threshold, grow)
    mesh = _smooth(measure_cells(exposure.image, covered, cell))
    exposure.image -= expand_mesh(mesh, cell, shape)
    exposure.image[exposure.has(bit("NO_DATA"))] = 0
    total = total + mesh
    _, noise = clipped_level(exposure.image[~covered])
    left = measure_cells(exposure.image, covered, cell)
    return Sky(SkyMesh(total, left, cell, shape), float(np.median(total)), noise, covered)


def measure_cells(image: Image, covered: Flags, cell: int) -> NDArray[np.float32]:
    """Return the level of the sky in each cell, NaN where it shows too little of it."""
    rows, columns = image.shape
    mesh = np.full((-(-rows // cell), -(-columns // cell)), np.nan, np.float32)
    for row, column in np.ndindex(*mesh.shape):
        part = np.s_[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell]
        values = image[part][~covered[part]]
        if values.size >= max(8, _ENOUGH * covered[part].size):
            mesh[row, column] = clipped_level(values, iterations=3)[0]
    return mesh


def _smooth(mesh: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fill cells without a value from the nearest, and take single outliers out."""
    missing = ~np.isfinite(mesh)
    if missing.all():
        return np.zeros_like(mesh)
    if missing.any():
        nearest = distance_transform_edt(missing, return_distances=False, return_indices=True)
        mesh = mesh[tuple(nearest)]
    # Going on straight beyond the edges, so that a slope passes the filter unchanged.
    straight: dict[str, Any] = {"mode": "reflect", "reflect_type": "odd"}
    for axis, length in enumerate(mesh.shape):
        width = [(0, 0), (0, 0)]
        width[axis] = (1, 1)
        mesh = np.pad(mesh, width, **(straight if length > 1 else {"mode": "edge"}))
    return np.asarray(median_filter(mesh, size=3)[1:-1, 1:-1], dtype=np.float32)


def _sources(image: Image, unusable: Flags, threshold: float, grow: int) -> Flags:
    """Return what is no sky, shape (rows, columns).

    Sources are grown less where otherwise too little would be left.
    """
    level, _ = clipped_level(image[~unusable])
    filled = np.where(unusable, np.float32(level), image)
    bright = np.zeros(image.shape, dtype=np.uint8)
    for size in _SMOOTHING:
        smoothed = uniform_filter(filled, size, mode="nearest")
        middle, noise = clipped_level(smoothed[~unusable])
        bright |= smoothed > middle + threshold * noise
    enough = max(_TOO_FEW, _ENOUGH_LEFT * np.count_nonzero(~unusable))
    for by in (grow, grow // 2, 0):
        covered = (maximum_filter(bright, 2 * by + 1) > 0) | unusable
        if np.count_nonzero(~covered) >= enough:
            return np.asarray(covered)
    return unusable
