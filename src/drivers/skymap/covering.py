"""Which patches many detectors cover, all at once.

On the plane of a tract great circles are straight lines. So a detector with four corners and a
patch overlap on the sky if a quadrilateral and a rectangle do on that plane; this needs a few
sums for each pair, which are done for all pairs together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from drivers.sky_polygon import unit_vectors
from drivers.skymap.skymap import SkyMap
from drivers.skymap.tract import Tract

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Covered:
    """Pairs of a detector and a patch which overlap, ordered by tract and detector.

    Attributes
    ----------
    detector, tract, column, row : array of int
        Index of the detector's corners, and the patch.
    """

    detector: Ints
    tract: Ints
    column: Ints
    row: Ints


def covered_patches(skymap: SkyMap, corners: Any, margin: float = 0.0) -> Covered:
    """Return all pairs of detectors and patches which overlap.

    Parameters
    ----------
    skymap : SkyMap
        Where the patches are.
    corners : array of shape (n, 4, 2)
        Right ascension and declination [deg] of the detectors' corners.
    margin : float
        Distance [arcsec] up to which a detector beside a patch still counts.
    """
    corners = np.asarray(corners, float).reshape(-1, 4, 2)
    found = [
        _in_tract(skymap.tract(tract), corners, detectors, margin)
        for tract, detectors in sorted(_near(skymap, corners, margin).items())
    ]
    columns = np.concatenate(found, axis=1) if found else np.zeros((4, 0), np.int64)
    return Covered(*columns)


def _near(skymap: SkyMap, corners: Floats, margin: float) -> dict[int, list[int]]:
    """Return the detectors in the reach of each tract."""
    if not len(corners):
        return {}
    vectors = unit_vectors(corners[..., 0], corners[..., 1])
    middles = vectors.mean(axis=1)
    middles /= np.linalg.norm(middles, axis=-1, keepdims=True)
    chords = np.linalg.norm(vectors - middles[:, None], axis=-1).max(axis=1)
    reach = chords + 2 * np.sin(skymap.grid.reach / 2) + np.radians(margin / 3600)
    near: dict[int, list[int]] = {}
    for detector, tracts in enumerate(cKDTree(skymap.centres).query_ball_point(middles, reach)):
        for tract in tracts:
            near.setdefault(tract, []).append(detector)
    return near


def _in_tract(tract: Tract, corners: Floats, detectors: list[int], margin: float) -> Ints:
    grid = tract.grid
    numbers = np.array(detectors)
    quads = np.stack(tract.pixels(*np.moveaxis(corners[numbers], -1, 0)), axis=-1)
    visible = np.isfinite(quads).all(axis=(1, 2))
    numbers, quads = numbers[visible], quads[visible]
    wide = grid.border + np.radians(margin / 3600) / grid.scale
    low = np.floor((quads.min(axis=1) + 0.5 - wide) / grid.inner).astype(np.int64)
    high = np.floor((quads.max(axis=1) + 0.5 + wide) / grid.inner).astype(np.int64)
    low, high = np.clip(low, 0, None), np.clip(high, None, grid.count - 1)
    which, place = _expanded(low, high)
    kept = _overlap(quads[which], *_edges(tract, place, wide - grid.border))
    number = np.full(np.count_nonzero(kept), tract.id)
    return np.stack([numbers[which[kept]], number, place[kept, 0], place[kept, 1]])


def _expanded(low: Ints, high: Ints) -> tuple[Ints, Ints]:
    """Return all places from `low` to `high` of each row, and the rows to which they belong."""
    counts = np.clip(high - low + 1, 0, None)
    total = counts.prod(axis=1)
    which = np.repeat(np.arange(len(low)), total)
    step = np.arange(len(which)) - np.repeat(np.cumsum(total) - total, total)
    columns = counts[which, 0]
    offset = np.stack([step % np.maximum(columns, 1), step // np.maximum(columns, 1)], axis=-1)
    return which, low[which] + offset


def _edges(tract: Tract, place: Ints, margin: float) -> tuple[Floats, Floats]:
    """Return the lower left and the upper right corner of patches' outer boxes."""
    grid = tract.grid
    low = np.clip(place * grid.inner - grid.border, 0, None) - 0.5 - margin
    high = np.clip((place + 1) * grid.inner + grid.border, None, grid.side) - 0.5 + margin
    return np.asarray(low, float), np.asarray(high, float)


def _overlap(quads: Floats, low: Floats, high: Floats) -> NDArray[np.bool_]:
    """Whether quadrilaterals and rectangles overlap: no line between them keeps them apart."""
    apart = (quads.max(axis=1) <= low).any(axis=1) | (quads.min(axis=1) >= high).any(axis=1)
    for corner in range(4):
        begin, end = quads[:, corner], quads[:, (corner + 1) % 4]
        normal = np.stack([begin[:, 1] - end[:, 1], end[:, 0] - begin[:, 0]], axis=-1)
        own = np.einsum("ncd,nd->nc", quads, normal)
        ends = np.stack([low * normal, high * normal])
        least, most = ends.min(axis=0).sum(axis=-1), ends.max(axis=0).sum(axis=-1)
        apart |= (own.max(axis=1) <= least) | (own.min(axis=1) >= most)
    kept: NDArray[np.bool_] = np.logical_not(apart)
    return kept
