"""Fits the point spread function to all sources of an image at once: fluxes, and positions.

The fluxes are the solution of one linear system, in which sources that overlap share their
pixels: so a close neighbour takes nothing away and adds nothing. All pixels weigh the same; weights
from the pixels' own values would make fluxes of bright stars too small. A position is fitted by the
slopes of the function beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, diags_array, eye_array, hstack
from scipy.sparse.linalg import spsolve

from drivers.exposure import Flags, Image
from drivers.psf_model import SIZE, evaluate_with_slopes
from drivers.results import Psf
from drivers.stamps import Stamps, cut_stamps

Floats = NDArray[np.float64]

_POSITION_ROUNDS = 2
_LARGEST_STEP = 0.5
"""Pixels by which one round may move a source."""

_RIDGE = 1e-9
_COVERED = 0.3
"""Part of the function that must fall on usable pixels for a flux to be measured."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """An image to measure on.

    Attributes
    ----------
    image, variance : array of float32, shape (rows, columns)
        Sky-subtracted.
    usable : array of bool, shape (rows, columns)
        Pixels that count.
    """

    image: Image
    variance: Image
    usable: Flags

    def around(self, x: Floats, y: Floats) -> Stamps:
        """Return the squares around positions, as large as the point spread function."""
        return cut_stamps(self.image, self.variance, self.usable, x, y, size=SIZE)


@dataclass(frozen=True, slots=True)
class PsfFluxes:
    """What the fit found.

    Attributes
    ----------
    x, y, position_err : array of float64, shape (n,)
        Positions and their error per axis [px].
    flux, flux_err : array of float64, shape (n,)
        Flux, corrected to the whole, and its standard deviation [image units]; NaN where too few
        pixels are usable.
    covered : array of float64, shape (n,)
        Part of the function on usable pixels.
    model : array of float32, shape (rows, columns)
        The image of all sources.
    """

    x: Floats
    y: Floats
    position_err: Floats
    flux: Floats
    flux_err: Floats
    covered: Floats
    model: Image


def fit_fluxes(pixels: Pixels, psf: Psf, x: Floats, y: Floats, movable: Flags) -> PsfFluxes:
    """Fit all sources together.

    Parameters
    ----------
    pixels : Pixels
        The sky-subtracted image.
    psf : Psf
        Of the CCD.
    x, y : array, shape (n,)
        Positions [px].
    movable : array of bool, shape (n,)
        Sources whose position is fitted too.
    """
    x, y = np.array(x, dtype=np.float64), np.array(y, dtype=np.float64)
    for _ in range(_POSITION_ROUNDS if movable.any() else 0):
        step_x, step_y = _steps(pixels, psf, x, y, movable)
        x[movable] += step_x
        y[movable] += step_y
    stamps = pixels.around(x, y)
    images, slope_x, slope_y = evaluate_with_slopes(psf, x, y)
    design = _design(stamps, pixels.image.size, pixels.image.shape[1], images)
    flux, crowding = _solved(design, pixels.image)
    covered = _total(stamps, images) / np.maximum(images.sum(axis=(1, 2)), 1e-30)
    flux_err = _error(stamps, images) * crowding
    measured = covered >= _COVERED
    slope_err = (_error(stamps, slope_x) + _error(stamps, slope_y)) / 2
    return PsfFluxes(
        x=x,
        y=y,
        position_err=np.where(measured, slope_err * crowding / np.maximum(flux, 1e-30), np.nan),
        flux=np.where(measured, flux, np.nan),
        flux_err=np.where(measured, flux_err, np.nan),
        covered=covered,
        model=(design @ flux).reshape(pixels.image.shape).astype(np.float32),
    )


def _steps(pixels: Pixels, psf: Psf, x: Floats, y: Floats, movable: Flags) -> tuple[Floats, Floats]:
    """Return by how much the movable sources should move, in x and y [px]."""
    stamps = pixels.around(x, y)
    images, slope_x, slope_y = evaluate_with_slopes(psf, x, y)
    size, width = pixels.image.size, pixels.image.shape[1]
    moving = stamps.taken(movable)
    parts = [
        _design(stamps, size, width, images),
        _design(moving, size, width, slope_x[movable]),
        _design(moving, size, width, slope_y[movable]),
    ]
    terms, _ = _solved(hstack(parts, format="csc"), pixels.image)
    count, moved = len(x), int(movable.sum())
    flux = terms[:count][movable]
    steps = terms[count:].reshape(2, moved) / np.where(flux > 0, flux, np.inf)
    step_x, step_y = np.clip(steps, -_LARGEST_STEP, _LARGEST_STEP)
    return step_x, step_y


def _design(stamps: Stamps, size: int, width: int, images: Floats) -> Any:
    """Return the images as columns, one row for each pixel of the CCD."""
    count = stamps.usable.sum(axis=(1, 2))
    starts = np.concatenate([[0], np.cumsum(count)])
    rows = (stamps.rows * width + stamps.columns)[stamps.usable]
    return csc_matrix((images[stamps.usable], rows, starts), shape=(size, len(count)))


def _solved(design: Any, image: Image) -> tuple[Floats, Floats]:
    """Return the least-squares solution, and how much larger than alone each term's error is."""
    if not design.shape[1]:
        return np.zeros(0), np.zeros(0)
    normal = (design.T @ design).tocsc()
    diagonal = normal.diagonal()
    diagonal = np.where(diagonal > 0, diagonal, 1.0)
    target = design.T @ image.ravel().astype(np.float64)
    scale = diags_array(1 / np.sqrt(diagonal))
    scaled = (scale @ normal @ scale).tocsc()
    found = spsolve(scaled + _RIDGE * eye_array(len(diagonal), format="csc"), scale @ target)
    scaled.setdiag(0)
    overlap = np.minimum(abs(scaled).max(axis=1).toarray().ravel(), 0.999)
    return np.atleast_1d(scale @ found), 1 / np.sqrt(1 - overlap**2)


def _error(stamps: Stamps, images: Floats) -> Floats:
    """Return the standard deviation of the factor of each image, fitted alone."""
    square = np.where(stamps.usable, images, 0.0) ** 2
    total = np.maximum(square.sum(axis=(1, 2)), 1e-30)
    return np.asarray(np.sqrt((square * stamps.variance).sum(axis=(1, 2))) / total)


def _total(stamps: Stamps, images: Floats) -> Floats:
    return np.asarray(np.where(stamps.usable, images, 0.0).sum(axis=(1, 2)))
