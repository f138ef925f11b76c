"""Models the sky of a visit: a polynomial over the focal plane, the sky frame, and what is left."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from drivers.configuration.sky_correction import SkyCorrectionConfig
from drivers.focal_plane_sky.cells import Cells, Flags, Floats
from drivers.statistics import MAD_TO_SIGMA
from drivers.visit_solution.legendre import legendre_terms

_ROUNDS = 10
_NEIGHBOURS = 9
"""Cells of which the mean is looked at for whether they show sky."""

_LITTLE = 0.1
"""How much a cell counts which shows more than sky, at most."""

_PER_SIGMA = 3
"""Points per standard deviation of the grid on which the residual is smoothed."""

_LEAST_WEIGHT = 1e-3
"""Part of a full neighbourhood below which nothing is known of the residual."""


@dataclass(frozen=True, slots=True)
class SkyModel:
    """The sky of a visit.

    Attributes
    ----------
    smooth, levels, frame, residual : array of float, one for each cell
        The polynomial, the CCDs' own levels, the scaled sky frame and the residual model [image
        units]; 0 where there is none.
    scale : float or None
        Of the sky frame; None without one.
    used : array of bool
        The cells of which the model was made.
    """

    smooth: Floats
    levels: Floats
    frame: Floats
    residual: Floats
    scale: float | None
    used: Flags

    @property
    def total(self) -> Floats:
        """The whole model."""
        return self.smooth + self.levels + self.frame + self.residual


def model_sky(cells: Cells, config: SkyCorrectionConfig) -> SkyModel:
    """Model the sky of a visit without the objects in it.

    Parameters
    ----------
    cells : Cells
        The sky of all its CCDs.
    config : SkyCorrectionConfig
        What to model, and how smooth it is.
    """
    values = cells.residual + (cells.subtracted if config.restore else 0.0)
    groups = _terms(cells, config)
    terms = np.concatenate(list(groups.values()), axis=1)
    used, weights = np.isfinite(values), np.zeros(terms.shape[1])
    if terms.shape[1] and used.any():
        weights, used = _fit(terms, values, cells, config)
    ends = np.cumsum([0, *(group.shape[1] for group in groups.values())])
    parts = {
        name: group @ weights[start:end]
        for (name, group), start, end in zip(groups.items(), ends[:-1], ends[1:], strict=True)
    }
    residual = np.zeros(len(values))
    if config.residual and used.any():
        left = values - sum(parts.values())
        residual = _smoothed(cells, left, used, config.residual_scale)
    scale = float(weights[-1]) if groups["frame"].shape[1] else None
    return SkyModel(**parts, residual=residual, scale=scale, used=used)


def _terms(cells: Cells, config: SkyCorrectionConfig) -> dict[str, Floats]:
    """Return what the cells' values are a sum of, by part of the model, shape (cells, terms)."""
    none = np.zeros((len(cells.ccd), 0))
    found = {"smooth": none, "levels": none, "frame": none}
    if config.focal_plane:
        radius = max(float(np.abs(cells.east).max()), float(np.abs(cells.north).max()), 1e-6)
        found["smooth"] = legendre_terms(cells.east / radius, cells.north / radius, config.order)
    if config.ccd_levels != "never" and config.focal_plane:
        own = np.unique(cells.ccd[~cells.is_flat | (config.ccd_levels == "always")])
        found["levels"] = (cells.ccd[:, None] == own).astype(np.float64)
    if config.sky_frame and cells.pattern is not None:
        found["frame"] = cells.pattern[:, None]
    return found


