"""The exposures of the simulated survey: where the telescope pointed, and what the air was like."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from drivers.simulator.focal_plane import field_radius
from drivers.simulator.photometry import SKY
from drivers.simulator.sky_places import offset
from drivers.simulator.survey import PIXEL_SCALE, Survey

FIRST_VISIT = 100
EXPTIME = 60.0
"""Seconds."""

MJD0 = 60000.0
_DAYS_BETWEEN = 0.01
_POINTING, _TURN = 2.0, 0.03
"""Standard deviations of what the header says of the pointing [arcsec] and the rotation [deg]."""

N_WARP = 14
"""Coefficients of a visit's own distortion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One exposure.

    Attributes
    ----------
    number, filter : int, str
        Its name and filter.
    mjd : float
        When it began [days].
    ra, dec, angle : float
        Where the telescope pointed, and the rotation of the camera [deg].
    said_ra, said_dec, said_angle : float
        The same, as the header says.
    warp : tuple of float
        Coefficients of the distortion which only this visit has [px]; see `optics`.
    seeing : float
        Full width at half maximum of stars in the middle of the field, in focus [arcsec].
    focus, tilt_x, tilt_y, curvature : float
        How far the detectors are from the focus: in the middle, and what is added at the rim [mm].
    e1, e2 : float
        Ellipticity of stars from guiding.
    sky : float
        Sky in the middle of the field [electrons per pixel].
    gradient : tuple of float
        What is added to it at the rim along u, v and with the square of the radius, as a part.
    extinction : float
        What the air and clouds take in the middle of the field [mag].
    clouds : tuple of float
        Slopes of the extinction along u and v, at the rim [mag].
    """

    number: int
    filter: str
    mjd: float
    ra: float
    dec: float
    angle: float
    said_ra: float
    said_dec: float
    said_angle: float
    warp: tuple[float, ...]
    seeing: float
    focus: float
    tilt_x: float
    tilt_y: float
    curvature: float
    e1: float
    e2: float
    sky: float
    gradient: tuple[float, float, float]
    extinction: float
    clouds: tuple[float, float]

    @property
    def epoch(self) -> float:
        """The Julian year in which it was taken."""
        return 2000.0 + (self.mjd - 51544.5) / 365.25


@lru_cache(maxsize=8)
def visits(survey: Survey) -> tuple[Visit, ...]:
    """Return the exposures of the survey."""
    return tuple(_visit(survey, index) for index in range(survey.visits))


def visit_numbered(survey: Survey, number: int) -> Visit:
    """Return an exposure by its number."""
    return visits(survey)[number - FIRST_VISIT]


def pointing(survey: Survey, field: int) -> tuple[float, float]:
    """Return the middle of a field [deg]; neighbours overlap by a quarter."""
    step = 1.5 * field_radius(survey) * PIXEL_SCALE
    ra, dec = offset(survey.ra, survey.dec, (field - (survey.pointings - 1) / 2) * step, 0.0)
    return float(ra), float(dec)


def _visit(survey: Survey, index: int) -> Visit:
    random = survey.random("visit", index)
    band = survey.bands[index % len(survey.bands)]
    field = index // len(survey.bands) % survey.pointings
    reach = survey.dither * field_radius(survey) * PIXEL_SCALE
    aside = random.uniform(-reach, reach, 2)
    ra, dec = map(float, offset(*pointing(survey, field), aside[0], aside[1]))
    angle = 180.0 * (index // (len(survey.bands) * survey.pointings) % 2) + random.uniform(-3, 3)
    said = random.normal(0, (_POINTING, _POINTING, _TURN)) * survey.has("pointing")
    said_ra, said_dec = offset(ra, dec, said[0], said[1])
    return Visit(
        number=FIRST_VISIT + index, filter=band, mjd=MJD0 + _DAYS_BETWEEN * index,
        ra=ra, dec=dec, angle=float(angle),
        said_ra=float(said_ra), said_dec=float(said_dec), said_angle=float(angle + said[2]),
        warp=tuple(map(float, random.normal(0, 0.15, N_WARP) * survey.has("distortion"))),
        **_optics(survey, random),
        **_air(survey, random, band),
    )  # fmt: skip


def _optics(survey: Survey, random: np.random.Generator) -> dict[str, Any]:
    names = ("focus", "tilt_x", "tilt_y", "curvature", "e1", "e2")
    sizes = (0.02, 0.02, 0.02, 0.015, 0.02, 0.02)
    values = random.normal(0, sizes) * survey.has("psf_variation")
    return {"seeing": float(random.uniform(0.6, 1.0))} | dict(
        zip(names, map(float, values), strict=True)
    )


def _air(survey: Survey, random: np.random.Generator, band: str) -> dict[str, Any]:
    steps = random.normal(0, (0.04, 0.04, 0.03)) * survey.has("sky_gradient")
    slopes = random.normal(0, (0.003, 0.003)) * survey.has("transparency")
    return {
        "sky": SKY[band] * float(random.uniform(0.7, 1.5)),
        "gradient": tuple(map(float, steps)),
        "extinction": float(random.exponential(0.05)) * survey.has("transparency"),
        "clouds": tuple(map(float, slopes)),
    }
