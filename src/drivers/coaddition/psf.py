"""The point spread function of a coadd at any place: that of its inputs there, put together.

Each input's is taken at the source's place on its CCD, brought to the patch's pixels by the local
linear map, and counts what its visit counts in the coadd. It is made once for all sources of a
small cell which have the same inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sep
from numpy.typing import NDArray

from drivers.psf_model import at_positions
from drivers.results import Psf, PsfInput
from drivers.sky_position import make_wcs, sky_positions
from drivers.warping.lanczos import ORDER, resample, shift_weights
from drivers.warping.pixel_map import sky_to_pixels

Floats = NDArray[np.float64]
Stamp = NDArray[np.float64]

CELL = 64
"""Side of the cells [px] over which the point spread function is taken for constant."""

_STEP = 8.0
"""Pixels over which the local map is measured."""


def shifted(stamp: Stamp, dx: float, dy: float) -> Stamp:
    """Return a stamp whose middle is moved by less than a pixel."""
    rows, columns = stamp.shape
    return np.asarray(shift_weights(dy, rows) @ stamp @ shift_weights(dx, columns).T)


def moment_width(stamp: NDArray[Any]) -> float:
    """Return the standard deviation [px] of the Gaussian whose peak and sum are the stamp's."""
    peak = float(stamp.max())
    return float(np.sqrt(max(float(stamp.sum()) / (2 * np.pi * peak), 0.01))) if peak > 0 else 1.0


@dataclass(slots=True)
class _Input:
    """A CCD of the coadd, with the transformations that lead to it."""

    entry: PsfInput
    psf: Psf
    wcs: Any = field(init=False)

    def __post_init__(self) -> None:
        self.wcs = make_wcs(self.entry.solution.wcs)

    def places(self, patch: Any, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Return where positions of the patch are on the CCD."""
        return sky_to_pixels(self.wcs, *sky_positions(patch, x, y))

    def covers(self, patch: Any, x: Floats, y: Floats) -> NDArray[np.bool_]:
        """Return which positions are so far within the CCD that they were resampled."""
        rows, columns = self.psf.shape
        there_x, there_y = self.places(patch, x, y)
        with np.errstate(invalid="ignore"):
            inside = (there_x >= ORDER) & (there_x < columns - ORDER)
            inside &= (there_y >= ORDER) & (there_y < rows - ORDER)
        return np.asarray(inside)

    def stamp(self, patch: Any, x: float, y: float, size: int) -> Stamp | None:
        """Return its point spread function in pixels of the patch, around a place of the patch."""
        at_x = np.array([x, x + _STEP, x - _STEP, x, x])
        at_y = np.array([y, y, y, y + _STEP, y - _STEP])
        there_x, there_y = self.places(patch, at_x, at_y)
        if not (np.isfinite(there_x).all() and np.isfinite(there_y).all()):
            return None
        to_x = np.array([there_x[1] - there_x[2], there_x[3] - there_x[4]]) / (2 * _STEP)
        to_y = np.array([there_y[1] - there_y[2], there_y[3] - there_y[4]]) / (2 * _STEP)
        rows, columns = self.psf.shape
        inside_x = float(np.clip(there_x[0], 0, columns - 1))
        inside_y = float(np.clip(there_y[0], 0, rows - 1))
        centred = at_positions(self.psf, np.array([inside_x]), np.array([inside_y]))[0]
        return _mapped(centred.astype(np.float32), to_x, to_y, size)


def _mapped(stamp: NDArray[np.float32], to_x: Floats, to_y: Floats, size: int) -> Stamp:
    """Return a stamp on pixels of which one step across or down leads so far on its own."""
    margin = 2 * ORDER
    padded = np.pad(stamp, margin)
    middle = padded.shape[0] // 2
    down, across = np.mgrid[:size, :size] - size // 2
    x = middle + to_x[0] * across + to_x[1] * down
    y = middle + to_y[0] * across + to_y[1] * down
    limit = padded.shape[0] - ORDER - 0.001
    values = resample(padded, np.clip(x, ORDER - 1, limit), np.clip(y, ORDER - 1, limit))
    area = abs(to_x[0] * to_y[1] - to_x[1] * to_y[0])
    return np.asarray(values * area, dtype=np.float64)


class CoaddPsf:
    """The point spread function of a coadd.

    Parameters
    ----------
    inputs : sequence of PsfInput
        CCDs without a point spread function are left out.
    patch_wcs : dict
        Cards of the patch's pixels.
    """

    def __init__(self, inputs: Sequence[PsfInput], patch_wcs: dict[str, Any]) -> None:
        self._inputs = [_Input(one, one.psf) for one in inputs if one.psf is not None]
        self._patch = make_wcs(patch_wcs)
        self._stamps: dict[tuple[int, int, bytes], Stamp | None] = {}
        sides = [one.psf.coefficients.shape[-1] for one in self._inputs]
        self.size = max(sides, default=25) | 1
        """Rows and columns of the stamps."""

    def stamps(self, x: Floats, y: Floats) -> list[Stamp | None]:
        """Return the point spread function at places of the patch.

        Parameters
        ----------
        x, y : array of float
            Places [px].

        Returns
        -------
        list of array (size, size) or None
            In the middle of its middle pixel; the sum is the part of a star's flux within the
            stamp. None where no input has a point spread function.
        """
        if not (self._inputs and len(x)):
            return [None] * len(x)
        covering = np.stack([one.covers(self._patch, x, y) for one in self._inputs])
        cells = zip(np.floor(x / CELL), np.floor(y / CELL), covering.T, strict=True)
        return [self._of_cell(int(column), int(row), inputs) for column, row, inputs in cells]

    def _of_cell(self, column: int, row: int, covering: NDArray[np.bool_]) -> Stamp | None:
        key = (column, row, np.packbits(covering).tobytes())
        if key not in self._stamps:
            middle = (column + 0.5) * CELL, (row + 0.5) * CELL
            self._stamps[key] = self._sum(*middle, np.flatnonzero(covering).tolist())
        return self._stamps[key]

    def _sum(self, x: float, y: float, which: list[int]) -> Stamp | None:
        total, weight = np.zeros((self.size, self.size)), 0.0
        for one in which:
            stamp = self._inputs[one].stamp(self._patch, x, y, self.size)
            if stamp is not None:
                total += self._inputs[one].entry.weight * stamp
                weight += self._inputs[one].entry.weight
        return total / weight if weight > 0 else None


def aperture_fractions(
    stamp: Stamp, radii: Sequence[float], dx: float = 0.0, dy: float = 0.0
) -> list[float]:
    """Return the part of a star's flux within circles of these radii [px] around it.

    It depends on where in its pixel the star is: by up to 2 % for a radius below its width.
    """
    star = np.ascontiguousarray(shifted(stamp, dx, dy))
    rows, columns = star.shape
    x, y = np.full(len(radii), columns // 2 + dx), np.full(len(radii), rows // 2 + dy)
    flux, _, _ = sep.sum_circle(star, x, y, np.array(radii), subpix=5)
    return [float(one) for one in flux]
