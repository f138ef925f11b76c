"""Finds shift, rotation and scale between two lists of stars by voting for the shift.

For a supposed rotation and scale, each pair of one star of either list speaks for the shift which
brings them together. True pairs all speak for the same one, the others for any. Shifts are counted
in cells which are as wide as the density of the stars allows: the rotations and scales that must be
supposed are so few then that all can be, and crowded fields take smaller cells, not other methods.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.astrometry.similarity import Complex, Similarity

Floats = NDArray[np.float64]

_NEIGHBOURS = 2.5
"""Cells round a peak, whose pairs may belong to it."""


@dataclass(frozen=True, slots=True)
class Peak:
    """A shift that many pairs speak for.

    Attributes
    ----------
    excess : float
        Pairs beyond those that chance brings, over the standard deviation of these.
    similarity : Similarity
        The shift, and rotation and scale that were supposed.
    """

    excess: float
    similarity: Similarity


@dataclass(frozen=True, slots=True)
class Orientations:
    """Rotations and scales that are supposed.

    Attributes
    ----------
    widest : float
        Largest angle [rad].
    scale : float
        Largest relative difference of scale.
    mirrored : tuple of bool
        Without mirror, with it, or both.
    """

    widest: float
    scale: float
    mirrored: tuple[bool, ...]

    def factors(self, step: float) -> Iterator[tuple[complex, bool]]:
        """Yield them, no further than a step apart; a step is relative, or an angle [rad]."""
        turns, scales = (
            step * np.arange(-count, count + 1)
            for count in (int(np.ceil(most / step - 0.5)) for most in (self.widest, self.scale))
        )
        for mirrored in self.mirrored:
            for factor in np.exp(scales[None, :] + 1j * turns[:, None]).ravel():
                yield complex(factor), mirrored


def find_peaks(
    points: Complex, others: Complex, supposed: Orientations, farthest: float, cell: float
) -> list[Peak]:
    """Return the peak of each rotation and scale, the highest first.

    Parameters
    ----------
    points, others : array of complex
        The two lists; points with the centre of rotations as origin.
    supposed : Orientations
        Rotations and scales.
    farthest : float
        Largest shift along each axis.
    cell : float
        Side of the cells; in the unit of the points, like the shift.
    """
    step = cell / max(float(np.abs(points).max()), cell)
    peaks = []
    for factor, mirrored in supposed.factors(step):
        moved = factor * (points.conj() if mirrored else points)
        shifts = (others[None, :] - moved[:, None]).ravel()
        count, mean, shift = _peak(shifts, farthest, cell)
        excess = (count - mean) / np.sqrt(mean + 1)
        peaks.append(Peak(float(excess), Similarity(factor, shift, mirrored)))
    return sorted(peaks, key=lambda peak: -peak.excess)


def sharpen(
    points: Complex, others: Complex, first: Similarity, cell: float, finest: float
) -> Similarity:
    """Return the similarity of a peak, voted for in ever smaller cells.

    Parameters
    ----------
    points, others : array of complex
        The two lists, as for `find_peaks`.
    first : Similarity
        What was found.
    cell, finest : float
        The cells in which it was found, and the smallest.
    """
    points = points.conj() if first.mirrored else points
    reach = max(float(np.abs(points).max()), cell)
    factor, shift = first.factor, first.shift
    left = others[None, :] - (factor * points + shift)[:, None]
    one, two = np.nonzero(np.abs(left) < _NEIGHBOURS * cell)
    z, w = points[one], others[two]
    while cell > finest:
        cell /= 2
        trials = [factor + cell / reach * (i + 1j * k) for i in (-1, 0, 1) for k in (-1, 0, 1)]
        found = [(*_peak(w - trial * z - shift, 4 * cell, cell), trial) for trial in trials]
        _, _, moved, factor = max(found, key=lambda each: each[0])
        shift += moved
    return Similarity(factor, shift, first.mirrored)


def _peak(shifts: Complex, farthest: float, cell: float) -> tuple[int, float, complex]:
    """Return how many fall into the fullest square of 2 x 2 cells, into the mean one, and where."""
    across = max(2, int(np.ceil(2 * farthest / cell)))
    column = ((shifts.real + farthest) / cell).astype(np.intp)
    row = ((shifts.imag + farthest) / cell).astype(np.intp)
    inside = (np.abs(shifts.real) < farthest) & (np.abs(shifts.imag) < farthest)
    votes = np.bincount((row * across + column)[inside], minlength=across * across)
    votes = votes[: across * across].reshape(across, across)
    squares = votes[:-1, :-1] + votes[1:, :-1] + votes[:-1, 1:] + votes[1:, 1:]
    y, x = np.unravel_index(int(np.argmax(squares)), squares.shape)
    shift = complex(x + 1, y + 1) * cell - farthest * (1 + 1j)
    return int(squares[y, x]), float(squares.mean()), shift
