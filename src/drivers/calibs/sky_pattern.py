"""Averages what the skies of visits have in common beside a smooth sky: the sky frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from drivers.configuration.sky_correction import SkyCorrectionConfig
from drivers.focal_plane_sky.cells import CcdSky, as_meshes, gather_cells
from drivers.focal_plane_sky.model import model_sky
from drivers.statistics import clipped_level


def sky_patterns(
    visits: Mapping[int, Sequence[CcdSky]], config: SkyCorrectionConfig, least: int
) -> dict[int, NDArray[np.float32]]:
    """Return the pattern of each CCD as a part of the visit's sky.

    Parameters
    ----------
    visits : Mapping of int to sequence of CcdSky
        The skies of each visit.
    config : SkyCorrectionConfig
        How smooth the sky over the focal plane is.
    least : int
        Visits below which a CCD has no pattern.

    Returns
    -------
    dict of int to array of float32
        By ccd, of the shape of its meshes; 0 in cells of which too little is known.
    """
    found: dict[int, list[NDArray[np.float32]]] = {}
    alone = config.model_copy(
        update={"restore": True, "focal_plane": True, "sky_frame": False, "residual": False}
    )
    for skies in visits.values():
        for ccd, mesh in _departures(skies, alone).items():
            found.setdefault(ccd, []).append(mesh)
    return {
        ccd: _average(np.stack(meshes)) for ccd, meshes in found.items() if len(meshes) >= least
    }


def _departures(
    skies: Sequence[CcdSky], config: SkyCorrectionConfig
) -> dict[int, NDArray[np.float32]]:
    """Return how a visit's sky differs from a smooth one, as a part of its level."""
    cells = gather_cells(skies)
    model = model_sky(cells, config)
    level = float(np.median(model.smooth))
    if not level > 0:
        return {}
    part = (cells.subtracted + cells.residual - model.smooth) / level
    shapes = {sky.ccd: sky.mesh.subtracted.shape for sky in skies}
    return as_meshes(cells, part, shapes)


def _average(meshes: NDArray[np.float32]) -> NDArray[np.float32]:
    average = np.zeros(meshes.shape[1:], np.float32)
    for row, column in np.ndindex(*average.shape):
        values = meshes[:, row, column]
        values = values[np.isfinite(values)]
        if values.size > 1:
            level, deviation = clipped_level(values)
            average[row, column] = values[np.abs(values - level) <= 3 * deviation].mean()
    return average
