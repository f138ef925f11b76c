"""Merges what was found in several bands: footprints that touch are one, peaks nearby are one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from drivers.footprints.runs import find_footprints, label_image
from drivers.found import PEAK, Detections, Footprints
from drivers.results import PatchArea, Table

_NUMBER_BITS, _PATCH_BITS, _TRACT_BITS = 26, 7, 22
_PARENT = 1 << (_NUMBER_BITS - 1)


def merge_detections(
    detections: Sequence[Detections], shape: tuple[int, int], match_radius: float
) -> tuple[Footprints, Table]:
    """Return footprints and peaks of all bands together, without ids.

    Parameters
    ----------
    detections : sequence of Detections
        By priority: where a peak is in several bands, the first one says where it is.
    shape : (int, int)
        Rows and columns of the patch.
    match_radius : float
        Peaks of two bands that are nearer than this are the same [of the wider seeing].
    """
    inside = np.zeros(shape, bool)
    for one in detections:
        inside |= label_image(one.footprints, shape) > 0
    footprints = find_footprints(inside)
    peaks = _merge_peaks(detections, match_radius)
    index = label_image(footprints, shape)
    column, row = np.rint(peaks["x"]).astype(int), np.rint(peaks["y"]).astype(int)
    peaks["footprint"] = index[row, column] - 1
    return footprints, peaks[np.lexsort((peaks["x"], peaks["y"], peaks["footprint"]))]


def _merge_peaks(detections: Sequence[Detections], match_radius: float) -> Table:
    peaks, seeing = np.zeros(0, PEAK), 0.0
    for band, one in enumerate(detections):
        new = one.peaks.copy()
        new["bands"] = 1 << band
        seeing = max(seeing, one.seeing)
        known = _match(new, peaks, match_radius * seeing)
        same = known >= 0
        peaks["bands"][known[same]] |= 1 << band
        np.maximum.at(peaks["snr"], known[same], new["snr"][same])
        peaks = np.concatenate([peaks, new[~same]])
    return peaks


def _match(new: Table, known: Table, radius: float) -> NDArray[np.int64]:
    """Return for each new peak the index of the nearest known one within a radius, or -1."""
    if not (len(new) and len(known)):
        return np.full(len(new), -1)
    places = np.stack([known["x"], known["y"]], axis=1)
    tree = KDTree(places)
    distance, index = tree.query(np.stack([new["x"], new["y"]], axis=1))
    return np.where(distance < radius, index, -1)


def source_ids(area: PatchArea, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ids that no other patch has: tract, column and row of the patch, number in it.

    Raises
    ------
    ValueError
        If one of them is too large for its bits.
    """
    column, row = area.patch
    fits = 0 <= area.tract < 1 << _TRACT_BITS and max(column, row) < 1 << _PATCH_BITS
    if not fits or (len(numbers) and numbers.max() >= 1 << _NUMBER_BITS):
        raise ValueError(f"{area}: its sources can't be numbered")
    patch = (area.tract << 2 * _PATCH_BITS) | (column << _PATCH_BITS) | row
    return np.asarray((np.int64(patch) << _NUMBER_BITS) | numbers.astype(np.int64))


def parent_ids(area: PatchArea, footprints: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the ids of footprints, by their indices."""
    return source_ids(area, footprints | _PARENT)
