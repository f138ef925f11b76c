"""A tract of model exposures, each with its own solution: where their common one begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from drivers.configuration import ExposureConfig, MosaicConfig
from drivers.results import Solution
from drivers.stages.mosaic import TractJob, TractVisit
from drivers.visit_solution.visit import fit_visit
from model_camera import (
    CENTRE,
    Camera,
    Exposure,
    Floats,
    Noise,
    field_of_stars,
    observe,
    off_sky,
    off_zero_points,
)

SCALE = 0.17


@dataclass(frozen=True)
class Tract:
    """Exposures and their own solutions."""

    exposures: list[Exposure]
    visits: list[TractVisit]

    def off_sky(self, solution: Solution | None = None) -> Floats:
        """Return by how much a solution, or the exposures' own, is wrong [mas]."""
        pairs = zip(self.exposures, self.visits, strict=True)
        return np.concatenate([off_sky(one, solution or visit.solution) for one, visit in pairs])

    def off_zero_points(self, solution: Solution | None = None) -> Floats:
        """Return the same of zero points [mmag]."""
        pairs = zip(self.exposures, self.visits, strict=True)
        return np.concatenate(
            [off_zero_points(one, solution or visit.solution) for one, visit in pairs]
        )


def make_tract(visits: int, stars: int, *, known: float = 1.0, noise: Noise | None = None) -> Tract:
    """Return exposures which look at the same field, turned round in turns.

    Parameters
    ----------
    visits, stars : int
        How many.
    known : float
        Part of the stars which the reference has.
    noise : Noise, optional
        Errors.
    """
    camera = Camera()
    field = field_of_stars(stars, 1.3 * camera.reach * SCALE)
    listed = np.random.default_rng(5).uniform(size=stars) < known
    exposures, parts = [], []
    for visit in range(visits):
        random = np.random.default_rng([9, visit])
        exposure = Exposure(
            visit=visit,
            camera=camera,
            offset=tuple(random.normal(0, 30, 2)),
            angle=180 * (visit % 2) + random.normal(0, 2),
            wrong_by=tuple(random.normal(0, (2, 2, 0.03))),
            zero_point=27 + random.normal(0, 0.1),
            slope=0.01 * random.normal(),
        )
        ccds = observe(exposure, field, noise or Noise(), known=listed)
        exposures.append(exposure)
        parts.append(TractVisit(visit, ccds, fit_visit(ccds, ExposureConfig()).solution))
    return Tract(exposures, parts)


def job(folder: Any, **config: Any) -> TractJob:
    """Return the job of the tract's solution, which writes `tract.fits`."""
    wcs = {"CRVAL1": CENTRE[0], "CRVAL2": CENTRE[1]}
    return TractJob(str(folder), "tract.fits", 7, "r", wcs, MosaicConfig(**config))
