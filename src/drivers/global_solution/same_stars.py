"""Finds out which stars of several exposures are the same ones, by their positions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Complexes = NDArray[np.complex128]
Indices = NDArray[np.intp]


def number_stars(exposures: Sequence[Complexes], radius: float) -> list[Indices]:
    """Return for each exposure which star each of its detections is.

    A star has the position of its first detection. Of several detections in an exposure the nearest
    is the star; the others are stars of their own.

    Parameters
    ----------
    exposures : sequence of array of complex128
        Positions on a plane.
    radius : float
        Distance within which two detections are one star.
    """
    known = np.zeros(0, dtype=np.complex128)
    found = []
    for places in exposures:
        number = np.full(len(places), -1, dtype=np.intp)
        if len(known) and len(places):
            distance, nearest = _tree(known).query(_points(places), distance_upper_bound=radius)
            near = np.flatnonzero(np.isfinite(distance))
            near = near[np.argsort(distance[near], kind="stable")]
            _, once = np.unique(nearest[near], return_index=True)
            number[near[once]] = nearest[near[once]]
        new = number < 0
        number[new] = len(known) + np.arange(new.sum())
        known = np.concatenate([known, places[new]])
        found.append(number)
    return found


def _tree(places: Complexes) -> cKDTree:
    return cKDTree(_points(places))


def _points(places: Complexes) -> NDArray[np.float64]:
    return np.stack([places.real, places.imag], axis=-1)
