"""Finds which stars of two lists are the same, in spite of a shift, a rotation or a mirror.

Stars vote for the shift (`drivers.astrometry.voting`), first near the rotation which is given, then
for every rotation and for mirror images. What most of them say is tried on all stars, and is taken
only if so many come together as never do by chance, with all that was tried.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import bdtrc

from drivers.astrometry.similarity import Points, Similarity, as_complex, fit_similarity
from drivers.astrometry.voting import Orientations, find_peaks, sharpen

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

_NEAR = np.radians(1.0)
"""Rotation [rad] up to which it is looked for first."""

_NEAR_ATTEMPTS = ((60, 0.1), (60, 0.03), (200, 0.05))
_OTHER_ATTEMPTS = ((60, 0.2),)
"""Points, at most, which vote, and others in the square where votes are counted.

The fewer these are, the clearer is a peak, and the more rotations and scales have to be supposed.
"""

_SURPLUS = 1.5
"""Density of the others that vote over that of the points: not all are in both lists."""

_TRIED = 6
"""Peaks of the votes that are tried on all stars."""

_DISTORTED = 2.0
"""Times the tolerance by which the scale may differ in the end: distortion adds to it."""

_ROUNDS = 10
_FEWEST = 4
_COUNTED = 300
"""Points, at most, which a transformation that is tried has to bring together."""

_CHANCE = 1e-6
"""Probability that anything which was tried brings so many together by chance."""


@dataclass(frozen=True, slots=True)
class Tolerances:
    """What may differ between the lists.

    Attributes
    ----------
    radius : float
        Distance within which transformed stars are the same.
    scale : float
        Relative difference of their scales.
    farthest : float
        Distance by which the middle of the first list may be off.
    mirror : bool
        Whether one may be a mirror image.
    """

    radius: float
    scale: float
    farthest: float
    mirror: bool


def find_similarity(points: Points, others: Points, tolerances: Tolerances) -> Similarity | None:
    """Return the transformation which brings the points onto the others; None if there is none.

    Parameters
    ----------
    points, others : array, shape (n, 2) and (m, 2)
        The brightest first, in one unit; the points with the middle of their field as origin.
    tolerances : Tolerances
        What may differ.
    """
    if min(len(points), len(others)) < _FEWEST:
        return None
    mirrored = (False, True) if tolerances.mirror else (False,)
    near = Orientations(_NEAR, tolerances.scale, (False,))
    anyhow = Orientations(np.pi, tolerances.scale, mirrored)
    search = _Search(points, others, cKDTree(others), tolerances)
    for supposed, attempts in ((near, _NEAR_ATTEMPTS), (anyhow, _OTHER_ATTEMPTS)):
        for brightest, in_square in attempts:
            found = search.among(brightest, in_square, supposed)
            if found is not None:
                return found
    return None


@dataclass(frozen=True, slots=True)
class _Search:
    """Two lists that are compared."""

    points: Points
    others: Points
    tree: cKDTree
    tolerances: Tolerances

    def among(self, brightest: int, in_square: float, supposed: Orientations) -> Similarity | None:
        """Return what the brightest lead to."""
        allowed = self.tolerances
        points = self.points[:brightest]
        density = len(points) / _area(self.points, allowed.radius)
        wanted = _SURPLUS * density * _area(self.others, allowed.radius)
        others = self.others[: max(_FEWEST, int(wanted))]
        density = len(others) / _area(self.others, allowed.radius)
        finest = allowed.radius / 3
        cell = max(0.5 * float(np.sqrt(in_square / density)), finest)
        z, w = as_complex(points), as_complex(others)
        best, most = None, 0
        for peak in find_peaks(z, w, supposed, allowed.farthest, cell)[:_TRIED]:
            found = self._polished(sharpen(z, w, peak.similarity, cell, finest))
            close = 0 if found is None else self._together(found, finest)
            if found is not None and close > most and self._is_no_chance(found, supposed):
                best, most = found, close
        return best

    def _together(self, found: Similarity, radius: float) -> int:
        moved = found.apply(self.points[:_COUNTED])
        return len(pairs_within(self.tree, moved, radius)[0])

    def _polished(self, found: Similarity) -> Similarity | None:
        """Return it fitted to the stars that it brings together; None if these are too few."""
        points, most = self.points[:_COUNTED], 0
        for _ in range(_ROUNDS):
            one, two = pairs_within(self.tree, found.apply(points), self.tolerances.radius / 3)
            if len(one) < _FEWEST:
                return None
            if len(one) <= most:
                break
            # What fits one part of the field only fits more of it each time.
            most, weight = len(one), np.ones(len(one))
            found = fit_similarity(points[one], self.others[two], weight, found.mirrored)
        return found

    def _is_no_chance(self, found: Similarity, supposed: Orientations) -> bool:
        allowed = self.tolerances
        widest = _DISTORTED * allowed.scale
        if abs(abs(found.factor) - 1) > widest or abs(found.shift) > allowed.farthest:
            return False
        sample = self.points[:_COUNTED]
        reach = float(np.hypot(*sample.T).max())
        density = len(self.others) / _area(self.others, allowed.radius)
        for radius in (allowed.radius, allowed.radius / 3):
            count = self._together(found, radius)
            chance = -np.expm1(-density * np.pi * radius**2)
            # Shifts, rotations and scales which differ by a radius.
            tried = (2 * allowed.farthest / radius + 1) ** 2 * len(supposed.mirrored)
            tried *= 2 * supposed.widest * reach / radius + 1
            tried *= 2 * widest * reach / radius + 1
            if count >= _FEWEST and tried * bdtrc(count - 1, len(sample), chance) < _CHANCE:
                return True
        return False


def _area(points: Points, least: float) -> float:
    """Return the area of a field, as if its stars were spread evenly over a rectangle."""
    spread = np.cov(points.T)
    return float(np.sqrt(max(12**2 * np.linalg.det(spread), least**4)))


def pairs_within(tree: cKDTree, points: Points, radius: float) -> tuple[Indices, Indices]:
    """Return which points and which of the tree's are nearest to one another, within a radius."""
    distance, nearest = tree.query(points, distance_upper_bound=radius)
    which = np.flatnonzero(np.isfinite(distance))
    which = which[np.argsort(distance[which], kind="stable")]
    _, once = np.unique(nearest[which], return_index=True)
    return which[once], nearest[which[once]]
