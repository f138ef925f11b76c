"""Positions of point sources which overlap: those at which their pictures fit best together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from drivers.blends.psf_fit import Field, Point, draw, fit_fluxes, placed
from drivers.coaddition.psf import shifted

Floats = NDArray[np.float64]

_STEP = 0.1
_FARTHEST = 1.5
"""Pixels from where it was found that a source's position can move."""

_ROUNDS = 6


def fit_positions(field: Field, stamps: Sequence[Floats], found: Floats) -> tuple[Floats, Floats]:
    """Return the positions at which the sources' pictures fit best, all of them together.

    Parameters
    ----------
    field : Field
        The pixels.
    stamps : sequence of array
        The picture of each source in the middle of a pixel.
    found : array of float, shape (n, 2)
        Column and row where each was found.

    Returns
    -------
    places, errors : array of float, shape (n, 2)
        [px]; NaN for the error of a source that can't be fitted, which stays where it is.
    """
    shape = (field.image.shape[0], field.image.shape[1])
    at = found.astype(np.float64)
    errors = np.full(at.shape, np.nan)
    for _ in range(_ROUNDS):
        points = [draw(stamp, place, shape) for stamp, place in zip(stamps, at, strict=True)]
        fluxes, _ = fit_fluxes(field, points)
        left = _residual(field, points, fluxes)
        moved = 0.0
        for one, (stamp, flux) in enumerate(zip(stamps, fluxes, strict=True)):
            if not flux > 0:
                continue
            step, errors[one] = _step(field, left, stamp, at[one], float(flux))
            nearer = np.clip(at[one] + step, found[one] - _FARTHEST, found[one] + _FARTHEST)
            moved = max(moved, float(np.abs(nearer - at[one]).max()))
            at[one] = nearer
        if moved < 1e-3:
            break
    return at, errors


def _residual(field: Field, points: Sequence[Point], fluxes: Floats) -> Floats:
    left = field.image.astype(np.float64)
    for point, flux in zip(points, fluxes, strict=True):
        if np.isfinite(flux):
            left[point.place] -= flux * point.values
    return left


def _step(
    field: Field, left: Floats, stamp: Floats, place: Floats, flux: float
) -> tuple[Floats, Floats]:
    """Return by how much to move a source, from what its picture leaves, and the errors of that."""
    column, row = round(place[0]), round(place[1])
    dx, dy = place[0] - column, place[1] - row
    shape = (left.shape[0], left.shape[1])
    across = (shifted(stamp, dx + _STEP, dy) - shifted(stamp, dx - _STEP, dy)) / (2 * _STEP)
    down = (shifted(stamp, dx, dy + _STEP) - shifted(stamp, dx, dy - _STEP)) / (2 * _STEP)
    slopes = [placed(flux * values, column, row, shape) for values in (across, down)]
    where = slopes[0].place
    rest = left[where] * field.usable[where]
    move, error = np.zeros(2), np.full(2, np.nan)
    for axis, slope in enumerate(slopes):
        squared = slope.values**2 * field.usable[where]
        total = float(squared.sum())
        if total > 0:
            move[axis] = np.clip((rest * slope.values).sum() / total, -0.5, 0.5)
            error[axis] = np.sqrt((squared * field.variance[where]).sum()) / total
    return move, error