def _fit(
    terms: Floats, values: Floats, cells: Cells, config: SkyCorrectionConfig
) -> tuple[Floats, Flags]:
    """Fit the terms to the cells which show nothing but sky; return weights and these cells.

    The others count a little: where there is nothing else, as at the rim, they keep the model from
    going anywhere.
    """
    known = np.isfinite(values)
    tree = cKDTree(np.stack([cells.east, cells.north], axis=1))
    count = min(_NEIGHBOURS, len(values))
    nearest = tree.query(tree.data, k=count)[1].reshape(len(values), count)
    trust = known.astype(np.float64)
    weights = np.zeros(terms.shape[1])
    for _ in range(_ROUNDS):
        weights = _solve(terms[known], values[known], trust[known])
        # Wings of large objects are below the noise of one cell, but not below that of several.
        left = _local_mean(nearest, values - terms @ weights)
        left -= float(np.median(left[trust == 1]))
        deviation = MAD_TO_SIGMA * float(np.median(np.abs(left[trust == 1])))
        limit = config.clip * max(deviation, 1e-12)
        off = _near(tree, known & (np.abs(left) > limit), config.grow)
        new = np.where(off, _LITTLE * limit / np.maximum(np.abs(left), limit), 1.0) * known
        if np.count_nonzero(new == 1) < terms.shape[1] or np.array_equal(new == 1, trust == 1):
            break
        trust = new
    return weights, trust == 1


def _local_mean(nearest: NDArray[np.intp], values: Floats) -> Floats:
    """Return the mean of each cell and its nearest neighbours, of which it is known."""
    known = np.isfinite(values)
    total = np.where(known, values, 0.0)[nearest].sum(axis=1)
    return np.asarray(total / np.maximum(known[nearest].sum(axis=1), 1))


def _solve(terms: Floats, values: Floats, trust: Floats) -> Floats:
    """Return the weights of the best sum; of all which are as good, the smallest.

    A few CCDs don't determine all terms, and the CCDs' levels have a constant in common.
    """
    sizes = np.sqrt((trust[:, None] * terms**2).sum(axis=0))
    scaled = terms / np.where(sizes > 0, sizes, 1.0)
    weighted = trust[:, None] * scaled
    inverse = np.linalg.pinv(scaled.T @ weighted, rcond=1e-10, hermitian=True)
    return np.asarray(inverse @ (weighted.T @ values) / np.where(sizes > 0, sizes, 1.0))


def _near(tree: cKDTree, marked: Flags, distance: float) -> Flags:
    """Return what is marked, and what is within a distance of that."""
    if not marked.any():
        return marked
    away, _ = cKDTree(tree.data[marked]).query(tree.data, distance_upper_bound=distance + 1e-9)
    return np.asarray(marked | np.isfinite(away))


def _smoothed(cells: Cells, left: Floats, used: Flags, scale: float) -> Floats:
    """Return the average around each cell, weighted with a Gaussian; 0 where nothing is near."""
    step = scale / _PER_SIGMA
    places = np.stack([cells.north, cells.east], axis=1)
    index = np.rint((places - places.min(axis=0)) / step).astype(np.intp) + 1
    shape = tuple(index.max(axis=0) + 2)
    total, count = np.zeros(shape), np.zeros(shape)
    np.add.at(total, tuple(index[used].T), left[used])
    np.add.at(count, tuple(index[used].T), 1.0)
    total, count = (
        gaussian_filter(one, _PER_SIGMA, mode="constant", truncate=4) for one in (total, count)
    )
    enough = count > _LEAST_WEIGHT * count.max()
    grid = np.where(enough, total / np.where(enough, count, 1.0), 0.0)
    return _interpolated(grid, (places - places.min(axis=0)) / step + 1)


def _interpolated(grid: Floats, places: NDArray[np.float64]) -> Floats:
    """Return a grid's values between its points, bilinearly."""
    low = np.minimum(places.astype(np.intp), np.array(grid.shape) - 2)
    part = places - low
    found = np.zeros(len(places))
    for down in (0, 1):
        for right in (0, 1):
            weight = np.abs(1 - down - part[:, 0]) * np.abs(1 - right - part[:, 1])
            found += weight * grid[low[:, 0] + down, low[:, 1] + right]
    return found
